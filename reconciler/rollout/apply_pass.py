"""The writing half of the pass: applies the plan of the reading half, and journals every step of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from reconciler.core.actor import Actor
from reconciler.core.change_windows import SUSPENSION_HOLD
from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.outcome import SUCCESSES, Outcome, RunReport, State
from reconciler.core.pins import PinEffect
from reconciler.core.plan import ClusterPlan, Plan
from reconciler.core.timestamps import Clock
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, GuardRefusal
from reconciler.feedback.sender import MessageSender
from reconciler.feedback.sinks import open_sink
from reconciler.guards.change_control import find_change_holds, select_current_overrides
from reconciler.host.aio import gather_all, run_unless_stopped
from reconciler.host.clock import utc_now
from reconciler.host.host import Host
from reconciler.planning.applied_facts import (
    collect_cluster_facts,
    list_attempt_facts,
    list_removed_clusters,
    list_withdrawn_confirmations,
)
from reconciler.planning.drifted_nodes import report_undone_drift
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.planning.routed_transports import route_transports
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.backup_check import BackupCheck
from reconciler.rollout.cluster_queue import ClusterQueue
from reconciler.rollout.gates import GateKeeper, Rest, sleep_real_time
from reconciler.rollout.known_reservations import KnownReservations
from reconciler.rollout.polled_nodes import (
    EnrolledNodes,
    RunTransports,
    end_superseded,
    find_closing,
    withdraw_superseded,
)
from reconciler.rollout.recovery import StepRecovery
from reconciler.rollout.rollback import take_back_nodes
from reconciler.rollout.run_log import RefusalMemory, RunLog, record_members
from reconciler.rollout.step_executor import ExecutionContext, run_step
from reconciler.rollout.step_scheduler import StepScheduler, count_parallel
from reconciler.rollout.stored_reports import StoredReports
from reconciler.rollout.wave_return import finish_return
from reconciler.rollout.wave_runner import WaveRunner


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run needs beside its plan.

    Args:
        trigger: what started it: `command`, `webhook`, `interval` …
        actor: who asked for it.
        clock: dates intents and messages.
        rest: waits while a wave soaks.
        refusals: those that this process has journalled already.
        enrolled: nodes whose tokens this process has made count.
        is_rollback: whether this is a rollback, so that the revision before it is not applied again.
        host: has the entries that a feedback sink of the fleet file may name.
    """

    trigger: str = "command"
    actor: Actor = field(default_factory=Actor)
    clock: Clock = utc_now
    rest: Rest = sleep_real_time
    refusals: RefusalMemory = field(default_factory=RefusalMemory)
    enrolled: EnrolledNodes = field(default_factory=EnrolledNodes)
    is_rollback: bool = False
    host: Host = field(default_factory=Host)


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
    """Apply the plan: perform each step that is still ready once, and confirm it by reading back.

    Clusters are applied concurrently, each under its lock; a failed step stops only the steps that depend on
    it. Steps that killed runs left open in these clusters are settled first. A plan without steps leaves no
    run in the history, but it records which nodes run its revision and delivers remaining messages. Clusters
    that are refused or on hold are not changed; the history has a refused run for them.

    Args:
        plan_result: the plan, with the guards' violations.
        drivers: kind -> product.
        transports: the ways to the nodes, and to the feedback sink.
        journal: gets each intent before the call, and each outcome after it.
        listener: called for each step.
        stop: once set, no further step starts; running steps are completed and journalled.
        run_context: why the run takes place; None for a command.

    Raises:
        GuardRefusal: a violation about the whole fleet is in force, or all clusters with steps are refused or
            on hold; nothing was done, and the history says so.
        ClusterBusy: other runs hold every cluster of the plan; nothing was done.
        FleetRefused: the store knows another fleet by the same name or history; nothing was done.
        StateError: the journal cannot be written; it has the intent of every call that was made.
    """
    run_context = run_context or RunContext()
    # The fleet is resolved again: another process may have written to the store since the plan was made.
    journal = await journal.enter_fleet(plan_result.identity)
    fleet = plan_result.fleet
    own_transports = RunTransports(
        route_transports(transports, fleet, drivers), journal, fleet.secrets, run_context.clock
    )
    transports = own_transports.for_reading()
    # Also if the clusters are on hold: it sends nothing, and an offer must not outlive its revision.
    if not plan_result.is_refused:
        refused = plan_result.refused_clusters
        wanted = plan_result.select_contexts(lambda context: context.plan.cluster not in refused)
        await withdraw_superseded(wanted, journal)
        await end_superseded(wanted, journal)
    # Whatever the plan is: the nodes were seen back.
    over = sorted({id_ for context in plan_result.guard_contexts for id_ in context.reserved.over})
    if over:
        await journal.end_reservations(over)
    returned = await _finish_returns(plan_result, drivers, own_transports, listener, run_context)
    released, refusals = plan_result.select_released(), run_context.refusals
    if plan_result.is_refused or (plan_result.violations and released.plan.is_empty):
        if refusals.is_new(plan_result):
            await record_members(plan_result, drivers, journal)
        await refusals.record(plan_result, journal, run_context.trigger, run_context.actor)
        raise GuardRefusal(plan_result.violations)
    await _rename_clusters(released, drivers, transports, journal, run_context)
    await record_members(plan_result, drivers, journal)
    if plan_result.violations:
        kept_back = plan_result.select_kept_back()
        await refusals.record(kept_back, journal, run_context.trigger, run_context.actor)
        plan_result = released
    refusals.forget(plan_result)
    for guard_context in plan_result.guard_contexts:
        if guard_context.is_idle and _ends_or_begins_pin(guard_context, run_context):
            await _record_pin(guard_context, journal, run_context)
    await run_context.enrolled.enrol(plan_result.guard_contexts, journal)
    stop = stop or asyncio.Event()
    sink = open_sink(plan_result.fleet.feedback, transports.http, run_context.host)
    async with MessageSender(journal, sink, listener=listener) as message_sender:
        run = _Run(plan_result, drivers, own_transports, journal, message_sender, listener, stop, run_context)
        idle = all(guard_context.is_idle for guard_context in plan_result.guard_contexts)
        report = RunReport("", plan_result.plan) if idle else await run.run()
        await _record_facts(plan_result, report, journal)
        findings = (*returned, *report.findings, *await message_sender.finish(stop))
        return replace(report, findings=findings)


