"""Lints of who stands in M2's own lists of nodes: propagation lists, and members of clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.m2.setting.check import MANAGEMENT, MEMBERS, NODELIST
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_object
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import MemberClaim
from reconciler.text.json_pointer import make_pointer

CODES: Final = frozenset({"propagation-without-self"})

_DISCOVER: Final[Path] = (*MANAGEMENT, "cluster", "discover")
_PORT: Final = 9900
_MOST_NAMED: Final = 3


def find_left_out_nodes(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Nodes that are not in the propagation list of their own setting, gathered by the list's place.

    A node whose address is a name, or one of this host's own, may be in the list under another address.
    """
    assert isinstance(cluster_input.entry, M2Cluster)
    known: dict[int, frozenset[str]] = {}
    missing: dict[Position, list[str]] = {}
    for node in cluster_input.entry.nodes:
        document = cluster_input.documents.get(node.name)
        hosts = _propagated(document, known) if document is not None else None
        own = _host(node.address)
        if document is not None and hosts is not None and _tells(own) and own not in hosts:
            missing.setdefault(document.position(make_pointer(NODELIST)), []).append(f"{node.name} ({own})")
    for position, nodes in missing.items():
        shown = ", ".join(nodes[:_MOST_NAMED])
        more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
        said = f"{shown}{more} propagates purges by a list in which it does not stand itself"
        if len(nodes) > 1:
            said = f"{shown}{more} propagate purges by a list in which they do not stand themselves"
        remedy = "list every node of the group, the own one too: it is left out when it passes a purge on"
        yield Diagnostic(
            Severity.WARNING,
            "propagation-without-self",
            said,
            remedy,
            position=position,
            pointer=make_pointer(NODELIST),
        )


def _propagated(document: Document, known: dict[int, frozenset[str]]) -> frozenset[str] | None:
    """The hosts of an enabled propagation list; None where there is none."""
    propagation: Mapping[str, Any] = get_object(document.value, *NODELIST[:-1])
    listed = propagation.get("nodelist")
    if propagation.get("enable") is not True or not isinstance(listed, list):
        return None
    if any(not isinstance(item, str) for item in listed):
        return None
    if id(listed) not in known:
        known[id(listed)] = frozenset(_host(item) for item in listed)
    return known[id(listed)]


def list_member_claims(cluster_input: ClusterInput) -> Iterator[MemberClaim]:
    """The members that the settings of a cluster name, each with the port on which members talk."""
    seen: set[str] = set()
    looked: set[int] = set()
    for document in {id(document): document for document in cluster_input.documents.values()}.values():
        discover: Mapping[str, Any] = get_object(document.value, *_DISCOVER)
        if id(discover) in looked:
            continue
        looked.add(id(discover))
        port = discover.get("port", _PORT)
        for path, text in _members(document.value):
            name = text if text.startswith("#") else _claimed(text, port)
            if name and name not in seen:
                seen.add(name)
                yield MemberClaim(name, document, make_pointer(path))


def _members(value: Any) -> Iterator[tuple[Path, str]]:
    for index, item in get_items(value, *MEMBERS):
        if isinstance(item, str):
            yield (*MEMBERS, index), item
        for place, node in get_items(item, "nodes"):
            if isinstance(node, str):
                yield (*MEMBERS, index, "nodes", place), node


def _claimed(text: str, port: Any) -> str:
    """A member's address where the members talk; empty where it cannot be read."""
    try:
        found = parse_endpoint(text)
    except InvalidAddress:
        return ""
    return f"{found.host}:{found.port or port}"


def _host(text: str) -> str:
    try:
        return parse_endpoint(text).host
    except InvalidAddress:
        return ""


def _tells(host: str) -> bool:
    """Whether a node's address is one by which other nodes know it."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return False
