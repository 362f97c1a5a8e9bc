"""Brings the faults of a schedule upon a simulation, each at its moment, and ends them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from reconciler.fault_trials.fault_schedule import FaultSchedule, ScheduledFault
from reconciler.fault_trials.recorder import TrialRecorder
from reconciler.simulation.faults import Fault, FaultKind
from reconciler.simulation.node_host import Simulation


class FaultInjector:
    """The faults of one trial that are still to come.

    Args:
        down: nodes that are down for good.
    """

    def __init__(
        self, schedule: FaultSchedule, simulation: Simulation, recorder: TrialRecorder, down: Collection[str]
    ) -> None:
        self._waiting = list(schedule.blows)
        self._simulation = simulation
        self.recorder = recorder
        self._down = set(down)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        recorder.struck = self.requested
        self.changing: Callable[[], None] = lambda: None

    async def begin(self) -> None:
        """Take the nodes down that are down for good, and wind up what comes after a while."""
        for name in sorted(self._down):
            await self._simulation.add(name, Fault(FaultKind.KILLED))
        for blow in [blow for blow in self._waiting if blow.when.kind == "after"]:
            self._waiting.remove(blow)
            self._later(self._strike(blow, delay=blow.when.number))

    async def stop(self, node: str) -> None:
        """A person stops a node, for good."""
        self._down.add(node)
        await self._simulation.add(node, Fault(FaultKind.KILLED))
        self.recorder.look()

    async def run(self, number: int) -> None:
        """The run of this number is about to begin."""
        for blow in self._due("run", number):
            self._now(blow)
        await asyncio.sleep(0)

    def requested(self, node: str, change: bool) -> None:  # noqa: FBT001  (a callback)
        """A request has come to a node."""
        if change:
            self.changing()
        kinds = ("request", "change") if change else ("request",)
        for kind in kinds:
            for name in (node, self.recorder.clusters[node]):
                self._counts[kind, name] += 1
                for blow in self._due(kind, self._counts[kind, name], name):
                    self._now(blow)

    def written(self, number: int) -> None:
        """The write of the journal of this number is about to be made."""
        for blow in self._due("journal", number):
            self._now(blow)

    def intended(self, step: str) -> None:
        """The intent of a step is about to be written."""
        for blow in [one for one in self._waiting if one.when.kind == "step" and one.when.step == step]:
            self._waiting.remove(blow)
            self._now(blow)

    async def end(self) -> None:
        """No fault any more: all nodes are up, but for those that are down for good, and reach each other."""
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._simulation.clear()
        for one in self._simulation.describe():
            name = one["node"]
            if not one["up"] and name not in self._down:
                await self._simulation.add(name, Fault(FaultKind.STARTED))
            if self._simulation.joined(name):
                self._simulation.lay(name, Fault(FaultKind.REJOINED))
        self.recorder.note("the faults are over")
        self.recorder.look()

    def _due(self, kind: str, number: float, name: str = "") -> list[ScheduledFault]:
        found = [
            one
            for one in self._waiting
            if (one.when.kind, one.when.number) == (kind, number) and name in {"", one.when.to or one.name}
        ]
        for one in found:
            self._waiting.remove(one)
        return found

    def _now(self, blow: ScheduledFault) -> None:
        """Strike from within a request or a write; what takes its time happens right after it."""
        if self._simulation.lay(blow.name, blow.fault):
            self._noted(blow)
        else:
            self._later(self._strike(blow))

    def _later(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _strike(self, blow: ScheduledFault, *, delay: float = 0) -> None:
        """Inject a fault after a delay in seconds, and wait until it is complete."""
        if delay:
            await asyncio.sleep(delay)
        fault = blow.fault
        self._noted(blow)
        if fault.kind is FaultKind.RESTARTED and fault.argument:
            await self._simulation.add(blow.name, Fault(FaultKind.KILLED))
            self.recorder.look()
            await asyncio.sleep(fault.argument)
            fault = Fault(FaultKind.STARTED)
        await self._simulation.add(blow.name, fault)
        self.recorder.look()

    def _noted(self, blow: ScheduledFault) -> None:
        self.recorder.note(f"fault: {blow.name}: {blow.fault}")
        self.recorder.look()
