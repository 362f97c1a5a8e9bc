"""One simulated node: where it listens, the faults that wait for it, and how a request meets one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from reconciler.errors import UsageError
from reconciler.ports.simulator import Address, Reply, Request, Served
from reconciler.simulation.addresses import not_free
from reconciler.simulation.faults import Fault, Kind, Pending
from reconciler.simulation.node_server import CLOSED, Listener

PAGE: Final = b"<!doctype html><title>Welcome</title><p>This is not the node you are looking for."
"""What a fault of the kind `garbage` answers."""


Around: TypeAlias = Callable[[str, str, Request, Callable[[], Reply]], Reply]
"""Performs a change and gives its answer: cluster, node, request, and what performs it."""


def plainly(cluster: str, node: str, request: Request, perform: Callable[[], Reply]) -> Reply:  # noqa: ARG001
    """Performs a change with nobody looking on."""
    return perform()


@dataclass(slots=True)
class Place:
    """One node.

    Args:
        around: performs its changes.
        joined: whether its product's nodes talk to each other.
        shown: what each read was answered last.
    """

    cluster: str
    kind: str
    node: str
    served: Served
    address: Address
    listener: Listener
    around: Around
    joined: bool = False
    pending: Pending = field(default_factory=Pending)
    shown: dict[tuple[str, str, str], Reply] = field(default_factory=dict)


def replied(place: Place, request: Request, fault: Fault | None, *, change: bool) -> Reply:
    """What a node answers, done where the fault lets it be done."""
    kind = fault.kind if fault else None
    if kind in {Kind.CUT, Kind.RESET, Kind.SILENT, Kind.WORKS}:
        return CLOSED, {}, b""
    if fault is not None and kind is Kind.ERROR:
        return int(fault.argument), {"Content-Type": "text/plain"}, b"an error on request\n"
    if kind is Kind.GARBAGE:
        return 200, {"Content-Type": "text/html"}, PAGE
    if kind is Kind.REFUSE:
        return place.served.refusal()
    return _served(place, request, kind, change=change)


def _served(place: Place, request: Request, kind: Kind | None, *, change: bool) -> Reply:
    perform = partial(place.served.answer, place.node, request)
    if change:
        reply = place.around(place.cluster, place.node, request, perform)
        if kind is Kind.DUPLICATE:
            perform()
        return reply
    read = (request.method, request.target, place.served.asked(request))
    if kind is Kind.STALE and read in place.shown:
        return place.shown[read]
    place.shown[read] = perform()
    return place.shown[read]


def among(place: Place, kind: Kind) -> None:
    """Let a fault between nodes happen to one of them."""
    world = place.served.world
    if not place.joined:
        raise UsageError(
            f"{place.node}: its product's nodes do not talk to each other", remedy="use cut or killed"
        )
    match kind:
        case Kind.ISOLATED:
            world.isolate(place.node)
        case Kind.REJOINED:
            world.rejoin(place.node)
        case _:
            world.join_halfway()


async def opened(place: Place) -> None:
    """Let a node listen.

    Raises:
        UsageError: its address cannot be listened on.
    """
    try:
        await place.listener.open(place.address)
    except OSError as error:
        raise not_free(place.node, place.address, error) from error


async def started(place: Place, delay: float = 0) -> None:
    """Bring a node up, where it listens now."""
    await asyncio.sleep(delay)
    await place.listener.close()
    place.served.world.start(place.node)
    port = place.served.moved(place.node)
    if port is not None:
        place.address = Address(place.address.host, port)
    await opened(place)