async def _finish_returns(
    plan_result: PlanResult,
    drivers: Drivers,
    transports: RunTransports,
    listener: PassListener,
    run_context: RunContext,
) -> tuple[Diagnostic, ...]:
    """Finish going back from failed waves, in clusters that no other run holds."""
    journal = transports.store
    # Whatever the plan is: its revision may be the rejected one, which is refused from now on.
    findings: list[Diagnostic] = []
    todo = [
        (guard_context, pending)
        for guard_context in plan_result.guard_contexts
        for pending in guard_context.cluster_memory.pending_returns
    ]
    for guard_context, pending in todo:
        plan = guard_context.plan
        log = RunLog(
            journal,
            pending.run,
            pending.revision,
            has_sink=plan_result.fleet.feedback is not None,
            clock=run_context.clock,
            listener=listener,
            actor=run_context.actor,
        )
        context = ExecutionContext(
            drivers[plan.kind],
            transports.for_reading(),
            plan.payloads,
            log,
            asyncio.Event(),
            run_context.clock,
            for_run=transports.for_run,
            reservations=KnownReservations(journal, guard_context),
        )
        with suppress(ClusterBusy):
            async with journal.lock(plan.cluster):
                await context.reservations.read()
                overrides = plan_result.fleet.overrides
                findings += await finish_return(guard_context, context, log, overrides)
    return tuple(findings)


