"""The writing half of the pass: takes a survey's plan and nothing else, and journals every step of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.core.actor import Actor
from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.outcome import RunReport
from reconciler.core.plan import ClusterPlan
from reconciler.core.timestamps import Clock, format_minute
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, GuardRefusal
from reconciler.feedback.sender import MessageSender
from reconciler.guards.change_control import find_all_holds
from reconciler.host.aio import gather_all, run_unless_stopped
from reconciler.host.clock import utc_now
from reconciler.planning.applied_facts import (
    collect_cluster_facts,
    list_attempt_facts,
    list_removed_clusters,
    list_withdrawn_confirmations,
)
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.gates import GateKeeper, Rest, sleep_real_time
from reconciler.rollout.recovery import StepRecovery
from reconciler.rollout.refusals import RefusalMemory
from reconciler.rollout.report_listener import ReportListener, ReportSubscription
from reconciler.rollout.run_log import RunLog, record_members, record_refusal
from reconciler.rollout.step_executor import ExecutionContext, execute_step
from reconciler.rollout.step_scheduler import StepScheduler
from reconciler.rollout.wave_runner import WaveRunner


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the journal and the messages say of a run beside its steps.

    Args:
        trigger: what asked for it: `command`, `webhook`, `interval` …
        actor: who asked for it.
        clock: stamps the messages.
        rest: waits while a wave soaks.
        report_listener: hears what nodes report by themselves; runs of one process that go on side by side
            share it.
        refusals: those that this process has written down already.
        is_rollback: whether a person named the revision, so that what was applied before is not applied
            again.
    """

    trigger: str = "command"
    actor: Actor = field(default_factory=Actor)
    clock: Clock = utc_now
    rest: Rest = sleep_real_time
    report_listener: ReportListener = field(default_factory=ReportListener)
    refusals: RefusalMemory = field(default_factory=RefusalMemory)
    is_rollback: bool = False


async def run_apply_pass(
    plan_result: PlanResult,
    *,
    drivers: Drivers,
    transports: Transports,
    journal: Store,
    listener: PassListener = SILENT,
    stop: asyncio.Event | None = None,
    run_context: RunContext | None = None,
) -> RunReport:
    """Make it so: every step of the plan that is still ready is performed once and believed when read.

    Clusters go on side by side, each under its lock; a failed step holds up only what comes after it.
    What killed runs left in these clusters is settled first. A plan without steps leaves no run in
    the history, but remembers which nodes run its revision and delivers messages left over. Clusters that
    something holds up for now are left as they are, which is a refused run of its own in the history.

    Args:
        plan_result: the plan, with the guards' verdicts on it.
        drivers: kind -> product.
        transports: the ways to the nodes, and to the feedback sink.
        journal: is told of each intent before the call and of each outcome after it.
        listener: hears of each step.
        stop: once set, no step is taken up any more; those under way are completed and written down.
        run_context: why the run takes place; None for a run of its own that a person asked for.

    Raises:
        GuardRefusal: a verdict stands against the plan, or nothing is left beside what is held up; nothing
            was done, the history says so.
        ClusterBusy: every cluster of the plan is held by another run; nothing was done.
        FleetRefused: the store has come to know another fleet by the same name or history; nothing was done.
        StateError: the journal cannot be written; no call was made that it does not know of.
    """
    run_context, transports = (
        run_context or RunContext(),
        mask_transports(transports, plan_result.fleet.secrets),
    )
    if plan_result.identity is not None:
        journal = await journal.enter(plan_result.identity)
    open_ones, refusals = plan_result.released(), run_context.refusals
    if plan_result.refused or (plan_result.violations and open_ones.plan.empty):
        if refusals.is_new(plan_result):
            await record_members(plan_result, drivers, journal)
            await record_refusal(plan_result, journal, run_context.trigger, run_context.actor)
            refusals.note(plan_result)
        raise GuardRefusal(plan_result.violations)
    await _rename(open_ones, drivers, transports, journal, run_context)
    await record_members(plan_result, drivers, journal)
    if plan_result.violations:
        held_up = plan_result.held_up()
        if refusals.is_new(held_up):
            await record_refusal(held_up, journal, run_context.trigger, run_context.actor)
            refusals.note(held_up)
        plan_result = open_ones
    refusals.forget(plan_result)
    async with MessageSender(journal, transports.http, plan_result.fleet.feedback) as message_sender:
        run = _Run(
            plan_result,
            drivers,
            transports,
            journal,
            message_sender,
            listener,
            stop or asyncio.Event(),
            run_context,
        )
        idle = all(case.is_idle for case in plan_result.cases)
        report = RunReport("", plan_result.plan) if idle else await run.whole()
        await _remember(plan_result, report, journal)
        return replace(report, findings=(*report.findings, *await message_sender.farewell(run.stop)))


