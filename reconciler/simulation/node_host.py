"""Serves the simulated nodes of a fleet: listeners, faults, and a record of requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.ports.node_store import NodeTokens
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.simulator import (
    BusSubscription,
    LocalChange,
    NodeActivity,
    NodeRequest,
    NodeSession,
    Reply,
    RequestWay,
    SimulatedCluster,
    SimulatedCommand,
    SimulationStart,
)
from reconciler.simulation.addresses import keep_loopback_address, raise_file_limit
from reconciler.simulation.faults import AT_ONCE, NEEDS_NO_WAIT, ON_FILES, Fault, FaultKind, make_fault
from reconciler.simulation.machine_calls import (
    MACHINE_WAYS,
    describe_machine_call,
    is_machine_change,
    parse_call,
)
from reconciler.simulation.node_server import Listener, NodeListener
from reconciler.simulation.products import find_simulator
from reconciler.simulation.simulated_node import (
    Around,
    SimulatedNode,
    answer_with_faults,
    apply_node_fault,
    edit_files,
    follow_world,
    has_machine_files,
    kill_node,
    perform_local_change,
    start_node,
)
from reconciler.simulation.stream_server import StreamListener

REMEMBERED: Final = 100_000
"""Number of the last requests that are recorded."""


class Share(NamedTuple):
    """One part of a fleet, for a simulation in several processes; parts count from 0."""

    part: int
    parts: int


WHOLE: Final = Share(0, 1)

_ANY_PORT: Final = SocketAddress("127.0.0.1", 0)


def choose_share(nodes: Sequence[str], share: Share, *, whole: bool) -> list[str]:
    """The nodes of a cluster that belong to a share.

    Args:
        nodes: of the cluster.
        share: of all nodes.
        whole: whether the cluster must stay in one process, because its nodes talk to each other.
    """
    if whole:
        return list(nodes) if share.part == 0 else []
    return list(nodes[share.part :: share.parts])


class ServedFleet(Protocol):
    """A fleet to serve, such as the one of `reconciler.desired`."""

    @property
    def cluster_inputs(self) -> Sequence[ClusterInput]:
        """The clusters."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A request that a node got.

    Args:
        asked: its purpose, in the product's terms.
        change: whether it may change something.
        status: of the answer; 0 if the connection was closed without one.
        fault: the fault that applied; empty for none.
    """

    node: str
    asked: str
    change: bool
    status: int
    fault: str = ""


class RequestWatcher(Protocol):
    """Observes every request; must not block and must not raise."""

    def arrived(self, node: str, request: NodeRequest, *, change: bool) -> None:
        """A request has arrived; faults that are added now apply to it."""

    def answered(self, call: RecordedCall) -> None:
        """The request was answered or its connection closed."""


class Simulation:
    """All nodes of a fleet, served while the context lasts; an asynchronous context manager.

    Args:
        fleet: its clusters.
        drivers: kind -> product with a simulator.
        converged: whether the nodes start in the desired state, or in factory state.
        choices: kind -> options of its simulator, instead of the defaults.
        fresh: nodes in factory state, or in no cluster, even if `converged` is set.
        tokens: cluster -> tokens of its nodes that poll, which they need to start in the desired state.
        applied: the fleet that is applied to the nodes, if it is another one; see `SimulationStart.applied`.
        starts: as in `SimulationStart`.
        share: which part of the nodes, for a simulation in several processes.
        around: wraps every change, for an oracle.
        watcher: observes every request.

    Raises:
        UsageError: a cluster's kind has no simulator, or a node's address is not on loopback.
    """

    def __init__(
        self,
        fleet: ServedFleet,
        drivers: Mapping[str, Driver[Any, Any]],
        *,
        converged: bool = False,
        choices: Mapping[str, Any] | None = None,
        fresh: Collection[str] = (),
        tokens: Mapping[str, Mapping[str, NodeTokens]] | None = None,
        applied: ServedFleet | None = None,
        starts: int = 1,
        share: Share = WHOLE,
        around: Around | None = None,
        watcher: RequestWatcher | None = None,
    ) -> None:
        self._watcher = watcher
        self._calls: deque[RecordedCall] = deque(maxlen=REMEMBERED)
        self._served: dict[str, SimulatedCluster] = {}
        self._places: dict[str, SimulatedNode] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        self._machines = NodeListener(self._handle_machine, self._perform_machine, self._settle)
        inputs = {one.entry.name: one for one in applied.cluster_inputs} if applied else {}
        for cluster_input in fleet.cluster_inputs:
            kind = cluster_input.entry.kind
            simulator = find_simulator(kind, cluster_input.entry.name, drivers)
            options = (choices or {}).get(kind, simulator.options)
            name = cluster_input.entry.name
            members = [member.name for member in cluster_input.entry.members()]
            selected = choose_share(members, share, whole=simulator.has_peer_links)
            if not selected:
                continue
            start = SimulationStart(
                converged=converged,
                fresh=fresh,
                tokens=(tokens or {}).get(name, {}),
                nodes=None if len(selected) == len(members) else frozenset(selected),
                applied=inputs.get(name),
                starts=starts,
            )
            served = simulator.serve(cluster_input, start=start, options=options)
            self._served[name] = served
            for node in selected:
                listener = self._make_listener(node, served)
                self._places[node] = SimulatedNode(
                    cluster_input.entry.name,
                    kind,
                    node,
                    served,
                    served.addresses.get(node),
                    listener,
                    around,
                    joined=simulator.has_peer_links,
                )
        _check_addresses(self._places.values())
        for node in fresh if share == WHOLE else ():
            self._find_nodes(node)

    async def __aenter__(self) -> Self:
        raise_file_limit(len(self._places))
        try:
            for place in self._places.values():
                # A node that is not installed yet does not run.
                await follow_world(place)
            if self.commands or any(map(has_machine_files, self._places.values())):
                await self._machines.open(_ANY_PORT)
        except UsageError:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await asyncio.gather(*(place.listener.close() for place in self._places.values()))
        await self._machines.close()

    @property
    def machines_url(self) -> str:
        """URL of the endpoint for files and commands of the nodes; empty if they have none."""
        address = self._machines.address
        return f"http://{address}" if address is not None else ""

    @property
    def commands(self) -> Mapping[str, SimulatedCommand]:
        """Name -> what a host has to know of a command for these nodes."""
        return {name: one for served in self._served.values() for name, one in served.commands.items()}

    def list_machines(self, cluster: str) -> dict[str, SimulatedMachine]:
        """Node -> its machine, of the nodes of a cluster that have files."""
        found = {
            name: place.served.get_machine(name)
            for name, place in self._places.items()
            if place.cluster == cluster
        }
        return {name: machine for name, machine in found.items() if machine is not None and machine.files}

    def list_machine_kinds(self) -> dict[str, frozenset[FaultKind]]:
        """Cluster -> the faults of files and commands that fit its nodes."""
        with_files = {place.cluster for place in self._places.values() if has_machine_files(place)}
        return {
            name: (ON_FILES if name in with_files else frozenset())
            | (frozenset({FaultKind.DOWN}) if served.commands else frozenset())
            for name, served in self._served.items()
        }

    @property
    def nodes(self) -> Mapping[str, SocketAddress]:
        """Node name -> its address, of the nodes that can be called."""
        return {place.node: place.address for place in self._places.values() if place.address is not None}

    @property
    def names(self) -> Collection[str]:
        """Names of all nodes."""
        return self._places.keys()

    @property
    def clusters(self) -> Iterable[str]:
        """Names of the clusters."""
        return self._served.keys()

    def world(self, cluster: str) -> Any:
        """The simulated world of a cluster, of its product's type."""
        return self._served[cluster].world

    def take_due_activities(self, now: datetime) -> list[NodeActivity]:
        """What nodes begin to do by themselves, since the last call."""
        return [activity for served in self._served.values() for activity in served.take_due_activities(now)]

    def list_subscriptions(self) -> list[BusSubscription]:
        """The channels of message buses to which nodes listen now."""
        listed = [one for served in self._served.values() for one in served.list_subscriptions()]
        return [one for one in listed if self.is_up(one.node)]

    def receive_message(self, subscription: BusSubscription, body: bytes) -> list[NodeActivity]:
        """What a node does with a message of a channel."""
        served = self._served[self._places[subscription.node].cluster]
        return list(served.receive_message(subscription, body))

    def is_up(self, node: str) -> bool:
        """Whether a node is running."""
        return self._places[node].is_up

    def is_stopped(self, node: str) -> bool:
        """Whether a command of the host has stopped a node, and nothing has started it since."""
        return self._places[node].is_stopped

    def list_complaints(self) -> list[str]:
        """Answers of the central server that are not as the product documents them, the latest ones."""
        return [text for served in self._served.values() for text in served.list_complaints()]

    def get_host(self, node: str) -> str:
        """The host at which a node listens; empty if nobody can call it."""
        address = self._places[node].address
        return address.host if address is not None else ""

    def keeps_connections(self, node: str) -> bool:
        """Whether a node uses a connection again for its next call."""
        return self._places[node].served.keeps_connections

    def take_fault(self, node: str, *, change: bool = False, outgoing: bool = False) -> Fault | None:
        """The fault that applies to what a node does by itself; its count goes down by one."""
        return self._places[node].pending.take(change=change, outgoing=outgoing)

    def change(self, node: str, change: LocalChange, fault: Fault | None) -> Reply:
        """Make a change that a node makes to itself, and record it."""
        place = self._places[node]
        reply = perform_local_change(place, change, fault)
        if fault is not None and fault.kind is FaultKind.DUPLICATE:
            change.perform()
        asked = place.served.describe_request(change.request)
        self._calls.append(RecordedCall(node, asked, True, reply[0], str(fault.kind) if fault else ""))
        return reply

    def calls(self, node: str = "", *, changes: bool = False) -> tuple[RecordedCall, ...]:
        """The recorded requests in order, of one node or of all; with `changes`, without reads."""
        return tuple(call for call in self._calls if node in {"", call.node} and (call.change or not changes))

    def describe(self) -> list[dict[str, Any]]:
        """Every node as plain data: name, cluster, kind, address, up, pending faults, number of requests."""
        asked: dict[str, int] = {}
        for call in self._calls:
            asked[call.node] = asked.get(call.node, 0) + 1
        return [
            {
                "node": place.node,
                "cluster": place.cluster,
                "kind": place.kind,
                "address": str(place.address or ""),
                "up": place.is_up,
                "faults": place.pending.texts(),
                "requests": asked.get(place.node, 0),
            }
            for place in self._places.values()
        ]

    async def fault(
        self,
        name: str,
        kind: str,
        argument: float | None = None,
        *,
        count: int | None = None,
        on: str | None = None,
    ) -> None:
        """Add a fault to a node or to every node of a cluster; `faults` defines them.

        Raises:
            UsageError: there is no such node or fault.
        """
        await self.add(name, make_fault(kind, argument, count=count, on=on))

    async def add(self, name: str, fault: Fault) -> None:
        """Add a fault to a node or every node of a cluster; an immediate one has happened on return.

        Raises:
            UsageError: there is no such node.
        """
        if self.lay(name, fault):
            return
        for place in self._find_nodes(name):
            if fault.kind is not FaultKind.STARTED:
                await kill_node(place)
            if fault.kind is FaultKind.RESTARTED and fault.argument:
                task = asyncio.create_task(start_node(place, fault.argument))
                self._restarts.add(task)
                task.add_done_callback(self._restarts.discard)
            elif fault.kind is not FaultKind.KILLED:
                await start_node(place)

    def lay(self, name: str, fault: Fault) -> bool:
        """Do what `add` does if it needs no waiting; gives whether it did.

        Raises:
            UsageError: there is no such node.
        """
        if fault.kind in AT_ONCE - NEEDS_NO_WAIT:
            return False
        for place in self._find_nodes(name):
            if fault.kind is FaultKind.EDITED:
                edit_files(place)
            elif fault.kind in NEEDS_NO_WAIT:
                apply_node_fault(place, fault.kind)
            else:
                place.pending.add(fault)
        return True

    def joined(self, node: str) -> bool:
        """Whether nodes of this node's product talk to each other.

        Raises:
            UsageError: there is no such node.
        """
        return all(place.joined for place in self._find_nodes(node))

    async def install(self, node: str, package: bytes) -> None:
        """Put a package on a node by hand, and start the node with it.

        Raises:
            UsageError: there is no such node, or it refuses the package.
        """
        for place in self._find_nodes(node):
            place.served.world.install(place.node, package)
            await start_node(place)

    def clear(self) -> None:
        """Remove all pending faults; a killed node stays down."""
        for place in self._places.values():
            place.pending.clear()

    def _find_nodes(self, name: str) -> list[SimulatedNode]:
        if name in self._places:
            return [self._places[name]]
        found = [place for place in self._places.values() if place.cluster == name]
        if not found:
            raise UsageError(
                f"there is no node or cluster {name!r} in the simulated fleet",
                remedy=f"its clusters are {', '.join(self.clusters)}",
            )
        return found

    def _make_listener(self, node: str, served: SimulatedCluster) -> Listener:
        if node not in served.streaming:
            return NodeListener(partial(self._handle, node), partial(self._perform, node))

        def ask(session: NodeSession, request: NodeRequest) -> tuple[Fault | None, Reply]:
            return self._handle(node, request, session)

        def perform(session: NodeSession, request: NodeRequest) -> Reply:
            return self._perform(node, request, session)

        return StreamListener(partial(served.open_session, node), ask, perform)

    def _handle_machine(self, request: NodeRequest) -> tuple[Fault | None, Reply]:
        """Perform a call to the machine of a node."""
        try:
            node, call = parse_call(request)
        except ValueError as error:
            return None, (400, {"Content-Type": "text/plain"}, f"{error}\n".encode())
        if node not in self._places:
            return None, (404, {"Content-Type": "text/plain"}, b"there is no such node\n")
        return self._handle(node, call)

    def _perform_machine(self, request: NodeRequest) -> Reply:
        node, call = parse_call(request)
        return self._perform(node, call)

    async def _settle(self, request: NodeRequest) -> None:
        """Open or close the listener of a node that a command has started, restarted or stopped."""
        try:
            node, call = parse_call(request)
        except ValueError:
            return
        if call.way is not RequestWay.COMMAND or not is_machine_change(call) or node not in self._places:
            return
        # A task of its own: a caller that disconnects ends neither the command nor what follows it.
        work = asyncio.ensure_future(follow_world(self._places[node]))
        self._restarts.add(work)
        work.add_done_callback(self._restarts.discard)
        await asyncio.shield(work)

    def _handle(
        self, node: str, request: NodeRequest, session: NodeSession | None = None
    ) -> tuple[Fault | None, Reply]:
        place, is_machine = self._places[node], request.way in MACHINE_WAYS
        change = is_machine_change(request) if is_machine else place.served.is_change(request)
        # Before the fault is taken: a watcher may add a fault for exactly this request.
        if self._watcher is not None:
            self._watcher.arrived(node, request, change=change)
        fault = place.pending.take(change=change, way=request.way)
        reply = answer_with_faults(place, request, fault, change=change, session=session)
        fault_name = str(fault.kind) if fault else ""
        asked = describe_machine_call(request) if is_machine else place.served.describe_request(request)
        call = RecordedCall(node, asked, change, reply[0], fault_name)
        self._calls.append(call)
        if self._watcher is not None:
            self._watcher.answered(call)
        return fault, reply

    def _perform(self, node: str, request: NodeRequest, session: NodeSession | None = None) -> Reply:
        """Complete a change that the node has worked on; it was recorded when it arrived."""
        return answer_with_faults(self._places[node], request, None, change=True, session=session)


def _check_addresses(places: Iterable[SimulatedNode]) -> None:
    taken: dict[SocketAddress, str] = {}
    for place in places:
        if place.address is None:
            continue
        keep_loopback_address(place.node, place.address)
        other = taken.setdefault(place.address, place.node)
        if other != place.node:
            raise UsageError(f"{other} and {place.node} have the same address {place.address}")
