"""The writing half of the pass for whoever calls it: settles what was left open, applies, looks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self

from reconciler.api.reader import Reader
from reconciler.core.actor import Actor
from reconciler.core.outcome import Outcome, RunReport
from reconciler.core.plan import Plan
from reconciler.core.policy import Override
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal
from reconciler.host.aio import run_unless_stopped
from reconciler.host.clock import utc_now
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.plan_file import restrict_plan
from reconciler.planning.plan_pass import PlanResult
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.gates import Rest, sleep_real_time
from reconciler.rollout.recovery import StepRecovery, has_open_steps, recover_runs
from reconciler.rollout.report_listener import ReportListener
from reconciler.rollout.run_log import RefusalMemory


def override_suspensions(fleet: Fleet, reason: str) -> Fleet:
    """The same fleet, in which suspensions are set aside; the plan and the history of its run say so.

    Args:
        fleet: as it was read.
        reason: why, at least eight characters.
    """
    override = Override(guard="suspended", until=utc_now().date() + timedelta(days=1), reason=reason)
    return replace(fleet, overrides=(*fleet.overrides, override))


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one whole pass came to.

    Args:
        plan_result: what was there and what was planned; None where the pass was stopped before.
        report: what became of the plan; None where guards refused it, or the pass was stopped before.
    """

    plan_result: PlanResult | None = None
    report: RunReport | None = None


