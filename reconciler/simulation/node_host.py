"""The host of simulated nodes: opens their doors, gives them their faults, remembers what was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

from reconciler.errors import UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.ports.simulator import NodeMessage, NodeRequest, Reply, SimulatedCluster, SocketAddress
from reconciler.simulation.addresses import keep_loopback_address, raise_file_limit
from reconciler.simulation.faults import AMONG_NODES, AT_ONCE, Fault, FaultKind, make_fault
from reconciler.simulation.node_server import NodeListener
from reconciler.simulation.products import find_simulator
from reconciler.simulation.simulated_node import (
    Around,
    SimulatedNode,
    answer_with_faults,
    apply_node_fault,
    open_node,
    perform_unwatched,
    start_node,
)

REMEMBERED: Final = 100_000
"""How many of the last requests are remembered."""

SPARE_FILES: Final = 1024
"""Open files beyond one for each node: connections, and what the process has open anyway."""


class ServedFleet(Protocol):
    """What is served; the fleet of `reconciler.desired` is one."""

    @property
    def cluster_inputs(self) -> Sequence[ClusterInput]:
        """The clusters."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A request that a node got.

    Args:
        asked: what for, in the product's words.
        change: whether it may change something.
        status: of the node's answer; 0 where nothing was done or the connection was closed.
        fault: what went wrong with it, empty for nothing.
    """

    node: str
    asked: str
    change: bool
    status: int
    fault: str = ""


class RequestWatcher(Protocol):
    """Told of every request; must not block and must not raise."""

    def arrived(self, node: str, request: NodeRequest, *, change: bool) -> None:
        """A request has come, and has met no fault yet; faults given now are met by it."""

    def answered(self, call: RecordedCall) -> None:
        """It was answered, or dropped."""


class SilentWatcher:
    """A watcher that looks away."""

    def arrived(self, node: str, request: NodeRequest, *, change: bool) -> None:
        """Nothing."""

    def answered(self, call: RecordedCall) -> None:
        """Nothing."""


NOBODY: Final = SilentWatcher()
"""For whoever does not watch."""


class Simulation:
    """All nodes of a fleet, served while it is entered; an asynchronous context manager.

    Args:
        fleet: its clusters.
        drivers: kind -> product, which brings its simulator.
        converged: whether the nodes are as the fleet says already, or fresh from the factory.
        choices: kind -> that simulator's options, where its own defaults do not do.
        fresh: nodes that know nothing yet although the others have converged: fresh from the
            factory, or in no cluster.
        around: sees every change before and after it, for whoever watches over the nodes.
        watcher: is told of every request.

    Raises:
        UsageError: a cluster's kind cannot be simulated, or a node's address is not on loopback.
    """

    def __init__(
        self,
        fleet: ServedFleet,
        drivers: Mapping[str, Driver[Any, Any]],
        *,
        converged: bool = False,
        choices: Mapping[str, Any] | None = None,
        fresh: Collection[str] = (),
        around: Around = perform_unwatched,
        watcher: RequestWatcher = NOBODY,
    ) -> None:
        self._watcher = watcher
        self._calls: deque[RecordedCall] = deque(maxlen=REMEMBERED)
        self._served: dict[str, SimulatedCluster] = {}
        self._places: dict[str, SimulatedNode] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        for cluster_input in fleet.cluster_inputs:
            kind = cluster_input.entry.kind
            simulator = find_simulator(kind, cluster_input.entry.name, drivers)
            options = (choices or {}).get(kind, simulator.options)
            served = simulator.serve(cluster_input, converged=converged, options=options, fresh=fresh)
            self._served[cluster_input.entry.name] = served
            for node, address in served.addresses.items():
                listener = NodeListener(partial(self._ask, node), partial(self._perform, node))
                self._places[node] = SimulatedNode(
                    cluster_input.entry.name,
                    kind,
                    node,
                    served,
                    address,
                    listener,
                    around,
                    joined=simulator.joined,
                )
        _check(self._places.values())
        for name in fresh:
            self._named(name)

    async def __aenter__(self) -> Self:
        raise_file_limit(len(self._places) + SPARE_FILES)
        try:
            for place in self._places.values():
                await open_node(place)
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

    @property
    def nodes(self) -> Mapping[str, SocketAddress]:
        """Node name -> where it listens."""
        return {place.node: place.address for place in self._places.values()}

    @property
    def clusters(self) -> Iterable[str]:
        """The clusters' names."""
        return self._served.keys()

    def world(self, cluster: str) -> Any:
        """The product's own world of a cluster."""
        return self._served[cluster].world

    def due(self, now: datetime) -> list[NodeMessage]:
        """What nodes send by themselves since they were asked last."""
        return [message for served in self._served.values() for message in served.due(now)]

    def calls(self, node: str = "", *, changes: bool = False) -> tuple[RecordedCall, ...]:
        """What was asked, in order; of one node, or of all; changes only, or reads too."""
        return tuple(call for call in self._calls if node in {"", call.node} and (call.change or not changes))

    def describe(self) -> list[dict[str, Any]]:
        """Every node as plain data: name, cluster, kind, address, up, faults that wait, requests so far."""
        asked: dict[str, int] = {}
        for call in self._calls:
            asked[call.node] = asked.get(call.node, 0) + 1
        return [
            {
                "node": place.node,
                "cluster": place.cluster,
                "kind": place.kind,
                "address": str(place.address),
                "up": place.listener.listening,
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
        """Give a node, or every node of a cluster, a fault; `faults` says which there are.

        Raises:
            UsageError: there is no such node or fault.
        """
        await self.add(name, make_fault(kind, argument, count=count, on=on))

    async def add(self, name: str, fault: Fault) -> None:
        """Give a node, or every node of a cluster, a fault; one at once is over when this returns.

        Raises:
            UsageError: there is no such node.
        """
        if self.lay(name, fault):
            return
        for place in self._named(name):
            if fault.kind is not FaultKind.STARTED:
                await place.listener.close()
                place.served.world.kill(place.node)
            if fault.kind is FaultKind.RESTARTED and fault.argument:
                task = asyncio.create_task(start_node(place, fault.argument))
                self._restarts.add(task)
                task.add_done_callback(self._restarts.discard)
            elif fault.kind is not FaultKind.KILLED:
                await start_node(place)

    def lay(self, name: str, fault: Fault) -> bool:
        """Do what `add` does where it needs no waiting; gives whether it did.

        Raises:
            UsageError: there is no such node.
        """
        if fault.kind in AT_ONCE - AMONG_NODES:
            return False
        for place in self._named(name):
            if fault.kind in AMONG_NODES:
                apply_node_fault(place, fault.kind)
            else:
                place.pending.add(fault)
        return True

    def joined(self, node: str) -> bool:
        """Whether the node's product is one whose nodes talk to each other.

        Raises:
            UsageError: there is no such node.
        """
        return all(place.joined for place in self._named(node))

    def clear(self) -> None:
        """Take away all faults that still wait; a killed node stays down."""
        for place in self._places.values():
            place.pending.clear()

    def _named(self, name: str) -> list[SimulatedNode]:
        if name in self._places:
            return [self._places[name]]
        found = [place for place in self._places.values() if place.cluster == name]
        if not found:
            raise UsageError(
                f"there is no node or cluster {name!r} in the simulated fleet",
                remedy=f"its clusters are {', '.join(self.clusters)}",
            )
        return found

    def _ask(self, node: str, request: NodeRequest) -> tuple[Fault | None, Reply]:
        place = self._places[node]
        change = place.served.changes(request)
        self._watcher.arrived(node, request, change=change)
        fault = place.pending.take(change=change)
        reply = answer_with_faults(place, request, fault, change=change)
        said = str(fault.kind) if fault else ""
        call = RecordedCall(node, place.served.asked(request), change, reply[0], said)
        self._calls.append(call)
        self._watcher.answered(call)
        return fault, reply

    def _perform(self, node: str, request: NodeRequest) -> Reply:
        """What a node does once it has worked on a change long enough; it was noted when it came."""
        return answer_with_faults(self._places[node], request, None, change=True)


def _check(places: Iterable[SimulatedNode]) -> None:
    taken: dict[SocketAddress, str] = {}
    for place in places:
        keep_loopback_address(place.node, place.address)
        other = taken.setdefault(place.address, place.node)
        if other != place.node:
            raise UsageError(f"{other} and {place.node} have the same address {place.address}")
