"""Settings with secrets that are unknown here: not compared, reported in a finding, never delivered; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.missing_secrets import report_missing_secrets
from reconciler.core.plan import Payload
from reconciler.core.secret import MASK, Secret, find_secrets, reveal
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.content import get_managed, make_content
from reconciler.drivers.m2.schema import Content, Deliver, M2Cluster
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer

UNKNOWN = ""
"""The digest of a file that cannot be decrypted here: it counts as equal to any other."""

UNKNOWN_URL = "tokens of nodes are known only on the host whose watch they poll or report to"
"""Why the URLs of a node that polls or reports are unknown."""


def find_missing_secrets(document: Any, files: Mapping[str, str]) -> dict[str, str]:
    """What is unknown in a payload -> why; a secret is named by its reference and its pointer.

    Args:
        document: a setting.
        files: path -> why, of resources that cannot be decrypted.
    """
    found = {
        f"{secret.reference} at {make_pointer(path)}": secret.missing
        for path, secret in find_secrets(document)
        if secret.missing
    }
    return {**found, **files}


def report_missing_payloads(cluster: str, payloads: Iterator[Payload]) -> Iterator[Diagnostic]:
    """What is not compared; one finding for each reason."""
    return report_missing_secrets(
        cluster,
        (
            (name.rpartition(" at ")[2], why)
            for payload in payloads
            for name, why in payload.missing.items()
            if why != UNKNOWN_URL  # known as soon as there is a state, see `findings.report_unknown_tokens`
        ),
    )


def report_undeliverable_references(
    cluster_input: ClusterInput, documents: Iterator[Document]
) -> Iterator[Diagnostic]:
    """References to secrets in files that the nodes check out themselves, and so would take literally."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    if entry.deliver is not Deliver.CHECKOUT and not (entry.polling is not None and entry.polling.checkout):
        return
    for document in documents:
        for path, _ in find_secrets(document.value):
            message = "the nodes check out this file themselves, and would use the reference as the value"
            remedy = "use `deliver: upload`, which inserts the secrets before it sends the setting"
            yield make_diagnostic(document, make_pointer(path), "secret-not-delivered", message, remedy)


def assume_node_secrets(wanted: Content, shown: Content) -> Content:
    """What a node should have, with the node's own values for secrets that are unknown here.

    Where the node has no value there, the secret stays unknown, so that the plan shows a difference.
    """
    if not isinstance(wanted.canonical, Mapping) or not isinstance(shown.canonical, Mapping):
        return wanted
    # Only a plan sees this: nothing is sent to a node whose payload has an unknown secret.
    canonical = {
        key: _fill_secrets(value, shown.canonical.get(key)) for key, value in wanted.canonical.items()
    }
    fingerprints = {
        key: wanted.fingerprints.get(key, "")
        if value is wanted.canonical[key]
        else fingerprint_clear(get_managed(key, value, wanted.unmanaged))
        for key, value in canonical.items()
        if key in wanted.fingerprints
    }
    return make_content(wanted.document, canonical, fingerprints, wanted.redaction_masks, wanted.unmanaged)


def _fill_secrets(wanted: Any, shown: Any) -> Any:
    """A value with its unknown secrets taken from another value; the same object where there are none."""
    if isinstance(wanted, Secret):
        fits = wanted.missing and shown is not None and _fits_reference(wanted.reference, reveal(shown))
        return Secret(reveal(shown), wanted.reference) if fits else wanted
    if isinstance(wanted, Mapping) and isinstance(shown, Mapping):
        members = {key: _fill_secrets(value, shown.get(key)) for key, value in wanted.items()}
        return members if any(members[key] is not value for key, value in wanted.items()) else wanted
    if isinstance(wanted, list | tuple) and isinstance(shown, list | tuple):
        # Items with names correspond by name. Others correspond by index only where both lists have the same
        # length: after an insertion the index would pair a secret with another item's value.
        by_name = {item["name"]: item for item in shown if _is_named(item)}
        same_length = len(wanted) == len(shown)
        items = [
            _fill_secrets(
                item,
                by_name.get(item["name"]) if _is_named(item) else shown[index] if same_length else None,
            )
            for index, item in enumerate(wanted)
        ]
        return items if any(new is not old for new, old in zip(items, wanted, strict=True)) else wanted
    return wanted


def _fits_reference(reference: str, shown: Any) -> bool:
    """Whether a value may be the one that is meant: a reference with a mask shows all but a part of it."""
    # The URL of another server is a difference, whatever the token.
    head, masked, tail = reference.partition(MASK)
    return not masked or (isinstance(shown, str) and shown.startswith(head) and shown.endswith(tail))


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("name"), str)