@dataclass(slots=True)
class _Process:
    """What the passes of one process share.

    Args:
        report_listener: hears what nodes report by themselves.
        refusals: those that are in the history already.
        settled: clusters whose open steps were looked at.
        is_swept: whether those of clusters that nobody names any more were.
        posting: held while left-over messages are delivered.
    """

    report_listener: ReportListener = field(default_factory=ReportListener)
    refusals: RefusalMemory = field(default_factory=RefusalMemory)
    settled: set[str] = field(default_factory=set)
    is_swept: bool = False
    posting: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Makes nodes so: what a reader plans is applied step by step, and each step is journalled.

    Passes over different clusters may go on side by side. One object serves a process for as long as it
    lives: a refusal that repeats is written once, and reports of nodes find the run that waits for them.

    Args:
        reader: the reading half; from here on it reads this store, and plans for this host to apply.
        store: the journal, held open by the caller.
        clock: stamps what is written.
        rest: waits while a wave soaks.
        actor: who asks for its runs, for the history.
    """

    reader: Reader
    store: Store
    clock: Clock = utc_now
    rest: Rest = sleep_real_time
    actor: Actor = field(default_factory=Actor)
    _process: _Process = field(default_factory=_Process, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", replace(self.reader, store=self.store, is_applying=True))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Self]:
        """The same over one bundle of ways to the nodes, open until the context ends."""
        async with self.reader.connected() as reader:
            yield replace(self, reader=reader)

    async def run(
        self,
        fleet: Fleet | None = None,
        *,
        cluster: str = "",
        only: str = "",
        trigger: str = "program",
        listener: PassListener = SILENT,
        stop: asyncio.Event | None = None,
    ) -> PassReport:
        """One whole pass, over one bundle of ways to the nodes: settle, plan, judge, apply.

        Args:
            fleet: one that was read before; None to read the source now.
            cluster: make this cluster so, and no other; empty for all.
            only: a cluster, a node or `cluster/node` to keep to; empty for all.
            trigger: what asked for the pass, for the history.
            listener: hears of each stage.
            stop: once set, nothing more is begun; steps under way are completed and written down.

        Raises:
            ReconcilerError: the pass could not be run to its end; `ClusterBusy` where another run holds the
                cluster.
        """
        stop = stop or asyncio.Event()
        async with self.connected() as own:
            fleet = fleet or await own.reader.read_fleet()
            await run_unless_stopped(stop, own.settle(fleet, cluster=cluster, listener=listener))
            found = await run_unless_stopped(
                stop, own.reader.plan(fleet, cluster=cluster, only=only, listener=listener)
            )
            if found is None or stop.is_set():
                return PassReport()
            try:
                report = await own.apply(found, trigger=trigger, listener=listener, stop=stop)
            except GuardRefusal:
                return PassReport(found)
            return PassReport(found, report)

    async def settle(
        self, fleet: Fleet, *, cluster: str = "", listener: PassListener = SILENT
    ) -> tuple[Outcome, ...]:
        """Find out by reading what became of steps that earlier runs left open; gives what was settled.

        Args:
            fleet: says where messages about it go.
            cluster: of this cluster, where it is open, and once of those that the fleet does not name; empty
                for all clusters.
            listener: hears of each.

        Raises:
            ClusterBusy: another run holds the one cluster.
            StateError: the store cannot be used.
        """
        identity, _ = await self.reader.bind(fleet)
        store = await self.store.enter(identity) if identity else self.store
        async with self.reader.connect(self.reader.host) as transports:
            masked = mask_transports(transports, fleet.secrets)
            outcomes = await self._settle(fleet, cluster, masked, store)
        for outcome in outcomes:
            listener.settled(outcome)
        return tuple(outcomes)

    async def _settle(
        self, fleet: Fleet, cluster: str, transports: Transports, store: Store
    ) -> list[Outcome]:
        drivers, feedback, process = self.reader.products, fleet.feedback, self._process
        if not cluster:
            return list(await recover_runs(store, drivers, transports, feedback=feedback, clock=self.clock))
        # Not at the start of a process alone: what a stop, a full disk or a lost answer left open in this
        # very process is settled here, too.
        if cluster in process.settled and not await has_open_steps(store, cluster):
            return []
        async with store.lock(cluster):
            settling = StepRecovery(store, drivers, transports, feedback, self.clock)
            outcomes = await settling.settle({cluster})
        process.settled.add(cluster)
        if not process.is_swept and process.settled >= {
            cluster_input.entry.name for cluster_input in fleet.cluster_inputs
        }:
            process.is_swept = True
            outcomes += await recover_runs(store, drivers, transports, feedback=feedback, clock=self.clock)
        return outcomes

    async def apply(
        self,
        plan_result: PlanResult,
        *,
        trigger: str = "program",
        listener: PassListener = SILENT,
        stop: asyncio.Event | None = None,
    ) -> RunReport:
        """Apply the plan of a survey; see `rollout.apply_pass.run_apply_pass`.

        Args:
            plan_result: what `Reader.plan` gave.
            trigger: what asked for it, for the history.
            listener: hears of each step.
            stop: once set, nothing more is begun; steps under way are completed and written down.

        Raises:
            GuardRefusal: a verdict stands against the plan; nothing was done, the history says so.
            ClusterBusy: every cluster of the plan is held by another run; nothing was done.
            StateError: the journal cannot be written; no call was made that it does not know of.
        """
        posting = self._process.posting
        if not plan_result.plan.empty:
            return await self._apply(plan_result, trigger, listener, stop)
        if posting.locked():  # somebody delivers left-over messages already: do not wait for it
            silent = replace(plan_result, fleet=replace(plan_result.fleet, feedback=None))
            return await self._apply(silent, trigger, listener, stop)
        async with posting:
            return await self._apply(plan_result, trigger, listener, stop)

    async def _apply(
        self, plan_result: PlanResult, trigger: str, listener: PassListener, stop: asyncio.Event | None
    ) -> RunReport:
        process = self._process
        async with self.reader.connect(self.reader.host) as transports:
            return await run_apply_pass(
                plan_result,
                drivers=self.reader.products,
                transports=transports,
                journal=self.store,
                listener=listener,
                stop=stop,
                run_context=RunContext(
                    trigger,
                    self.actor,
                    self.clock,
                    self.rest,
                    report_listener=process.report_listener,
                    refusals=process.refusals,
                    is_rollback=self.reader.is_named,
                ),
            )

    async def observe_again(
        self, plan_result: PlanResult, *, only: str = "", listener: PassListener = SILENT
    ) -> Plan:
        """What a plan towards the same desired state would still do; of a plan file, to the nodes it names.

        Args:
            plan_result: what was applied.
            only: what it was narrowed to.
            listener: hears of each stage.

        Raises:
            ReconcilerError: as `Reader.plan` does.
        """
        again = await self.reader.plan(plan_result.fleet, only=only, listener=listener)
        return again.plan if plan_result.anew is None else restrict_plan(again.plan, plan_result.plan)
