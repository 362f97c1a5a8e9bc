"""Lints of M2's own lists of nodes: propagation lists, and members of clusters; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from reconciler.core.endpoint import InvalidAddress, is_ip_address, is_loopback_host, parse_endpoint
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.m2.setting.check import MANAGEMENT, NODELIST, get_host, list_members
from reconciler.drivers.m2.setting.diagnostics import Path, get_object
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import MemberClaim
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import join_some

CODES: Final = frozenset({"propagation-without-self"})

_DISCOVER: Final[Path] = (*MANAGEMENT, "cluster", "discover")
_PORT: Final = 9900
_MOST_NAMED: Final = 3


def find_left_out_nodes(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Nodes that are missing in the propagation list of their own setting; one warning for each list."""
    assert isinstance(cluster_input.entry, M2Cluster)
    hosts_by_list: dict[int, frozenset[str]] = {}
    missing: dict[Position, list[str]] = {}
    for node in cluster_input.entry.nodes:
        document = cluster_input.documents.get(node.name)
        propagation: Mapping[str, Any] = get_object(document.value, *NODELIST[:-1]) if document else {}
        listed, own = propagation.get("nodelist"), get_host(node.address)
        if document is None or propagation.get("enable") is not True or not isinstance(listed, list):
            continue
        # A node with a host name or a loopback address may be in the list under another address.
        if not is_ip_address(own) or is_loopback_host(own):
            continue
        if any(not isinstance(item, str) for item in listed):
            continue
        if id(listed) not in hosts_by_list:  # a list from a shared base is read once
            hosts_by_list[id(listed)] = frozenset(get_host(item) for item in listed)
        if own not in hosts_by_list[id(listed)]:
            missing.setdefault(document.position(make_pointer(NODELIST)), []).append(f"{node.name} ({own})")
    for position, nodes in missing.items():
        names = join_some(nodes, _MOST_NAMED)
        message = f"{names} propagates purges with a `nodelist` that does not contain it"
        if len(nodes) > 1:
            message = f"{names} propagate purges with a `nodelist` that does not contain them"
        yield Diagnostic(
            Severity.WARNING,
            "propagation-without-self",
            message,
            "list every node of the group, including the node itself: M2 sends no purge to its own address",
            position=position,
            pointer=make_pointer(NODELIST),
        )


def list_member_claims(cluster_input: ClusterInput) -> Iterator[MemberClaim]:
    """The members that the settings of a cluster name, with the port of the cluster where they have none."""
    seen: set[str] = set()
    known: set[int] = set()
    # By identity: settings from one base share the object, and a thousand nodes cost one look at it.
    for document in {id(document): document for document in cluster_input.documents.values()}.values():
        discover: Mapping[str, Any] = get_object(document.value, *_DISCOVER)
        if id(discover) in known:
            continue
        known.add(id(discover))
        port = discover.get("port", _PORT)
        for path, text in list_members(document.value):
            name = text if text.startswith("#") else ""
            if not name:
                with suppress(InvalidAddress):
                    found = parse_endpoint(text)
                    name = f"{found.host}:{found.port or port}"
            if name and name not in seen:
                seen.add(name)
                yield MemberClaim(name, document, make_pointer(path))
