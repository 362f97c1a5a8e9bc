"""The writing half of the pass: takes a survey's plan and nothing else, and journals every step of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.core.actor import Actor
from reconciler.core.guard import Case, judged, verdicts
from reconciler.core.outcome import Report
from reconciler.core.plan import ClusterPlan
from reconciler.core.timestamps import Clock, minute
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, GuardRefusal
from reconciler.feedback.sink import Courier
from reconciler.guards.change_control import standing
from reconciler.host.clock import utc_now
from reconciler.host.interruption import unless
from reconciler.host.together import together
from reconciler.planning.applied import gone, learnt, tries_of, withdrawn
from reconciler.planning.masking import masking
from reconciler.planning.plan_pass import Drivers, Survey
from reconciler.ports.listener import SILENT, Listener
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.gates import Gatekeeper, Rest, resting
from reconciler.rollout.recovery import Settling
from reconciler.rollout.refusals import Refusals
from reconciler.rollout.report_listener import Ears, Hearing
from reconciler.rollout.run_log import RunLog, refuse, remember_members
from reconciler.rollout.step_executor import Bench, execute
from reconciler.rollout.step_scheduler import Course
from reconciler.rollout.wave_runner import Rolling


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the journal and the messages say of a run beside its steps.

    Args:
        trigger: what asked for it: `command`, `webhook`, `interval` …
        actor: who asked for it.
        clock: stamps the messages.
        rest: waits while a wave soaks.
        ears: hears what nodes report by themselves; runs of one process that go on side by side share it.
        refusals: those that this process has written down already.
        goes_back: whether a person named the revision, so that what was applied before is not applied again.
    """

    trigger: str = "command"
    actor: Actor = field(default_factory=Actor)
    clock: Clock = utc_now
    rest: Rest = resting
    ears: Ears = field(default_factory=Ears)
    refusals: Refusals = field(default_factory=Refusals)
    goes_back: bool = False


async def apply(
    survey: Survey,
    *,
    drivers: Drivers,
    transports: Transports,
    journal: Store,
    listener: Listener = SILENT,
    stop: asyncio.Event | None = None,
    occasion: Occasion | None = None,
) -> Report:
    """Make it so: every step of the plan that is still ready is performed once and believed when read.

    Clusters go on side by side, each under its lock; a failed step holds up only what comes after it.
    What killed runs left in these clusters is settled first. A plan without steps leaves no run in
    the history, but remembers which nodes run its revision and delivers messages left over. Clusters that
    something holds up for now are left as they are, which is a refused run of its own in the history.

    Args:
        survey: the plan, with the guards' verdicts on it.
        drivers: kind -> product.
        transports: the ways to the nodes, and to the feedback sink.
        journal: is told of each intent before the call and of each outcome after it.
        listener: hears of each step.
        stop: once set, no step is taken up any more; those under way are completed and written down.
        occasion: why the run takes place; None for a run of its own that a person asked for.

    Raises:
        GuardRefusal: a verdict stands against the plan, or nothing is left beside what is held up; nothing
            was done, the history says so.
        ClusterBusy: every cluster of the plan is held by another run; nothing was done.
        FleetRefused: the store has come to know another fleet by the same name or history; nothing was done.
        StateError: the journal cannot be written; no call was made that it does not know of.
    """
    occasion, transports = occasion or Occasion(), masking(transports, survey.fleet.secrets)
    if survey.identity is not None:
        journal = await journal.enter(survey.identity)
    open_ones, refusals = survey.released(), occasion.refusals
    if survey.refused or (survey.violations and open_ones.plan.empty):
        if refusals.is_new(survey):
            await remember_members(survey, drivers, journal)
            await refuse(survey, journal, occasion.trigger, occasion.actor)
            refusals.note(survey)
        raise GuardRefusal(survey.violations)
    await _rename(open_ones, drivers, transports, journal, occasion)
    await remember_members(survey, drivers, journal)
    if survey.violations:
        held_up = survey.held_up()
        if refusals.is_new(held_up):
            await refuse(held_up, journal, occasion.trigger, occasion.actor)
            refusals.note(held_up)
        survey = open_ones
    refusals.forget(survey)
    async with Courier(journal, transports.http, survey.fleet.feedback) as courier:
        run = _Run(survey, drivers, transports, journal, courier, listener, stop or asyncio.Event(), occasion)
        idle = all(case.is_idle for case in survey.cases)
        report = Report("", survey.plan) if idle else await run.whole()
        await _remember(survey, report, journal)
        return replace(report, findings=(*report.findings, *await courier.farewell(run.stop)))


async def _rename(
    survey: Survey, drivers: Drivers, transports: Transports, journal: Store, occasion: Occasion
) -> None:
    """Let the past of renamed clusters be that of their new names, of those that this pass goes on with.

    A revision that guards refuse renames nothing: the next one may have the former name again. Steps that are
    open are settled before, as far as they can be, by whoever holds the lock of the former name.

    Raises:
        ClusterBusy: a run still holds a cluster by its former name; nothing was done.
    """
    for case in survey.cases:
        former = survey.renames.get(case.plan.cluster)
        if former is not None:
            async with journal.lock(former):
                feedback = survey.fleet.feedback
                settling = Settling(journal, drivers, transports, feedback, occasion.clock)
                await settling.settle({former})
                await journal.rename_cluster(former, case.plan.cluster, occasion.actor)