async def _rename(
    plan_result: PlanResult, drivers: Drivers, transports: Transports, journal: Store, run_context: RunContext
) -> None:
    """Let the past of renamed clusters be that of their new names, of those that this pass goes on with.

    A revision that guards refuse renames nothing: the next one may have the former name again. Steps that are
    open are settled before, as far as they can be, by whoever holds the lock of the former name.

    Raises:
        ClusterBusy: a run still holds a cluster by its former name; nothing was done.
    """
    for case in plan_result.cases:
        former = plan_result.renames.get(case.plan.cluster)
        if former is not None:
            async with journal.lock(former):
                feedback = plan_result.fleet.feedback
                settling = StepRecovery(journal, drivers, transports, feedback, run_context.clock)
                await settling.settle({former})
                await journal.rename_cluster(former, case.plan.cluster, run_context.actor)


async def _remember(plan_result: PlanResult, report: RunReport, journal: Store) -> None:
    """Write down what the pass established of each cluster, and of those that are gone."""
    found = collect_cluster_facts(plan_result, report.outcomes)
    for cluster, facts in found.items():
        await journal.record_pass(cluster, facts)
    for cluster in list_removed_clusters(plan_result):
        await journal.forget_members(cluster)
    # Nodes that had the content already are this fleet's as well: another one is told before its first write.
    held = {
        place: (case.plan.cluster, node)
        for case in plan_result.cases
        for node in found[case.plan.cluster].runs
        for place in case.places.get(node, ())
    }
    left = sorted({place for case in plan_result.cases for place in case.released})
    if held or left:
        await journal.claim(held, left)
    for cluster, words in list_withdrawn_confirmations(plan_result).items():
        if words:
            await journal.remember(cluster, words)
            await journal.remember(cluster, list_attempt_facts(plan_result, cluster, words))


