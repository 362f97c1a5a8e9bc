"""Settings with secrets that are not known here: not compared, named in a finding, never delivered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.plan import Payload
from reconciler.core.secret import Secret, find_secrets, reveal
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.content import make_content
from reconciler.drivers.m2.schema import Content, Deliver, M2Cluster
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer

UNKNOWN = ""
"""Stands for the digest of a file that cannot be opened here: it counts as equal to any."""

_MOST_NAMED = 8


def find_missing_secrets(document: Any, files: Mapping[str, str]) -> dict[str, str]:
    """What of a payload is not known here -> why.

    Args:
        document: a setting; each secret in it is named by its reference and its place.
        files: path -> why, of resources that cannot be opened.
    """
    found = {
        f"{secret.reference} at {make_pointer(path)}": secret.missing
        for path, secret in find_secrets(document)
        if secret.missing
    }
    return {**found, **files}


def report_missing_secrets(cluster: str, payloads: Iterator[Payload]) -> Iterator[Diagnostic]:
    """What is not compared, for each reason once."""
    places: dict[str, dict[str, None]] = {}
    for payload in payloads:
        for name, why in payload.missing.items():
            places.setdefault(why, {})[name.rpartition(" at ")[2]] = None
    for why, found in sorted(places.items()):
        shown = ", ".join(list(found)[:_MOST_NAMED])
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        said = f"{shown}{more}: not compared, because the secret is not known here: {why}"
        remedy = "supply it where changes are applied; without it nothing is sent to these nodes"
        yield Diagnostic(Severity.WARNING, "secret-unavailable", said, remedy, target=cluster)


def report_undeliverable_references(
    cluster_input: ClusterInput, documents: Iterator[Document]
) -> Iterator[Diagnostic]:
    """References to secrets in files that the nodes pull themselves: they would take them literally."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    if entry.deliver is not Deliver.CHECKOUT:
        return
    for document in documents:
        for path, _ in find_secrets(document.value):
            place = make_pointer(path)
            said = "the nodes check this file out themselves, and would take the reference for the value"
            remedy = "say `deliver: upload`, by which secrets are put in on the way"
            where = document.position(place)
            yield Diagnostic(
                Severity.ERROR, "secret-not-delivered", said, remedy, position=where, pointer=place
            )


def assume_node_secrets(wanted: Content, shown: Content) -> Content:
    """What a node is to have, where each secret that is not known here is what the node shows there.

    Where the node shows nothing at its place, the secret stays, so that the difference shows.
    """
    if not isinstance(wanted.canonical, Mapping) or not isinstance(shown.canonical, Mapping):
        return wanted
    canonical = {key: _filled(value, shown.canonical.get(key)) for key, value in wanted.canonical.items()}
    fingerprints = {
        key: wanted.fingerprints.get(key, "") if value is wanted.canonical[key] else fingerprint_clear(value)
        for key, value in canonical.items()
    }
    return make_content(wanted.document, canonical, fingerprints, wanted.redaction_masks)


def _filled(wanted: Any, shown: Any) -> Any:
    """A value with unknown secrets taken from another; the value itself where there are none."""
    if isinstance(wanted, Secret):
        return Secret(reveal(shown), wanted.reference) if wanted.missing and shown is not None else wanted
    if isinstance(wanted, Mapping) and isinstance(shown, Mapping):
        members = {key: _filled(value, shown.get(key)) for key, value in wanted.items()}
        return members if any(members[key] is not value for key, value in wanted.items()) else wanted
    if isinstance(wanted, list | tuple) and isinstance(shown, list | tuple):
        by_name = {item["name"]: item for item in shown if _is_named(item)}
        same = len(wanted) == len(shown)
        items = [
            _filled(item, by_name.get(item["name"]) if _is_named(item) else shown[index] if same else None)
            for index, item in enumerate(wanted)
        ]
        return items if any(new is not old for new, old in zip(items, wanted, strict=True)) else wanted
    return wanted


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("name"), str)