async def _rename_clusters(
    plan_result: PlanResult, drivers: Drivers, transports: Transports, journal: Store, run_context: RunContext
) -> None:
    """Move the stored history of renamed clusters to their new names.

    Raises:
        ClusterBusy: a run still holds a cluster by its former name; nothing was done.
    """
    # Only now: a revision that guards refuse must rename nothing, because the next one may have the former
    # name again. Open steps are settled first, under the lock of the former name that their run had.
    for guard_context in plan_result.guard_contexts:
        former = plan_result.renames.get(guard_context.plan.cluster)
        if former is not None:
            async with journal.lock(former):
                feedback = plan_result.fleet.feedback
                recovery = StepRecovery(journal, drivers, transports, feedback, run_context.clock)
                await recovery.settle({former})
                await journal.rename_cluster(former, guard_context.plan.cluster, run_context.actor)


async def _record_facts(plan_result: PlanResult, report: RunReport, journal: Store) -> None:
    """Store what the pass established about each cluster, and forget removed ones."""
    found = collect_cluster_facts(plan_result, report.outcomes)
    for cluster, facts in found.items():
        await journal.record_pass(cluster, facts)
    for cluster in list_removed_clusters(plan_result):
        await journal.forget_members(cluster)
    # Nodes that had the content already belong to this fleet too: another fleet that names one is refused
    # before its first write.
    held = {
        place: (guard_context.plan.cluster, node)
        for guard_context in plan_result.guard_contexts
        for node in found[guard_context.plan.cluster].shown_revisions
        for place in guard_context.places.get(node, ())
    }
    left = sorted(
        {place for guard_context in plan_result.guard_contexts for place in guard_context.released_places}
    )
    if held or left:
        await journal.claim_places(held, left)
    for cluster, confirmations in list_withdrawn_confirmations(plan_result).items():
        if confirmations:
            await journal.store_facts(cluster, confirmations)
            await journal.store_facts(cluster, list_attempt_facts(plan_result, cluster, confirmations))


def _choose_revision(plan: Plan) -> Plan:
    """The plan as the history has it: if all clusters are pinned to one revision, that is the run's."""
    revisions = {one.revision for one in plan.clusters}
    shared = next(iter(revisions)) if len(revisions) == 1 else None
    return replace(plan, revision=shared) if shared is not None else plan