async def _remember(survey: Survey, report: Report, journal: Store) -> None:
    """Write down what the pass established of each cluster, and of those that are gone."""
    found = learnt(survey, report.outcomes)
    for cluster, facts in found.items():
        await journal.record_pass(cluster, facts)
    for cluster in gone(survey):
        await journal.forget_members(cluster)
    # Nodes that had the content already are this fleet's as well: another one is told before its first write.
    held = {
        place: (case.plan.cluster, node)
        for case in survey.cases
        for node in found[case.plan.cluster].runs
        for place in case.places.get(node, ())
    }
    left = sorted({place for case in survey.cases for place in case.released})
    if held or left:
        await journal.claim(held, left)
    for cluster, words in withdrawn(survey).items():
        if words:
            await journal.remember(cluster, words)
            await journal.remember(cluster, tries_of(survey, cluster, words))


@dataclass(slots=True)
class _Run:
    """One run under way."""

    survey: Survey
    drivers: Drivers
    transports: Transports
    store: Store
    courier: Courier
    listener: Listener
    stop: asyncio.Event
    occasion: Occasion

    async def whole(self) -> Report:
        """Lock, settle, write the run down, perform its steps and write down how it ended."""
        plan, journal = self.survey.plan, self.store
        cases = [case for case in self.survey.cases if not case.is_idle]
        async with AsyncExitStack() as locks:
            held, busy = await self._lock([case.plan for case in cases], locks)
            feedback, clock = self.survey.fleet.feedback, self.occasion.clock
            settling = Settling(journal, self.drivers, self.transports, feedback, clock)
            await unless(self.stop, settling.settle(held.keys()))
            cases = [case for case in cases if case.plan.cluster in held]
            hearings = [await locks.enter_async_context(self._hearing(case)) for case in cases]
            tries = {step: facts for case in cases for step, facts in case.attempts.items()}
            await self._claim(cases)
            log = await RunLog.open(
                journal,
                self.occasion.trigger,
                plan,
                actor=self.occasion.actor,
                wanted=feedback is not None,
                clock=clock,
                listener=self.listener,
                courier=self.courier,
                attempts=tries,
            )
            for cluster in plan.clusters:
                if cluster.cluster in busy:
                    await log.skip([(step, busy[cluster.cluster]) for step in cluster.steps])
            found = await together(
                [
                    self._cluster(case, log, held[case.plan.cluster], hearing)
                    for case, hearing in zip(cases, hearings, strict=True)
                ]
            )
            outcomes = tuple(log.outcomes[step.id] for step in plan.steps())
            report = Report(log.run, plan, outcomes, tuple(one for some in found for one in some))
            await log.finish(report.exit_status, "\n".join(one.located for one in report.findings))
        return report

    async def _claim(self, cases: Iterable[Case]) -> None:
        """Write down, before anything is sent, that this fleet writes to these nodes' places."""
        changed = [(case, {step.node for step in case.plan.steps}) for case in cases]
        taken = {
            place: (case.plan.cluster, node)
            for case, nodes in changed
            for node, places in case.places.items()
            if node in nodes
            for place in places
        }
        if taken:
            await self.store.claim(taken, ())

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
                await own.enter_async_context(self.store.lock(plan.cluster))
            except ClusterBusy as error:
                busy[plan.cluster] = error.message
                refusal = refusal or error
            else:
                held[plan.cluster] = own
        if refusal is not None and not held:
            raise refusal
        return held, busy

    def _hearing(self, case: Case) -> AbstractAsyncContextManager[Hearing | None]:
        return self.occasion.ears.hearing(case, self.drivers[case.plan.kind], self.survey.fleet.secrets)

    async def _cluster(
        self, case: Case, log: RunLog, lock: AsyncExitStack, hearing: Hearing | None
    ) -> tuple[Diagnostic, ...]:
        """Perform the steps of one cluster; gives what stopped its rollout, if anything did."""
        plan, rollout = case.plan, case.conduct.rollout
        driver, clock = self.drivers[plan.kind], self.occasion.clock
        bench = Bench(driver, self.transports, plan.payloads, log, self.stop, clock, self.survey.stale)
        async with lock:
            if stops := await self._stops(case):
                await log.skip([(step, stops[0].message) for step in plan.steps])
                return stops
            if self.occasion.goes_back:
                await self._roll_back(case)
            if case.digest in case.past.approved:
                await self.store.spend_approval(case.digest)
            if rollout is not None:
                keeper = Gatekeeper(case, rollout, bench, self.occasion.rest, hearing)
                is_whole = not self.survey.node
                return await Rolling(keeper, log, self.survey.fleet.overrides, is_whole).run()
            perform = partial(execute, bench=bench)
            await Course(plan.steps, max(1, plan.concurrency), perform, log.skip, self.stop).run()
            return ()

    async def _stops(self, case: Case) -> tuple[Diagnostic, ...]:
        """What has come to stand in the way since the plan was made.

        Reading many nodes takes minutes. A suspension or a rollback of that time would otherwise stop
        nothing: the plan was judged before it, and the lock was taken after it.
        """
        memory = await self.store.recall()
        past = memory.of(case.plan.cluster)
        past = past if not self.occasion.goes_back else replace(past, rolled_back=())
        now = replace(case, at=memory.at, past=past)
        found = judged(verdicts(now, (standing,)), self.survey.fleet.overrides, memory.at.date()).standing
        return tuple(replace(one, severity=Severity.WARNING) for one in found)

    async def _roll_back(self, case: Case) -> None:
        """Remember what is rolled back from, before anything is sent: a run killed here is not undone."""
        revision, past, asked = self.survey.plan.revision, case.past, self.occasion
        left = None
        if past.applied and past.applied.id != revision.id and past.content != case.content:
            left = (past.applied, past.content)
        words = f"{asked.actor.words or 'somebody'} went back to {revision.short or revision.id}"
        reason = f"{words} at {minute(asked.clock())} UTC" + (
            f": {asked.actor.why}" if asked.actor.why else ""
        )
        await self.store.roll_back(case.plan.cluster, left, (revision, case.content), reason)
