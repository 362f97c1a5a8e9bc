"""One simulated node: its listener, its pending faults, and how a fault changes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import UsageError
from reconciler.ports.simulator import LocalChange, NodeRequest, Reply, SimulatedCluster
from reconciler.simulation.addresses import make_address_error
from reconciler.simulation.faults import Fault, FaultKind, PendingFaults
from reconciler.simulation.node_server import CLOSED, NodeListener

PAGE: Final = b"<!doctype html><title>Welcome</title><p>This is not the node you are looking for."
"""What a fault of the kind `garbage` answers."""


Around: TypeAlias = Callable[[str, str, NodeRequest, Callable[[], Reply]], Reply]
"""Wraps a change: called with cluster, node, request and the function that performs it; gives the answer."""


@dataclass(slots=True)
class SimulatedNode:
    """One node.

    Args:
        around: wraps its changes.
        joined: whether nodes of its product talk to each other.
        address: None if nobody can call it.
        shown: last answer to each read, for the fault `stale`.
        is_up: whether it is running.
    """

    cluster: str
    kind: str
    node: str
    served: SimulatedCluster
    address: SocketAddress | None
    listener: NodeListener
    around: Around | None
    joined: bool = False
    pending: PendingFaults = field(default_factory=PendingFaults)
    shown: dict[tuple[str, str, str], Reply] = field(default_factory=dict)
    is_up: bool = True


def answer_with_faults(
    place: SimulatedNode, request: NodeRequest, fault: Fault | None, *, change: bool
) -> Reply:
    """The answer of a node under a fault; the request takes effect if the fault lets it."""
    kind = fault.kind if fault else None
    if kind in {FaultKind.CUT, FaultKind.RESET, FaultKind.SILENT, FaultKind.WORKS}:
        return CLOSED, {}, b""
    if fault is not None and kind is FaultKind.ERROR:
        return int(fault.argument), {"Content-Type": "text/plain"}, b"an error on request\n"
    if kind is FaultKind.GARBAGE:
        return 200, {"Content-Type": "text/html"}, PAGE
    if kind is FaultKind.REFUSE:
        return place.served.build_refusal()
    return _perform(place, request, kind, change=change)


def _perform(place: SimulatedNode, request: NodeRequest, kind: FaultKind | None, *, change: bool) -> Reply:
    perform = partial(place.served.answer, place.node, request)
    if change:
        reply = place.around(place.cluster, place.node, request, perform) if place.around else perform()
        # Not through `around`: the second call is the proxy's, not one that the reconciler sent.
        if kind is FaultKind.DUPLICATE:
            perform()
        return reply
    read = (request.method, request.target, place.served.describe_request(request))
    if kind is FaultKind.STALE and read in place.shown:
        return place.shown[read]
    place.shown[read] = perform()
    return place.shown[read]


def perform_local_change(place: SimulatedNode, change: LocalChange, fault: Fault | None) -> Reply:
    """The reply to a change that a node makes to itself, under a fault."""
    if fault is not None and fault.kind is FaultKind.REFUSE:
        return place.served.build_refusal()
    if place.around:
        return place.around(place.cluster, place.node, change.request, change.perform)
    return change.perform()


def apply_node_fault(place: SimulatedNode, kind: FaultKind) -> None:
    """Apply a fault between nodes to one of them."""
    world = place.served.world
    if not place.joined:
        raise UsageError(
            f"{place.node}: nodes of this product do not talk to each other", remedy="use cut or killed"
        )
    match kind:
        case FaultKind.ISOLATED:
            world.isolate(place.node)
        case FaultKind.REJOINED:
            world.rejoin(place.node)
        case _:
            world.join_halfway()


async def open_node(place: SimulatedNode) -> None:
    """Open the listener of a node.

    Raises:
        UsageError: it cannot listen on its address.
    """
    place.is_up = True
    if place.address is None:
        return
    try:
        await place.listener.open(place.address)
    except OSError as error:
        raise make_address_error(place.node, place.address, error) from error


async def start_node(place: SimulatedNode, delay: float = 0) -> None:
    """Start a node after `delay` seconds, at its current address."""
    await asyncio.sleep(delay)
    await place.listener.close()
    place.served.world.start(place.node)
    port = place.served.get_new_port(place.node)
    if port is not None and place.address is not None:
        place.address = SocketAddress(place.address.host, port)
    await open_node(place)
