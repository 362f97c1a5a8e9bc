"""The desired state of a Go cluster: the file of each node, made of the template; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.core.file_state import compute_file_digest
from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.documents.text_lines import BYTE_ORDER_MARK, decode_text
from reconciler.drivers.gocluster.go_duration import parse_go_duration
from reconciler.drivers.gocluster.schema import GoCluster, GoClusterNode
from reconciler.drivers.gocluster.template import (
    Template,
    UnfitValue,
    check_template,
    read_template,
    render_template,
)
from reconciler.file_delivery.content import Part, WholeFile
from reconciler.ports.cluster_input import ClusterInput
from reconciler.secrets.patterns import should_mask_key

SECRET: Final = "secret"  # noqa: S105  (a key)
"""Key of `values` with the secret that all nodes share (`authKey`)."""

SIGNING_KEY: Final = "apiTokenSigningKey"
"""Key of `values` with the key of the API's tokens."""

TLS: Final = "tls"
"""Beginning of keys of `values` that are about TLS: a change of one is made on all nodes at once."""

_SPACE: Final = re.compile(r"[ \t\r\f\v]+")
_CONTEXT: Final = 60
_MARK: Final = "(tls)"


@dataclass(frozen=True, slots=True)
class NodeFile:
    """The file that a node is to have.

    Args:
        content: all of it.
        secret_anchors: each place of the shared secret, see `find_changed_authentication`, and the secret.
        tls_anchors: each place that says whether TLS is used, and what it says.
    """

    content: WholeFile
    secret_anchors: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_anchors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GoDesired:
    """The desired state of one cluster.

    Args:
        files: node -> its file; a node whose values cannot be read has none.
        recalled: node -> what the store remembers of it.
        template: that the files were made of.
        values: node -> the members of its file of values.
    """

    entry: GoCluster
    files: Mapping[str, NodeFile] = field(default_factory=dict)
    recalled: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    template: Template | None = field(default=None, repr=False)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def members(self) -> dict[str, str]:
        """Node -> its address."""
        return {node.name: node.addr for node in self.entry.nodes}

    def recall(self, node: str, key: str) -> str:
        """What the store remembers of a node; empty if nothing."""
        return self.recalled.get(node, {}).get(key, "")


def make_files(cluster_input: ClusterInput) -> tuple[dict[str, NodeFile], list[Diagnostic]]:
    """Node -> its file, and every problem of template and values."""
    entry = cluster_input.entry
    assert isinstance(entry, GoCluster)
    template, problems = _load_template(cluster_input, entry)
    if template is None or problems:
        return {}, problems
    files: dict[str, NodeFile] = {}
    seen: dict[tuple[str, str, int, int], Diagnostic] = {}
    for node in entry.nodes:
        document = cluster_input.documents.get(node.name)
        if entry.config.values is not None and document is None:  # reported where the file was read
            continue
        wrong = list(_check_values(document))
        scope = make_scope(entry, node, document.value if document is not None and not wrong else {})
        wrong += [] if wrong else check_template(template, scope)
        if not wrong:
            try:
                files[node.name] = _make_file(template, scope)
            except UnfitValue as error:
                pointer = f"{cluster_input.pointer}/config/template"
                remedy = "use fewer or shorter values"
                wrong = [make_diagnostic(cluster_input.fleet, pointer, "bad-template", str(error), remedy)]
        for one in wrong:
            # Nodes share template and values: each place is reported once.
            seen.setdefault((one.code, one.position.file, one.position.line, one.position.column), one)
    return files, [*seen.values(), *_find_unequal_secrets(cluster_input, entry)]


