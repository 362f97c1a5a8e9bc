"""A Sora cluster as the desired state would describe it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.core.entries import Timeouts
from reconciler.core.observation import Observed
from reconciler.drivers.sora import adopt_conf
from reconciler.drivers.sora.client import Client
from reconciler.drivers.sora.schema import API_URL, NodeRow, NodeView, SoraDesired
from reconciler.errors import NodeError, NodeUnreachable, UsageError
from reconciler.ports.driver import LiveState
from reconciler.ports.transport import Transports


async def make_entry(name: str, addresses: Sequence[str], transports: Transports) -> dict[str, Any]:
    """The cluster that the first of some nodes to answer is in.

    Raises:
        UsageError: an address is no URL of an API.
        NodeError: none of them lists a cluster's nodes with a regular one among them, or the address of one
            is unknown.
    """
    for address in addresses:
        if not API_URL.fullmatch(address):
            raise UsageError(
                f"--sora {name}: {address!r} is not an API address",
                remedy="for example http://192.0.2.5:3000/",
            )
    rows = await _list_nodes(name, addresses, transports)
    unaddressed = [row.node_name for row in rows if row.api is None]
    if unaddressed:
        raise NodeUnreachable(
            unaddressed[0],
            "it is in the cluster, but no node lists its API address",
            remedy="start it or purge it first, or write it into the fleet file by hand",
        )
    if all(row.temporary for row in rows):
        raise NodeUnreachable(
            rows[0].node_name,
            "it lists only temporary nodes, which cannot form a cluster",
            remedy="give the API of a regular node",
        )
    return {"name": name, "kind": "sora", "nodes": [_make_node(row) for row in rows]}


async def _list_nodes(name: str, addresses: Sequence[str], transports: Transports) -> tuple[NodeRow, ...]:
    waits = Timeouts()
    trouble: NodeError | None = None
    for address in addresses:
        try:
            rows = await Client(transports.http, name, address, waits.read, waits.connect).nodes()
        except NodeError as error:
            trouble = trouble or error
            continue
        if rows:
            return rows
    raise trouble or NodeUnreachable(name, "none of the nodes is in a cluster")


def read_live_members(desired: SoraDesired, observed: Observed[NodeView]) -> LiveState:
    """The members by the nodes' own views, which have to agree; entries keep what the file says of them."""
    views = [view for view in observed.present().values() if view.rows]
    if not views:
        return LiveState(missing=(f"no node of {desired.entry.name} lists the cluster's nodes",))
    # An import from a cluster that is being changed would write the state of one moment into the file.
    memberships = {tuple((row.node_name, row.temporary) for row in view.rows) for view in views}
    if len(memberships) > 1:
        return LiveState(missing=(f"the nodes of {desired.entry.name} disagree about its members",))
    known = {node.name: node for node in desired.entry.nodes}
    rows: dict[str, NodeRow] = {}
    for row in (row for view in views for row in view.rows):
        if row.node_name not in rows or rows[row.node_name].api is None:
            rows[row.node_name] = row
    missing = [
        f"{row.node_name} is in the cluster, but no node lists its API address"
        for row in rows.values()
        if row.api is None and row.node_name not in known
    ]
    nodes = []
    for name, row in sorted(rows.items()):
        entry: dict[str, Any] = _make_node(row)
        if name in known:
            # None removes the key: the node is regular by its own answer, whatever the file had.
            entry.setdefault("temporary", None)
            entry["api"] = known[name].api
            if known[name].mode is not None and row.mode is not None:
                entry["mode"] = row.mode
        nodes.append(entry)
    confs = adopt_conf.read_confs(desired, observed)
    points = (*_list_open_points(desired), confs.words)
    return LiveState(
        nodes=tuple(nodes),
        missing=tuple(missing),
        updated_keys=("temporary", "mode"),
        open_points=tuple(f"{desired.entry.name}: {words}" for words in points if words),
        documents=confs.documents,
        entry=confs.entry,
        individual_keys=adopt_conf.OWN_URLS,
    )


def _list_open_points(desired: SoraDesired) -> Iterator[str]:
    """What Sora's API does not show: it needs names of the host configuration."""
    if desired.entry.stop is None:
        yield "no stop command is known, so plans wait until an operator stops the node"


def _make_node(row: NodeRow) -> dict[str, Any]:
    temporary = {"temporary": True} if row.temporary else {}
    return {"name": row.node_name, "api": row.api, **temporary}
