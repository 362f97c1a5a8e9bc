"""Injects the faults of a schedule into a simulation, each at its time, and ends them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

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
        for scheduled in self._pending:
            if scheduled.when.kind == "after":
                self._start_task(self._inject(scheduled, delay=scheduled.when.value))

    async def stop(self, node: str) -> None:
        """Stop a node as an operator would; it then stays down."""
        self._down.add(node)
        await self._simulation.add(node, Fault(FaultKind.KILLED))
        self.recorder.look()

    async def run(self, number: int) -> None:
        """Inject the faults that begin before this run."""
        self._inject_due("run", number)
        await asyncio.sleep(0)  # faults that became tasks begin now, before the run

    def requested(self, node: str, change: bool) -> None:  # noqa: FBT001  (a callback)
        """Inject the faults that begin with this request to a node."""
        if change:
            self.changing()
        for kind in ("request", "change") if change else ("request",):
            for name in (node, self.recorder.clusters[node]):
                self._counts[kind, name] += 1
                self._inject_due(kind, self._counts[kind, name], name)

    def written(self, number: int) -> None:
        """Inject the faults that begin before this write of the journal."""
        self._inject_due("journal", number)

    def intended(self, step: str) -> None:
        """Inject the faults that begin before the intent of this step is written."""
        self._inject_due("step", step)

    async def end(self) -> None:
        """End all faults: every node is up and reaches the others, except the nodes that stay down."""
        self._pending.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._simulation.clear()
        for one in self._simulation.describe():
            name = one["node"]
            # A command of the reconciler has stopped it: it is its own business to start it again, if ever.
            if not one["up"] and name not in self._down and not self._simulation.is_stopped(name):
                await self._simulation.add(name, Fault(FaultKind.STARTED))
            if self._simulation.joined(name):
                self._simulation.lay(name, Fault(FaultKind.REJOINED))
        self.recorder.note("the faults are over")
        self.recorder.look()

    def _inject_due(self, kind: str, value: int | str, name: str = "") -> None:
        """Inject the pending faults of this moment from within a request or a write."""
        for scheduled in [one for one in self._pending if (one.when.kind, one.when.value) == (kind, value)]:
            if name not in {"", scheduled.when.to or scheduled.name}:
                continue
            self._pending.remove(scheduled)
            # The caller cannot wait. A fault that takes time becomes a task, which runs directly after it.
            if self._simulation.lay(scheduled.name, scheduled.fault):
                self._note(scheduled)
            else:
                self._start_task(self._inject(scheduled))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the event loop keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def _inject(self, scheduled: ScheduledFault, *, delay: float = 0) -> None:
        """Inject a fault after a delay in seconds, and wait until it is complete."""
        if delay:
            await asyncio.sleep(delay)
        fault = scheduled.fault
        self._note(scheduled)
        if fault.kind is FaultKind.RESTARTED and fault.argument:  # seconds for which the node is down
            await self._simulation.add(scheduled.name, Fault(FaultKind.KILLED))
            self.recorder.look()
            await asyncio.sleep(fault.argument)
            fault = Fault(FaultKind.STARTED)
        await self._simulation.add(scheduled.name, fault)
        self.recorder.look()

    def _note(self, scheduled: ScheduledFault) -> None:
        self.recorder.note(f"fault: {scheduled.name}: {scheduled.fault}")
        self.recorder.look()
