"""Performs what simulated nodes do by themselves: their polls, downloads, loads and reports."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import defaultdict, deque
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from reconciler.core.canonical import write_json
from reconciler.core.endpoint import SocketAddress, is_loopback_host
from reconciler.core.timestamps import format_timestamp
from reconciler.ports.simulator import PUBLISH, LocalChange, NodeActivity, OutgoingCall, Reply
from reconciler.simulation.bus_client import NodeBusClients
from reconciler.simulation.call_statistics import CallStatistics
from reconciler.simulation.faults import Fault, FaultKind
from reconciler.simulation.http_client import NO_ANSWER, NodeClient
from reconciler.simulation.node_host import Simulation

TICK: Final = 0.05
"""Seconds between two checks for due activities."""

_COMMON: Final = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that calls come from anyway."""

_DELAYS: Final = frozenset({FaultKind.SLOW, FaultKind.WORKS})
_ANSWER_LOST: Final = frozenset({FaultKind.LOST, FaultKind.HALF})
_PERFORMED: Final = frozenset({FaultKind.DUPLICATE, FaultKind.STALE}) | _DELAYS | _ANSWER_LOST


class CallSender:
    """Performs the activities of a simulation's nodes; an asynchronous context manager.

    A node does one thing at a time: an activity that is due while another one runs waits, and a periodic one
    that still waits or runs when it is due again is left out.

    Args:
        simulation: whose nodes act.
        mute: names of nodes that send nothing, whatever their settings; may be changed at any time.
        client: sends the calls.
        emulator: of Firestore, on this machine; without one, nodes that use Firestore are silent.
        record: a line is appended to this file for each acknowledged report.
        sources: number of addresses from which nodes without an address of their own call, as through several
            translations of addresses. A large fleet needs some, because an address has too few ports.
    """

    # A failed call is lost, unless a product documents that its nodes repeat it.

    def __init__(
        self,
        simulation: Simulation,
        mute: set[str] | None = None,
        client: NodeClient | None = None,
        *,
        emulator: SocketAddress | None = None,
        sources: int = 1,
        record: Path | None = None,
    ) -> None:
        self._record = record
        self._acknowledged: list[bytes] = []
        self.mute = set() if mute is None else mute
        self.statistics: defaultdict[str, CallStatistics] = defaultdict(CallStatistics)
        """Purpose -> what became of these calls."""
        self._sources = sources
        self._simulation = simulation
        self._client = client or NodeClient()
        self._bus, self._uses_bus = NodeBusClients(emulator), False
        self._clock: asyncio.Task[None] | None = None
        self._workers: dict[str, asyncio.Task[None]] = {}
        # Node -> what it does now, and then.
        self._queues: dict[str, deque[NodeActivity]] = {}

    async def __aenter__(self) -> Self:
        self._simulation.take_due_activities(datetime.now(UTC))  # sets the start: only later events count
        self._clock = asyncio.create_task(self._follow_clock())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._workers.values(), *([self._clock] if self._clock else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._write_record()
        self._client.close()
        await self._bus.close()

    async def _follow_clock(self) -> None:
        while True:
            for activity in self._simulation.take_due_activities(datetime.now(UTC)):
                if activity.node not in self.mute:
                    self._begin(activity)
            for activity in await self._receive():
                self._begin(activity)
            self._write_record()
            await asyncio.sleep(TICK)

    async def _receive(self) -> list[NodeActivity]:
        """What nodes do with the messages of buses that have arrived."""
        listening = [
            one
            for one in self._simulation.list_subscriptions()
            if self._bus.is_local(one.url) and one.node not in self.mute
        ]
        if not listening and not self._uses_bus:
            return []
        self._uses_bus = True
        found = []
        for subscription, body in await self._bus.follow(listening):
            fault = self._simulation.take_fault(subscription.node, outgoing=True)
            if fault is not None and fault.kind not in _PERFORMED:
                continue
            activities = self._simulation.receive_message(subscription, body)
            if fault is not None and fault.kind is FaultKind.DUPLICATE:
                activities += self._simulation.receive_message(subscription, body)
            found += activities
        return found

    def _write_record(self) -> None:
        if self._record is not None and self._acknowledged:
            lines, self._acknowledged = self._acknowledged, []
            with self._record.open("ab") as file:
                file.writelines(lines)

    def _begin(self, activity: NodeActivity) -> None:
        node = activity.node
        queue = self._queues.get(node)
        if queue is None:
            self._queues[node] = deque([activity])
            self._workers[node] = asyncio.create_task(self._work(node))
        elif not (activity.is_periodic and any(other.name == activity.name for other in queue)):
            queue.append(activity)

    async def _work(self, node: str) -> None:
        queue = self._queues[node]
        try:
            while queue:
                await self._perform(queue[0])
                queue.popleft()
        finally:
            del self._queues[node], self._workers[node]

    async def _perform(self, activity: NodeActivity) -> None:
        steps = activity.steps
        if activity.delay:
            await asyncio.sleep(activity.delay)
        try:
            step = next(steps)
            while True:
                if isinstance(step, LocalChange):
                    reply = await self._change(activity.node, step)
                    if reply is None:
                        break
                else:
                    reply = await self._send(activity.node, step)
                step = steps.send(reply)
        except StopIteration:
            pass
        finally:
            steps.close()

    async def _change(self, node: str, change: LocalChange) -> Reply | None:
        """The reply to a change; None where the node stops in the middle of its activity."""
        fault = self._simulation.take_fault(node, change=True)
        if fault is not None and fault.kind in _DELAYS:
            await asyncio.sleep(fault.argument)
        if not self._simulation.is_up(node):
            return None
        if fault is not None and fault.kind not in _PERFORMED | {FaultKind.REFUSE}:
            return None
        reply = self._simulation.change(node, change, fault)
        return None if fault is not None and fault.kind in _ANSWER_LOST else reply

    async def _send(self, node: str, call: OutgoingCall) -> Reply:
        # Only this machine: a simulation must not call the real server of a copied fleet file.
        is_local = self._bus.is_local(call.url) if call.method == PUBLISH else _is_loopback(call.url)
        if not is_local or not self._simulation.is_up(node):
            return NO_ANSWER
        fault = self._simulation.take_fault(node, outgoing=True)
        if fault is not None and fault.kind in _DELAYS:
            await asyncio.sleep(fault.argument)
        elif fault is not None and fault.kind not in _PERFORMED:
            return NO_ANSWER
        keeps, source = self._simulation.keeps_connections(node), self._find_source(node)
        began, sent = time.perf_counter(), datetime.now(UTC)
        reply = await self._ask(node, call, keeps=keeps, source=source)
        self.statistics[call.purpose].add(reply[0], time.perf_counter() - began)
        if self._record is not None and call.method in {"POST", PUBLISH} and 200 <= reply[0] < 300:  # noqa: PLR2004
            line = {"node": node, "kind": call.purpose, "at": format_timestamp(sent)}
            self._acknowledged.append(write_json(line) + b"\n")
        if fault is not None and fault.kind is FaultKind.DUPLICATE:
            reply = await self._ask(node, call, keeps=keeps, source=source)
        return _report_loss(fault, reply)

    async def _ask(self, node: str, call: OutgoingCall, *, keeps: bool, source: str) -> Reply:
        if call.method == PUBLISH:
            return (204, {}, b"") if await self._bus.publish(call.url, call.body) else NO_ANSWER
        return await self._client.ask(node, call, keeps=keeps, source=source)

    def _find_source(self, node: str) -> str:
        """The address from which a node calls: its own one, or one of those that nodes without one share."""
        own = self._simulation.get_host(node)
        if own:
            return "" if own in _COMMON else own
        if self._sources == 1:
            return ""
        number = zlib.crc32(node.encode()) % self._sources
        return f"127.64.{number >> 8}.{number & 255}"


def _report_loss(fault: Fault | None, reply: Reply) -> Reply:
    return NO_ANSWER if fault is not None and fault.kind in _ANSWER_LOST else reply


def _is_loopback(url: str) -> bool:
    return _is_loopback_host(urlsplit(url).hostname or "")


_is_loopback_host = lru_cache(maxsize=1024)(is_loopback_host)
