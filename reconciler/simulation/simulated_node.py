"""One simulated node: its listener, its pending faults, and how a fault changes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace
from reconciler.errors import UsageError
from reconciler.ports.simulator import (
    LocalChange,
    NodeRequest,
    NodeSession,
    Reply,
    RequestWay,
    SimulatedCluster,
    refuse_command,
)
from reconciler.ports.transport import refuse_file
from reconciler.simulation.addresses import make_address_error
from reconciler.simulation.faults import Fault, FaultKind, PendingFaults
from reconciler.simulation.machine_call import RUN
from reconciler.simulation.machine_calls import MACHINE_WAYS, make_machine_refusal, perform_machine_call
from reconciler.simulation.node_server import CLOSED, Listener

PAGE: Final = b"<!doctype html><title>Welcome</title><p>This is not the node you are looking for."
"""What a fault of the kind `garbage` answers."""


Around: TypeAlias = Callable[[str, str, NodeRequest, Callable[[], Reply]], Reply]
"""Wraps a change: called with cluster, node, request and the function that performs it; gives the answer."""


_CLOSING: Final = frozenset({FaultKind.CUT, FaultKind.RESET, FaultKind.SILENT, FaultKind.WORKS})
_OF_HTTP: Final = frozenset({FaultKind.ERROR, FaultKind.REFUSE})


@dataclass(slots=True)
class SimulatedNode:
    """One node.

    Args:
        around: wraps its changes.
        joined: whether nodes of its product talk to each other.
        address: None if nobody can call it.
        shown: last answer to each read, for the fault `stale`.
        is_up: whether it is running.
        is_stopped: whether a command of the host has stopped it.
        moving: held while it starts or goes down.
    """

    cluster: str
    kind: str
    node: str
    served: SimulatedCluster
    address: SocketAddress | None
    listener: Listener
    around: Around | None
    joined: bool = False
    pending: PendingFaults = field(default_factory=PendingFaults)
    shown: dict[tuple[str, str, str], Reply] = field(default_factory=dict)
    is_up: bool = True
    is_stopped: bool = False
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)


def answer_with_faults(
    place: SimulatedNode,
    request: NodeRequest,
    fault: Fault | None,
    *,
    change: bool,
    session: NodeSession | None = None,
) -> Reply:
    """The answer of a node under a fault; the request takes effect if the fault lets it.

    Args:
        place: the node.
        request: to it.
        fault: that applies to it.
        change: whether it may change something.
        session: of the connection that a request over TCP came by.
    """
    kind = fault.kind if fault else None
    is_for_node = request.way not in MACHINE_WAYS
    # A node that is down is one that a command has stopped, and whose listener is about to close.
    if kind in _CLOSING or (is_for_node and not place.is_up) or (kind in _OF_HTTP and session is not None):
        return CLOSED, {}, b""
    if fault is not None and kind is FaultKind.ERROR:
        return int(fault.argument), {"Content-Type": "text/plain"}, b"an error on request\n"
    if kind is FaultKind.GARBAGE:
        return 200, {"Content-Type": "text/html"}, PAGE
    if kind is FaultKind.REFUSE:
        return place.served.build_refusal() if is_for_node else _refuse_machine_call(place.node, request)
    if session is not None:
        perform = partial(_converse, session, request)
    elif is_for_node:
        perform = partial(place.served.answer, place.node, request)
    else:
        perform = partial(_call_machine, place, request, fault)
    return _perform(place, request, kind, perform, change=change)


def _converse(session: NodeSession, request: NodeRequest) -> Reply:
    return 200, {}, session.receive(request.body)


def _refuse_machine_call(node: str, request: NodeRequest) -> Reply:
    if request.way is RequestWay.COMMAND:
        return make_machine_refusal(refuse_command(node, "it ended with status 1: refused on request"))
    place, words = FilePlace(request.target, node), "is refused by its check: refused on request"
    return make_machine_refusal(refuse_file(place, words, again=False))


def _call_machine(place: SimulatedNode, request: NodeRequest, fault: Fault | None) -> Reply:
    kind = fault.kind if fault else None
    reply = perform_machine_call(
        place.served,
        place.node,
        request,
        is_full=kind is FaultKind.FULL,
        torn=int(fault.argument) if fault is not None and kind is FaultKind.TORN else None,
    )
    if request.way is RequestWay.COMMAND and request.method == RUN:
        world = place.served.world
        if kind is FaultKind.DOWN and world.running(place.node):
            world.kill(place.node)
            place.is_stopped = False
        elif place.is_up is not world.running(place.node):
            place.is_stopped = place.is_up
        # Before the listener closes: what reaches it until then must not be answered.
        place.is_up = world.running(place.node)
    return reply


def _perform(
    place: SimulatedNode,
    request: NodeRequest,
    kind: FaultKind | None,
    perform: Callable[[], Reply],
    *,
    change: bool,
) -> Reply:
    if change:
        reply = place.around(place.cluster, place.node, request, perform) if place.around else perform()
        # Not through `around`: the second call is the proxy's, not one that the reconciler sent.
        if kind is FaultKind.DUPLICATE and request.way is RequestWay.HTTP:
            perform()
        return reply
    if request.way is not RequestWay.HTTP:
        return perform()
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


def has_machine_files(place: SimulatedNode) -> bool:
    """Whether a host can have entries in `files` for a node."""
    machine = place.served.get_machine(place.node)
    return machine is not None and bool(machine.files)


def edit_files(place: SimulatedNode) -> None:
    """Change each file of a node as a person does, where it is not ours.

    Raises:
        UsageError: the node has no files.
    """
    machine = place.served.get_machine(place.node)
    if machine is None or not machine.files:
        raise UsageError(f"{place.node}: it has no files", remedy="leave the fault out")
    for entry, file in machine.files.items():
        file.content = place.served.edit_file(place.node, entry, file.content or b"")


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
    await _complete(_start(place))


async def _start(place: SimulatedNode) -> None:
    async with place.moving:
        await place.listener.close()
        place.served.world.start(place.node)
        place.is_stopped = False
        await _follow(place)


async def kill_node(place: SimulatedNode) -> None:
    """Take a node down."""
    await _complete(_kill(place))


async def _kill(place: SimulatedNode) -> None:
    async with place.moving:
        # The listener closes first: no request may reach a node that is down.
        await place.listener.close()
        place.is_up = place.is_stopped = False
        place.served.world.kill(place.node)


async def follow_world(place: SimulatedNode) -> None:
    """Open or close the listener of a node that was started or stopped; old connections end."""
    async with place.moving:
        await _follow(place)


async def _complete(work: Coroutine[Any, Any, None]) -> None:
    """Await something to its end, also if this task is cancelled: half a start is no state of a node."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _follow(place: SimulatedNode) -> None:
    await place.listener.close()
    place.is_up = place.served.world.running(place.node)
    if not place.is_up:
        return
    port = place.served.get_new_port(place.node)
    if port is not None and place.address is not None:
        place.address = SocketAddress(place.address.host, port)
    await open_node(place)