@dataclass(slots=True)
class _Run:
    plan_result: PlanResult
    drivers: Drivers
    transports: RunTransports
    store: Store
    message_sender: MessageSender
    listener: PassListener
    stop: asyncio.Event
    run_context: RunContext

    async def run(self) -> RunReport:
        """Lock, settle open steps, journal the run, perform its steps and journal its end."""
        plan, journal = _choose_revision(self.plan_result.plan), self.store
        since = self.run_context.clock()
        guard_contexts = [
            guard_context for guard_context in self.plan_result.guard_contexts if not guard_context.is_idle
        ]
        async with AsyncExitStack() as locks:
            held, busy = await self._lock([guard_context.plan for guard_context in guard_contexts], locks)
            feedback, clock = self.plan_result.fleet.feedback, self.run_context.clock
            # Under the locks, and before the first call: after it, the effect of this run would be read as
            # that of the killed one.
            recovery = StepRecovery(journal, self.drivers, self.transports.for_reading(), feedback, clock)
            await run_unless_stopped(self.stop, recovery.settle(held.keys()))
            guard_contexts = [
                guard_context for guard_context in guard_contexts if guard_context.plan.cluster in held
            ]
            attempts = {
                step: facts
                for guard_context in guard_contexts
                for step, facts in guard_context.attempts.items()
            }
            await self._claim_places(guard_contexts)
            empty_log = RunLog(
                journal,
                "",
                plan.revision,
                has_sink=feedback is not None,
                clock=clock,
                listener=self.listener,
                message_sender=self.message_sender,
                actor=self.run_context.actor,
            )
            log = await empty_log.begin(self.run_context.trigger, plan, attempts)
            for cluster in plan.clusters:
                if cluster.cluster in busy:
                    await log.record_skipped([(step, busy[cluster.cluster]) for step in cluster.steps])
            queue = ClusterQueue(self.plan_result.first, held.keys())
            found = await gather_all(
                [
                    self._apply_in_order(guard_context, log, held[guard_context.plan.cluster], queue)
                    for guard_context in guard_contexts
                ]
            )
            outcomes = tuple(log.outcomes[step.id] for step in plan.steps())
            done = frozenset(one.step.node for one in outcomes if one.state in SUCCESSES)
            undone = (one for context in guard_contexts for one in report_undone_drift(context, done))
            missing = await self._check_backups(guard_contexts, outcomes, since)
            findings = (*(one for some in found for one in some), *undone, *missing)
            report = RunReport(log.run, plan, outcomes, findings)
            await log.finish_run(report.exit_status, "\n".join(one.located for one in report.findings))
        return report

    async def _check_backups(
        self, guard_contexts: Collection[GuardContext], outcomes: Iterable[Outcome], since: datetime
    ) -> tuple[Diagnostic, ...]:
        """What is missing of the backups that the changed nodes write by themselves."""
        delivered: dict[str, set[str]] = defaultdict(set)
        for one in outcomes:
            if one.state is State.DONE:
                delivered[one.step.cluster].add(one.step.node)
        context = self.run_context
        check = BackupCheck(self.drivers, context.host, since, context.rest, self.stop)
        done = {name: frozenset(nodes) for name, nodes in delivered.items()}
        return await check.find_missing(guard_contexts, done, self.plan_result.is_partial)

    async def _claim_places(self, guard_contexts: Iterable[GuardContext]) -> None:
        """Record, before anything is sent, that this fleet writes to these nodes' places."""
        taken = {
            place: (guard_context.plan.cluster, step.node)
            for guard_context in guard_contexts
            for step in guard_context.plan.steps
            for place in guard_context.places.get(step.node, ())
        }
        if taken:
            await self.store.claim_places(taken, ())

    async def _lock(
        self, plans: Iterable[ClusterPlan], locks: AsyncExitStack
    ) -> tuple[dict[str, AsyncExitStack], dict[str, str]]:
        """Cluster -> its lock, to be released by itself; and cluster -> why its lock was not free."""
        held: dict[str, AsyncExitStack] = {}
        busy: dict[str, ClusterBusy] = {}
        for plan in plans:
            own = await locks.enter_async_context(AsyncExitStack())
            try:
                await own.enter_async_context(self.store.lock(plan.cluster))
            except ClusterBusy as error:
                busy[plan.cluster] = error
            else:
                held[plan.cluster] = own
        if busy and not held:
            raise next(iter(busy.values()))
        return held, {cluster: error.message for cluster, error in busy.items()}

    async def _apply_in_order(
        self, guard_context: GuardContext, log: RunLog, lock: AsyncExitStack, queue: ClusterQueue
    ) -> tuple[Diagnostic, ...]:
        """Perform the steps of one cluster once the clusters before it have succeeded."""
        plan = guard_context.plan
        with queue.performing(plan.cluster):
            if why := await queue.wait(plan.cluster):
                await log.record_skipped([(step, why) for step in plan.steps])
                return ()
            findings = await self._apply_cluster(guard_context, log, lock)
            missed = [step.id for step in plan.steps if log.outcomes[step.id].state not in SUCCESSES]
            if findings or missed:
                queue.fail(plan.cluster, findings[0].message if findings else f"{missed[0]} was not done")
            return findings

    async def _apply_cluster(
        self, guard_context: GuardContext, log: RunLog, lock: AsyncExitStack
    ) -> tuple[Diagnostic, ...]:
        """Perform the steps of one cluster; gives what stopped its rollout, if anything did."""
        plan, rollout = guard_context.plan, guard_context.change_rules.rollout
        # The lock is held since before the run was recorded.
        holds, set_aside = await self._find_new_holds(guard_context)
        driver, clock = self.drivers[plan.kind], self.run_context.clock
        if guard_context.revision is not None:
            log = replace(log, revision=guard_context.revision)
        context = ExecutionContext(
            driver,
            self.transports.for_run(log.run, log.revision, find_closing(guard_context), set_aside),
            plan.payloads,
            log,
            self.stop,
            clock,
            self.plan_result.stale,
            self.transports.for_run,
            reservations=KnownReservations(self.store, guard_context),
            despite_suspension=SUSPENSION_HOLD in set_aside,
        )
        await context.reservations.read()
        async with lock:
            if holds:
                await log.record_skipped([(step, holds[0].message) for step in plan.steps])
                return holds
            # Before anything is sent: if this run is killed, a watch must not go forward again.
            await _record_pin(guard_context, self.store, self.run_context)
            # Spent before the first call: an approval is for one run, also if that run is killed.
            if guard_context.digest in guard_context.cluster_memory.approved:
                await self.store.use_approval(guard_context.digest)
            if rollout is not None:
                gate = rollout.gates.reports
                secrets = self.plan_result.fleet.secrets
                reports = StoredReports(gate, driver, self.store, secrets, clock) if gate else None
                gate_keeper = GateKeeper(guard_context, rollout, context, self.run_context.rest, reports)
                is_whole = not self.plan_result.is_partial(plan.cluster)
                return await WaveRunner(gate_keeper, log, self.plan_result.fleet.overrides, is_whole).run()
            perform = partial(run_step, context=context)
            await StepScheduler(
                plan.steps,
                count_parallel(plan.steps, plan.concurrency),
                perform,
                log.record_skipped,
                self.stop,
            ).run()
            return await take_back_nodes(guard_context, context, log)

    async def _find_new_holds(
        self, guard_context: GuardContext
    ) -> tuple[tuple[Diagnostic, ...], frozenset[str]]:
        """The holds that are in force now, and the codes of those that are set aside."""
        # Reading many nodes takes minutes. A suspension or a rollback of that time would otherwise stop
        # nothing: the plan was judged before it, and the lock was taken after it.
        cluster = guard_context.plan.cluster
        memory = await self.store.read_cluster_memory(cluster)
        cluster_memory = memory.get_cluster_memory(cluster)
        if self.run_context.is_rollback:
            cluster_memory = replace(cluster_memory, pin=None)
        now = replace(guard_context, now=memory.at, cluster_memory=cluster_memory)
        overrides = select_current_overrides(
            self.plan_result.fleet.overrides, cluster_memory.suspended, guard_context.now
        )
        found = apply_overrides(run_guards(now, (find_change_holds,)), overrides, memory.at.date())
        in_force = tuple(replace(one, severity=Severity.WARNING) for one in found.in_force)
        return in_force, frozenset(one.code for one, _ in found.overridden)


def _ends_or_begins_pin(guard_context: GuardContext, run_context: RunContext) -> bool:
    """Whether a pass without steps says something about the cluster's pin."""
    is_done = not (guard_context.stalled or guard_context.withheld_nodes)
    ends = guard_context.pin is not None and guard_context.pin.effect is PinEffect.ENDS
    return run_context.is_rollback or (ends and is_done)


async def _record_pin(guard_context: GuardContext, store: Store, run_context: RunContext) -> None:
    """Store that a rollback pins a cluster, or that its pin has ended."""
    state, revision = guard_context.pin, guard_context.revision
    if state is None or revision is None:
        return
    cluster = guard_context.plan.cluster
    if run_context.is_rollback:
        left = state.pin.left if state.effect is PinEffect.BEGINS else ()
        await store.pin(cluster, revision, left, run_context.actor)
    elif state.revision is None:
        # Its plan was for the revision of the pass: one that changes the cluster, or by an override.
        words = f"revision {revision.short or revision.id} changes what the cluster gets"
        if state.effect is PinEffect.HOLDS:
            words = f"an override allowed revision {revision.short or revision.id}"
        await store.unpin(cluster, replace(run_context.actor, why=words))
