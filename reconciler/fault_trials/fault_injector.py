"""Injects the faults of a schedule into a simulation, each at its moment, and ends them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from reconciler.fault_trials.fault_schedule import FaultSchedule, ScheduledFault
from reconciler.fault_trials.recorder import TrialRecorder
from reconciler.simulation.faults import Fault, FaultKind
from reconciler.simulation.node_host import Simulation


class FaultInjector:
    """The pending faults of one trial.

    Args:
        down: nodes that stay down.
    """

    def __init__(
        self, schedule: FaultSchedule, simulation: Simulation, recorder: TrialRecorder, down: Collection[str]
    ) -> None:
        self._pending = list(schedule.faults)
        self._simulation = simulation
        self.recorder = recorder
        self._down = set(down)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        recorder.struck = self.requested
        self.changing: Callable[[], None] = lambda: None

    async def begin(self) -> None:
        """Stop the nodes that stay down, and start the timers of timed faults."""
        for name in sorted(self._down):
            await self._simulation.add(name, Fault(FaultKind.KILLED))
        for scheduled in [scheduled for scheduled in self._pending if scheduled.when.kind == "after"]:
            self._pending.remove(scheduled)
            self._start_task(self._inject(scheduled, delay=scheduled.when.number))

    async def stop(self, node: str) -> None:
        """An operator stops a node, which then stays down."""
        self._down.add(node)
        await self._simulation.add(node, Fault(FaultKind.KILLED))
        self.recorder.look()

    async def run(self, number: int) -> None:
        """The run of this number is about to begin."""
        for scheduled in self._take_due("run", number):
            self._inject_now(scheduled)
        await asyncio.sleep(0)

    def requested(self, node: str, change: bool) -> None:  # noqa: FBT001  (a callback)
        """A request has come to a node."""
        if change:
            self.changing()
        kinds = ("request", "change") if change else ("request",)
        for kind in kinds:
            for name in (node, self.recorder.clusters[node]):
                self._counts[kind, name] += 1
                for scheduled in self._take_due(kind, self._counts[kind, name], name):
                    self._inject_now(scheduled)

    def written(self, number: int) -> None:
        """The write of the journal of this number is about to be made."""
        for scheduled in self._take_due("journal", number):
            self._inject_now(scheduled)

    def intended(self, step: str) -> None:
        """The intent of a step is about to be written."""
        for scheduled in [one for one in self._pending if one.when.kind == "step" and one.when.step == step]:
            self._pending.remove(scheduled)
            self._inject_now(scheduled)

    async def end(self) -> None:
        """End all faults: all nodes are up, except those that stay down, and reach each other."""
        self._pending.clear()
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

    def _take_due(self, kind: str, number: float, name: str = "") -> list[ScheduledFault]:
        found = [
            one
            for one in self._pending
            if (one.when.kind, one.when.number) == (kind, number) and name in {"", one.when.to or one.name}
        ]
        for one in found:
            self._pending.remove(one)
        return found

    def _inject_now(self, scheduled: ScheduledFault) -> None:
        """Inject from within a request or a write; a fault that takes time follows directly after it."""
        if self._simulation.lay(scheduled.name, scheduled.fault):
            self._note(scheduled)
        else:
            self._start_task(self._inject(scheduled))

    def _start_task(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _inject(self, scheduled: ScheduledFault, *, delay: float = 0) -> None:
        """Inject a fault after a delay in seconds, and wait until it is complete."""
        if delay:
            await asyncio.sleep(delay)
        fault = scheduled.fault
        self._note(scheduled)
        if fault.kind is FaultKind.RESTARTED and fault.argument:
            await self._simulation.add(scheduled.name, Fault(FaultKind.KILLED))
            self.recorder.look()
            await asyncio.sleep(fault.argument)
            fault = Fault(FaultKind.STARTED)
        await self._simulation.add(scheduled.name, fault)
        self.recorder.look()

    def _note(self, scheduled: ScheduledFault) -> None:
        self.recorder.note(f"fault: {scheduled.name}: {scheduled.fault}")
        self.recorder.look()