def make_scope(entry: GoCluster, node: GoClusterNode, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that placeholders may name."""
    # All others, never itself: so lists of peers are symmetrical by construction.
    peers = sorted((one.name, one.addr) for one in entry.nodes if one.name != node.name)
    settings = entry.settings.model_dump()
    host, _, port = node.addr.rpartition(":")
    return {
        "cluster": {"name": entry.name},
        "node": {"name": node.name, "addr": node.addr, "host": host.strip("[]"), "port": int(port)},
        "peers": [{"name": name, "addr": addr} for name, addr in peers],
        "peer_addresses": dict(peers),
        "settings": settings,
        "settings_ns": {key: parse_go_duration(text) for key, text in settings.items()},
        "tls": entry.tls,
        "api_enabled": entry.api_enabled,
        "api_token_duration": entry.api_token_duration,
        "api_token_duration_ns": parse_go_duration(entry.api_token_duration),
        "channel_buffer_size": entry.channel_buffer_size,
        "log_traffic": entry.log_traffic,
        "values": {key: _hide(key, value) for key, value in values.items()},
    }


def load_template(cluster_input: ClusterInput) -> Template | None:
    """The template; None if it cannot be read."""
    entry = cluster_input.entry
    assert isinstance(entry, GoCluster)
    return _load_template(cluster_input, entry)[0]


def _hide(key: str, value: Any) -> Any:
    """A value whose key sounds secret, as a secret also where the file has it in plain text."""
    if isinstance(value, Mapping):
        return {name: _hide(name, item) for name, item in value.items()}
    if isinstance(value, str) and (key in {SECRET, SIGNING_KEY} or should_mask_key(key)):
        return Secret(value)
    return value


def _load_template(cluster_input: ClusterInput, entry: GoCluster) -> tuple[Template | None, list[Diagnostic]]:
    path = str(PurePosixPath(entry.config.template))
    data = cluster_input.resources.get(path)
    if data is None:  # reported where the file was read
        return None, []
    text = decode_text(path, data)
    if text.problems:
        return None, list(text.problems)
    template = read_template(path, text.content.removeprefix(BYTE_ORDER_MARK))
    return template, list(template.problems)


def _check_values(document: Document | None) -> Iterator[Diagnostic]:
    if document is None:
        return
    if not isinstance(document.value, Mapping):
        words = "the file of values must be an object"
        yield make_diagnostic(document, "", "wrong-type", words, "write `KEY: VALUE` members")
        return
    for key in (SECRET, SIGNING_KEY):
        value = document.value.get(key)
        text = value.value if isinstance(value, Secret) else value
        if key in document.value and not (isinstance(text, str) and text):
            words = f"`{key}` must be a text that is not empty"
            yield make_diagnostic(document, f"/{key}", "bad-value", words, "write a reference to a secret")


def _find_unequal_secrets(cluster_input: ClusterInput, entry: GoCluster) -> Iterator[Diagnostic]:
    """Nodes of one cluster share one secret: with another one, a node stops the listeners of the others."""
    known: dict[Any, str] = {}
    for node in entry.nodes:
        document = cluster_input.documents.get(node.name)
        value = (
            document.value.get(SECRET)
            if document is not None and isinstance(document.value, Mapping)
            else None
        )
        if document is None or value is None:
            continue
        known.setdefault(value.value if isinstance(value, Secret) else value, node.name)
        if len(known) > 1:
            first = next(iter(known.values()))
            words = f"{first} and {node.name} have different values of `{SECRET}`"
            remedy = "give all nodes of a cluster the same secret"
            yield make_diagnostic(document, f"/{SECRET}", "secrets-differ", words, remedy)
            return


def _make_file(template: Template, scope: Mapping[str, Any]) -> NodeFile:
    parts = render_template(template, scope)
    own = scope["values"].get(SECRET)
    is_known = isinstance(own, Secret) and not own.missing
    forms = {json.dumps(own.value, ensure_ascii=False), str(own.value)} if is_known else set()
    values = {
        key: _mark(value) if key.lower().startswith(TLS) else value for key, value in scope["values"].items()
    }
    marked = render_template(template, {**scope, "tls": Secret(scope["tls"], _MARK), "values": values})
    return NodeFile(
        WholeFile(parts),
        _find_anchors(parts, lambda one: one.value in forms),
        _find_anchors(marked, lambda one: one.reference == _MARK),
    )


def _mark(value: Any) -> Any:
    """A value about TLS, so that its places are found; one that is not known here has none."""
    if isinstance(value, Mapping):
        return {key: _mark(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mark(item) for item in value]
    if isinstance(value, Secret):
        return value if value.missing else Secret(value.value, _MARK)
    return Secret(value, _MARK)


def _find_anchors(parts: Sequence[Part], is_wanted: Callable[[Secret], bool]) -> dict[str, str]:
    """Each place of a value in a file, and the value there.

    A place is what is before the value in its line, the value, and the next character. With its surroundings,
    because a short value may stand anywhere: the secret `secret` is also a key.
    """
    found = {}
    for index, part in enumerate(parts):
        if isinstance(part, Secret) and is_wanted(part):
            before = parts[index - 1] if index else ""
            following = parts[index + 1] if index + 1 < len(parts) else "\n"
            line = before.rpartition("\n")[2] if isinstance(before, str) else ""
            last = following[:1] if isinstance(following, str) else ""
            value = _SPACE.sub("", str(part.value))
            found[_SPACE.sub("", line)[-_CONTEXT:] + value + _SPACE.sub("", last)] = value
    return found


LOADED: Final = "loaded"
"""Fact of a node: digest of the file that its process was started with, and text of that start."""


def describe_loaded(desired: GoDesired, node: str, started: str) -> str:
    """Value of the fact `LOADED` for a process that was started with the desired file; empty if unknown."""
    file = desired.files.get(node)
    if file is None or not started or file.content.missing:
        return ""
    return f"{compute_file_digest(file.content.render(None))} {started}"


def has_loaded(desired: GoDesired, node: str, started: str) -> bool:
    """Whether the process of a node runs with the desired file, whatever stands in the file by now."""
    wanted = describe_loaded(desired, node, started)
    return bool(wanted) and desired.recall(node, LOADED) == wanted


def find_changed_authentication(desired: GoDesired, node: str, current: bytes | None) -> str:
    """What of a node's authentication its new file changes, in words; empty if nothing.

    Nodes with different secrets must never run side by side: one that is called with a wrong secret stops to
    accept connections for good. So a place that cannot be found again counts as changed.
    """
    own = desired.files.get(node)
    if own is None or current is None:
        return ""
    text = _SPACE.sub("", f"{current.decode('utf-8', 'replace')}\n")
    changed = [
        what
        for what, anchors in (("the secret", own.secret_anchors), ("TLS", own.tls_anchors))
        if any(anchor not in text for anchor in anchors)
    ]
    return " and ".join(changed)


def list_authentication(text: str, file: NodeFile) -> list[str]:
    """The secret, and whether TLS is used, as far as a text has them where a file has them.

    The values alone: what is around them may name the node, and nodes that share both talk to each other.
    """
    bare = _SPACE.sub("", f"{text}\n")
    return [
        f"{what} {value}"
        for what, anchors in (("secret", file.secret_anchors), ("TLS", file.tls_anchors))
        for anchor, value in anchors.items()
        if anchor in bare
    ]


def with_recalled(desired: GoDesired, facts: Mapping[str, Mapping[str, str]]) -> GoDesired:
    """The same with what the store remembers."""
    return replace(desired, recalled=facts)
