"""The writing half of the pass: settles open steps of earlier runs, applies, and reads the nodes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self

from reconciler.api.reader import Reader
from reconciler.core.actor import Actor
from reconciler.core.change_windows import SUSPENSION_HOLD
from reconciler.core.outcome import Outcome, RunReport
from reconciler.core.policy import Override
from reconciler.core.selection import Selection
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.errors import ClusterBusy, GuardRefusal
from reconciler.guards.change_control import ROLLBACK_ASIDE
from reconciler.host.aio import run_unless_stopped
from reconciler.host.clock import utc_now
from reconciler.planning.applied_facts import collect_baselines
from reconciler.planning.plan_file import restrict_plan
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.routed_transports import route_transports
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.gates import Rest, sleep_real_time
from reconciler.rollout.polled_nodes import EnrolledNodes, RunTransports
from reconciler.rollout.recovery import StepRecovery, has_open_steps, settle_open_runs
from reconciler.rollout.run_log import RefusalMemory


def override_suspensions(fleet: Fleet) -> Fleet:
    """The same fleet with an override of suspensions for a rollback, which the plan shows."""
    # A person who suspends in an emergency goes back next: the suspension is against all other changes.
    # Until tomorrow: a run may last beyond midnight.
    until = utc_now().date() + timedelta(days=1)
    override = Override(guard=SUSPENSION_HOLD, until=until, reason=ROLLBACK_ASIDE)
    return replace(fleet, overrides=(*fleet.overrides, override))


@dataclass(frozen=True, slots=True)
class PassReport:
    """The result of one whole pass.

    Args:
        plan_result: what was observed and planned; None if the pass was stopped before.
        report: the result of the plan; None if guards refused it, or the pass was stopped before.
    """

    plan_result: PlanResult | None = None
    report: RunReport | None = None


@dataclass(slots=True)
class _Process:
    """State that the passes of one process share.

    Args:
        refusals: those that are already in the history.
        enrolled: nodes whose tokens it has made count.
        settled: clusters whose open steps were settled.
        is_swept: whether the open steps of clusters that left the fleet were settled.
        posting: held while waiting messages are delivered.
    """

    refusals: RefusalMemory = field(default_factory=RefusalMemory)
    enrolled: EnrolledNodes = field(default_factory=EnrolledNodes)
    settled: set[str] = field(default_factory=set)
    is_swept: bool = False
    posting: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Applies the plans of a reader step by step, and journals each step.

    Passes over different clusters may run at the same time. A process uses one object for its whole life: a
    repeated refusal is then written once.

    Args:
        reader: the reading half; it is changed to read this store and to plan for this host.
        store: the journal, opened by the caller.
        clock: gives the time of what is written.
        rest: waits for the soak time of a wave.
        actor: who asked for its runs, for the history.
    """

    reader: Reader
    store: Store
    clock: Clock = utc_now
    rest: Rest = sleep_real_time
    actor: Actor = field(default_factory=Actor)
    _process: _Process = field(default_factory=_Process, repr=False)

    def __post_init__(self) -> None:
        # Whatever the reader was made for: with another store its guards would not see the runs that this
        # object writes, and without is_applying they would accept a command that this host lacks.
        object.__setattr__(self, "reader", replace(self.reader, store=self.store, is_applying=True))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Self]:
        """The same reconciler with one set of transports, which stay open until the context ends."""
        async with self.reader.connected() as reader:
            yield replace(self, reader=reader)

    async def run(
        self,
        fleet: Fleet | None = None,
        *,
        cluster: str = "",
        only: str | Selection = "",
        all_or_nothing: bool = False,
        trigger: str = "program",
        listener: PassListener = SILENT,
        stop: asyncio.Event | None = None,
    ) -> PassReport:
        """One whole pass with one set of transports: settle, plan, check with guards, apply.

        Args:
            fleet: one that was read before; None to read the source now.
            cluster: reconcile only this cluster; empty for all.
            only: restrict to a cluster, a node or `cluster/node`, or to a selection; empty for all.
            all_or_nothing: whether the refusal of one cluster refuses the whole plan.
            trigger: what started the pass, for the history.
            listener: called at each stage.
            stop: once set, no further step starts; steps in progress are completed and recorded.

        Raises:
            ReconcilerError: the pass could not be completed; `ClusterBusy` if another run holds the cluster.
        """
        stop = stop or asyncio.Event()
        async with self.connected() as own:
            fleet = fleet or await own.reader.read_fleet()
            # First: an open step may have changed its node, and its outcome decides about the next attempt.
            await run_unless_stopped(stop, own.settle(fleet, cluster=cluster, listener=listener))
            plan_result = await run_unless_stopped(
                stop, own.reader.plan(fleet, cluster=cluster, only=only, listener=listener)
            )
            # A stop during the last reading still counts: no step may begin after it.
            if plan_result is None or stop.is_set():
                return PassReport()
            plan_result = replace(plan_result, all_or_nothing=all_or_nothing)
            try:
                report = await own.apply(plan_result, trigger=trigger, listener=listener, stop=stop)
            except GuardRefusal:
                return PassReport(plan_result)
            return PassReport(plan_result, report)

    async def settle(
        self, fleet: Fleet, *, cluster: str = "", listener: PassListener = SILENT
    ) -> tuple[Outcome, ...]:
        """Read the nodes to find the outcomes of steps that earlier runs left open; returns these outcomes.

        Args:
            fleet: has the sink for messages about them.
            cluster: only this cluster, and once those that left the fleet; empty for all clusters.
            listener: called for each outcome.

        Raises:
            ClusterBusy: another run holds the one cluster.
            StateError: the store cannot be used.
        """
        with self.reader.tracer.open_span("settle", cluster=cluster):
            outcomes = await self._read_open_steps(fleet, cluster)
        for outcome in outcomes:
            listener.on_step_settled(outcome)
        return tuple(outcomes)

    async def _read_open_steps(self, fleet: Fleet, cluster: str) -> list[Outcome]:
        identity, _ = await self.reader.bind(fleet)
        store = await self.store.enter_fleet(identity)
        async with self.reader.connect(self.reader.host) as transports:
            routed = route_transports(transports, fleet, self.reader.products)
            masked = RunTransports(routed, store, fleet.secrets, self.clock).for_reading()
            return await self._settle(fleet, cluster, masked, store)

    async def _settle(
        self, fleet: Fleet, cluster: str, transports: Transports, store: Store
    ) -> list[Outcome]:
        drivers, feedback, process = self.reader.products, fleet.feedback, self._process
        if not cluster:
            return list(
                await settle_open_runs(store, drivers, transports, feedback=feedback, clock=self.clock)
            )
        # Not only at the start of a process: a stop, a full disk or a lost answer can leave steps open in
        # this process too.
        if cluster in process.settled and not await has_open_steps(store, cluster):
            return []
        async with store.lock(cluster):
            recovery = StepRecovery(store, drivers, transports, feedback, self.clock)
            outcomes = await recovery.settle({cluster})
        process.settled.add(cluster)
        # A cluster that left the fleet has no loop that would settle it: the last loop to start does it once.
        if not process.is_swept and process.settled >= {
            cluster_input.entry.name for cluster_input in fleet.cluster_inputs
        }:
            process.is_swept = True
            outcomes += await settle_open_runs(
                store, drivers, transports, feedback=feedback, clock=self.clock
            )
        return outcomes

    async def apply(
        self,
        plan_result: PlanResult,
        *,
        trigger: str = "program",
        listener: PassListener = SILENT,
        stop: asyncio.Event | None = None,
    ) -> RunReport:
        """Apply a plan; see `rollout.apply_pass.run_apply_pass`.

        Args:
            plan_result: a result of `Reader.plan`.
            trigger: what started it, for the history.
            listener: called for each step.
            stop: once set, no further step starts; steps in progress are completed and recorded.

        Raises:
            GuardRefusal: a guard refuses the plan; nothing was done, and the refusal is in the history.
            ClusterBusy: other runs hold every cluster of the plan; nothing was done.
            StateError: the journal cannot be written; every call that was made is in it.
        """
        # An empty plan is applied too, to deliver messages that earlier runs left. One pass at a time does
        # that: several would send the same messages.
        posting = self._process.posting
        if not plan_result.plan.is_empty:
            return await self._apply(plan_result, trigger, listener, stop)
        if posting.locked():  # another pass already delivers the waiting messages: do not wait for it
            silent = replace(plan_result, fleet=replace(plan_result.fleet, feedback=None))
            return await self._apply(silent, trigger, listener, stop)
        async with posting:
            return await self._apply(plan_result, trigger, listener, stop)

    async def _apply(
        self, plan_result: PlanResult, trigger: str, listener: PassListener, stop: asyncio.Event | None
    ) -> RunReport:
        process, tracer = self._process, self.reader.tracer
        async with AsyncExitStack() as stack:
            stack.enter_context(tracer.open_span("apply", trigger=trigger))
            traced = stack.enter_context(tracer.trace_events(listener))
            transports = await stack.enter_async_context(self.reader.connect(self.reader.host))
            return await run_apply_pass(
                plan_result,
                drivers=self.reader.products,
                transports=transports,
                journal=self.store,
                listener=traced,
                stop=stop,
                run_context=RunContext(
                    trigger,
                    self.actor,
                    self.clock,
                    self.rest,
                    refusals=process.refusals,
                    enrolled=process.enrolled,
                    is_rollback=self.reader.is_named,
                    host=self.reader.host,
                ),
            )

    async def observe_again(
        self, plan_result: PlanResult, *, only: str | Selection = "", listener: PassListener = SILENT
    ) -> PlanResult:
        """Another pass after a run, towards the same desired state; of a plan file, only for the nodes in it.

        The store learns which nodes it found as desired, so that a change behind our back is known as one.

        Args:
            plan_result: what was applied.
            only: its restriction.
            listener: called at each stage.

        Raises:
            ReconcilerError: as `Reader.plan` does.
        """
        newest = await self._find_newest_run(plan_result)
        again = await self.reader.plan(plan_result.fleet, only=only, listener=listener)
        await self._record_baselines(again, newest)
        if plan_result.new_plan is None:
            return again
        return replace(again, plan=restrict_plan(again.plan, plan_result.plan))

    async def _find_newest_run(self, plan_result: PlanResult) -> str:
        journal = await self.store.enter_fleet(plan_result.identity)
        return next((run.id for run in await journal.runs(1)), "")

    async def _record_baselines(self, again: PlanResult, newest: str) -> None:
        journal = await self.store.enter_fleet(again.identity)
        for cluster, facts in collect_baselines(again).items():
            with suppress(ClusterBusy):
                async with journal.lock(cluster):
                    # A run of another process may have changed nodes since they were read.
                    if await self._find_newest_run(again) == newest:
                        await journal.store_facts(cluster, facts)
