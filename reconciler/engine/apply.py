"""The writing half of the pass: takes a survey's plan and nothing else, and journals every step of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from reconciler.core.instant import Clock
from reconciler.core.outcome import Outcome, Report, State
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.ports import Wire
from reconciler.engine.applied import learnt
from reconciler.engine.journal import Journal
from reconciler.engine.letters import Letters
from reconciler.engine.listener import SILENT, Listener
from reconciler.engine.perform import Bench, perform
from reconciler.engine.resume import Settling
from reconciler.engine.schedule import Course, Skipped
from reconciler.engine.survey import Drivers, Survey
from reconciler.engine.together import together
from reconciler.errors import ClusterBusy, GuardRefusal
from reconciler.feedback.sink import Courier
from reconciler.store.records import Ending, Opening, utc_now


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the journal and the messages say of a run beside its steps.

    Args:
        trigger: what asked for it: `command`, `webhook`, `interval` …
        clock: stamps the messages.
    """

    trigger: str = "command"
    clock: Clock = utc_now


ORDERED = Occasion()
"""A run that a person asked for."""


async def apply(
    survey: Survey,
    *,
    drivers: Drivers,
    wire: Wire,
    journal: Journal,
    listener: Listener = SILENT,
    stop: asyncio.Event | None = None,
    occasion: Occasion = ORDERED,
) -> Report:
    """Make it so: every step of the plan that is still ready is performed once and believed when read.

    Clusters go on side by side, each under its lock; a failed step holds up only what comes after it.
    What killed runs left in these clusters is settled first. A plan without steps leaves no run in
    the history, but remembers which nodes run its revision and delivers messages left over.

    Args:
        survey: the plan, with the guards' verdicts on it.
        drivers: kind -> product.
        wire: the way to the nodes, and to the feedback sink.
        journal: is told of each intent before the call and of each outcome after it.
        listener: hears of each step.
        stop: once set, no step is taken up any more; those under way are completed and written down.
        occasion: why the run takes place.

    Raises:
        GuardRefusal: a verdict stands against the plan; nothing was done, the history says so.
        ClusterBusy: every cluster of the plan is held by another run; nothing was done.
        StateError: the journal cannot be written; no call was made that it does not know of.
    """
    if survey.violations:
        verdicts = "\n".join(violation.message for violation in survey.violations)
        await journal.refuse(Opening(occasion.trigger, survey.plan), verdicts)
        raise GuardRefusal(survey.violations)
    async with Courier(journal, wire, survey.fleet.feedback) as courier:
        run = _Run(survey, drivers, wire, journal, listener, stop or asyncio.Event(), occasion, courier)
        report = Report("", survey.plan) if survey.plan.empty else await run.whole()
        for cluster, facts in learnt(survey, report.outcomes).items():
            await journal.remember(cluster, facts)
        return replace(report, findings=await courier.farewell())


@dataclass(slots=True)
class _Run:
    """One run under way."""

    survey: Survey
    drivers: Drivers
    wire: Wire
    journal: Journal
    listener: Listener
    stop: asyncio.Event
    occasion: Occasion
    courier: Courier
    id: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    async def whole(self) -> Report:
        """Lock, settle, write the run down, perform its steps and write down how it ended."""
        plan = self.survey.plan
        plans = [cluster for cluster in plan.clusters if cluster.steps]
        async with AsyncExitStack() as locks:
            held, busy = await self._lock(plans, locks)
            feedback, clock = self.survey.fleet.feedback, self.occasion.clock
            settling = Settling(self.journal, self.drivers, self.wire, feedback, clock)
            await settling.settle(held.keys())
            self.id = await self.journal.begin(Opening(self.occasion.trigger, plan))
            for cluster in plans:
                if cluster.cluster in busy:
                    await self._skip([(step, busy[cluster.cluster]) for step in cluster.steps])
            await together(
                [
                    self._cluster(cluster, held[cluster.cluster])
                    for cluster in plans
                    if cluster.cluster in held
                ]
            )
            report = Report(self.id, plan, tuple(self.outcomes[step.id] for step in plan.steps()))
            await self.journal.finish(self.id, report.exit_status)
        return report

    async def _lock(
        self, plans: Iterable[ClusterPlan], locks: AsyncExitStack
    ) -> tuple[dict[str, AsyncExitStack], dict[str, str]]:
        """The locks that could be had, each to be released by itself, and why the others could not."""
        held: dict[str, AsyncExitStack] = {}
        refusal: ClusterBusy | None = None
        busy: dict[str, str] = {}
        for plan in plans:
            own = await locks.enter_async_context(AsyncExitStack())
            try:
                await own.enter_async_context(self.journal.lock(plan.cluster))
            except ClusterBusy as error:
                busy[plan.cluster] = error.message
                refusal = refusal or error
            else:
                held[plan.cluster] = own
        if refusal is not None and not held:
            raise refusal
        return held, busy

    async def _cluster(self, plan: ClusterPlan, lock: AsyncExitStack) -> None:
        bench = Bench(self.drivers[plan.kind], self.wire, plan.payloads, self._intend, self.stop)

        async def take_up(step: Step) -> State:
            self.listener.started(step)
            ending = await perform(step, bench)
            await self._conclude([ending])
            return ending.outcome.state

        async with lock:
            await Course(plan.steps, max(1, plan.concurrency), take_up, self._skip, self.stop).run()

    async def _intend(self, step: Step) -> None:
        await self.journal.intend(self.id, step)

    async def _skip(self, skipped: Sequence[Skipped]) -> None:
        await self._conclude([Ending(Outcome(step, State.SKIPPED, why)) for step, why in skipped])

    async def _conclude(self, endings: Sequence[Ending]) -> None:
        """Write outcomes down with their messages, then let everybody know."""
        wanted = self.survey.fleet.feedback is not None
        letters = Letters(self.id, self.survey.plan.revision, wanted=wanted, clock=self.occasion.clock)
        await self.journal.conclude(self.id, [letters.enclose(ending) for ending in endings])
        self.courier.nudge()
        for ending in endings:
            self.outcomes[ending.outcome.step.id] = ending.outcome
            self.listener.ended(ending.outcome)