@dataclass(slots=True)
class _Run:
    """One run under way."""

    plan_result: PlanResult
    drivers: Drivers
    transports: Transports
    store: Store
    message_sender: MessageSender
    listener: PassListener
    stop: asyncio.Event
    run_context: RunContext

    async def whole(self) -> RunReport:
        """Lock, settle, write the run down, perform its steps and write down how it ended."""
        plan, journal = self.plan_result.plan, self.store
        cases = [case for case in self.plan_result.cases if not case.is_idle]
        async with AsyncExitStack() as locks:
            held, busy = await self._lock([case.plan for case in cases], locks)
            feedback, clock = self.plan_result.fleet.feedback, self.run_context.clock
            settling = StepRecovery(journal, self.drivers, self.transports, feedback, clock)
            await run_unless_stopped(self.stop, settling.settle(held.keys()))
            cases = [case for case in cases if case.plan.cluster in held]
            hearings = [await locks.enter_async_context(self._hearing(case)) for case in cases]
            tries = {step: facts for case in cases for step, facts in case.attempts.items()}
            await self._claim(cases)
            log = await RunLog.open(
                journal,
                self.run_context.trigger,
                plan,
                actor=self.run_context.actor,
                wanted=feedback is not None,
                clock=clock,
                listener=self.listener,
                message_sender=self.message_sender,
                attempts=tries,
            )
            for cluster in plan.clusters:
                if cluster.cluster in busy:
                    await log.skip([(step, busy[cluster.cluster]) for step in cluster.steps])
            found = await gather_all(
                [
                    self._cluster(case, log, held[case.plan.cluster], subscription)
                    for case, subscription in zip(cases, hearings, strict=True)
                ]
            )
            outcomes = tuple(log.outcomes[step.id] for step in plan.steps())
            report = RunReport(log.run, plan, outcomes, tuple(one for some in found for one in some))
            await log.finish(report.exit_status, "\n".join(one.located for one in report.findings))
        return report

    async def _claim(self, cases: Iterable[GuardContext]) -> None:
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

    def _hearing(self, case: GuardContext) -> AbstractAsyncContextManager[ReportSubscription | None]:
        return self.run_context.report_listener.subscription(
            case, self.drivers[case.plan.kind], self.plan_result.fleet.secrets
        )

    async def _cluster(
        self, case: GuardContext, log: RunLog, lock: AsyncExitStack, subscription: ReportSubscription | None
    ) -> tuple[Diagnostic, ...]:
        """Perform the steps of one cluster; gives what stopped its rollout, if anything did."""
        plan, rollout = case.plan, case.change_rules.rollout
        driver, clock = self.drivers[plan.kind], self.run_context.clock
        bench = ExecutionContext(
            driver, self.transports, plan.payloads, log, self.stop, clock, self.plan_result.stale
        )
        async with lock:
            if stops := await self._stops(case):
                await log.skip([(step, stops[0].message) for step in plan.steps])
                return stops
            if self.run_context.is_rollback:
                await self._roll_back(case)
            if case.digest in case.cluster_memory.approved:
                await self.store.spend_approval(case.digest)
            if rollout is not None:
                gate_keeper = GateKeeper(case, rollout, bench, self.run_context.rest, subscription)
                is_whole = not self.plan_result.node
                return await WaveRunner(gate_keeper, log, self.plan_result.fleet.overrides, is_whole).run()
            perform = partial(execute_step, bench=bench)
            await StepScheduler(plan.steps, max(1, plan.concurrency), perform, log.skip, self.stop).run()
            return ()

    async def _stops(self, case: GuardContext) -> tuple[Diagnostic, ...]:
        """What has come to stand in the way since the plan was made.

        Reading many nodes takes minutes. A suspension or a rollback of that time would otherwise stop
        nothing: the plan was judged before it, and the lock was taken after it.
        """
        memory = await self.store.recall()
        cluster_memory = memory.of(case.plan.cluster)
        cluster_memory = (
            cluster_memory if not self.run_context.is_rollback else replace(cluster_memory, rolled_back=())
        )
        now = replace(case, at=memory.at, cluster_memory=cluster_memory)
        found = apply_overrides(
            run_guards(now, (find_all_holds,)), self.plan_result.fleet.overrides, memory.at.date()
        ).in_force
        return tuple(replace(one, severity=Severity.WARNING) for one in found)

    async def _roll_back(self, case: GuardContext) -> None:
        """Remember what is rolled back from, before anything is sent: a run killed here is not undone."""
        revision, cluster_memory, asked = (
            self.plan_result.plan.revision,
            case.cluster_memory,
            self.run_context,
        )
        left = None
        if (
            cluster_memory.applied
            and cluster_memory.applied.id != revision.id
            and cluster_memory.content != case.content
        ):
            left = (cluster_memory.applied, cluster_memory.content)
        words = f"{asked.actor.words or 'somebody'} went back to {revision.short or revision.id}"
        reason = f"{words} at {format_minute(asked.clock())} UTC" + (
            f": {asked.actor.why}" if asked.actor.why else ""
        )
        await self.store.roll_back(case.plan.cluster, left, (revision, case.content), reason)
