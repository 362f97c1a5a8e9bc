"""A Go cluster as the desired state would describe it, from the API of one of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.core.endpoint import InvalidAddress, parse_api, parse_endpoint
from reconciler.core.entries import Timeouts
from reconciler.core.observation import Observed
from reconciler.drivers.gocluster.client import Client
from reconciler.drivers.gocluster.cluster_view import NODE_NAME
from reconciler.drivers.gocluster.desired_state import GoDesired
from reconciler.drivers.gocluster.mesh import Mesh
from reconciler.drivers.gocluster.view import NodeView
from reconciler.errors import NodeUnreachable, UsageError
from reconciler.ports.driver import LiveState
from reconciler.ports.transport import Transports

ADDRESS_OF = "@"
"""In an address of the option: between the name of the node's manager and its API."""


async def make_entry(name: str, addresses: Sequence[str], transports: Transports) -> dict[str, Any]:
    """The cluster that one node shows, which lists all members but itself.

    Args:
        name: of the cluster.
        addresses: of APIs: `URL`, or `MANAGER@URL` if the process has several managers.
        transports: to the nodes.

    Raises:
        UsageError: an address is invalid, or a process has several managers.
        NodeError: the nodes do not show enough.
    """
    apis: dict[str, str] = {}
    views: dict[str, NodeView] = {}
    waits = Timeouts()
    for address in addresses:
        manager, api = _split(name, address)
        client = Client(transports.http, manager or name, api, waits.read, waits.connect)
        if not manager:
            managers = await client.read_managers()
            if len(managers) != 1:
                shown = ", ".join(managers) or "none"
                raise UsageError(
                    f"--gocluster {name}: the process at {api} has these managers: {shown}",
                    remedy=f"write the one that is meant, such as NAME@{api}",
                )
            manager = managers[0]
        _require_name(manager)
        apis[manager] = api
        views[manager] = await Client(transports.http, manager, api, waits.read, waits.connect).read_view()
    return {
        "name": name,
        "kind": "gocluster",
        "config": {"template": f"{name}.tmpl", "file": f"{name}-config"},
        "nodes": _list_nodes(apis, views),
    }


def _split(name: str, address: str) -> tuple[str, str]:
    manager, _, api = address.rpartition(ADDRESS_OF)
    try:
        is_bare = not parse_api(api).path
    except InvalidAddress:
        is_bare = False
    if not is_bare or (manager and not NODE_NAME.fullmatch(manager)):
        raise UsageError(
            f"--gocluster {name}: {address!r} is not the address of an API",
            remedy="for example http://192.0.2.1:8080, or node1@http://192.0.2.1:8080",
        )
    return manager, api


def _require_name(node: str) -> None:
    if not NODE_NAME.fullmatch(node):
        raise NodeUnreachable(
            node, "its name cannot stand in a fleet file", remedy="rename it in the application"
        )


def _list_nodes(apis: dict[str, str], views: dict[str, NodeView]) -> list[dict[str, Any]]:
    """The members by all views; each node's own address is known from another view only."""
    addrs: dict[str, str] = {}
    for view in views.values():
        for row in view.peers:
            _require_name(row.name)
            addrs.setdefault(row.name, row.address)
    nodes: list[dict[str, Any]] = []
    for name in sorted({*addrs, *apis}):
        host = parse_api(apis[name]).host if name in apis else ""
        node: dict[str, Any] = {"name": name}
        if name in addrs:
            node["addr"] = addrs[name]
        elif host:
            # No node shows its own: the host of its API with the port that the others have.
            node["addr"] = f"{host}:{_guess_port(addrs)}"
        if name in apis:
            node["api"] = apis[name]
        nodes.append(node)
    return nodes


def _guess_port(addrs: dict[str, str]) -> int:
    for address in addrs.values():
        try:
            port = parse_endpoint(address).port
        except InvalidAddress:
            continue
        if port:
            return port
    return 9654


def read_live_members(desired: GoDesired, observed: Observed[NodeView | None]) -> LiveState:
    """The members by the nodes' own views, which have to agree; entries keep what the file says of them."""
    views = {name: view for name, view in observed.present().items() if view is not None}
    name = desired.entry.name
    if not desired.entry.observe:
        return LiveState(missing=(f"{name} has no `observe: true`, so its nodes are not read",))
    if not views:
        return LiveState(missing=(f"no node of {name} shows its peers",))
    memberships = {frozenset((own, *(row.name for row in view.peers))) for own, view in views.items()}
    if len(memberships) > 1:
        return LiveState(missing=(f"the nodes of {name} disagree about its members",))
    mesh = Mesh(desired.members, views)
    addresses = {row.name: row.address for view in mesh.views.values() for row in view.peers}
    nodes, missing = [], []
    for node in sorted(next(iter(memberships))):
        known = desired.entry.node(node)
        if not NODE_NAME.fullmatch(node):
            missing.append(f"a node of {name} has a name that a fleet file cannot have")
            continue
        entry: dict[str, Any] = {"name": node, "addr": addresses.get(node, known.addr if known else "")}
        if known is not None and known.api is not None:
            entry["api"] = known.api
        elif desired.entry.observe:
            missing.append(f"{node} is in {name}, and no node shows the address of its API")
        nodes.append(entry)
    return LiveState(nodes=tuple(nodes), missing=tuple(missing), updated_keys=("addr",))
