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
from reconciler.core.outcome import Outcome, Report
from reconciler.core.plan import Plan
from reconciler.core.policy import Override
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal
from reconciler.host.clock import utc_now
from reconciler.host.interruption import unless
from reconciler.planning.masking import masking
from reconciler.planning.plan_file import within
from reconciler.planning.plan_pass import Survey
from reconciler.ports.listener import SILENT, Listener
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import Occasion, apply
from reconciler.rollout.gates import Rest, resting
from reconciler.rollout.recovery import Settling, has_open_steps, resume
from reconciler.rollout.refusals import Refusals
from reconciler.rollout.report_listener import Ears


def through_suspensions(fleet: Fleet, reason: str) -> Fleet:
    """The same fleet, in which suspensions are set aside; the plan and the history of its run say so.

    Args:
        fleet: as it was read.
        reason: why, at least eight characters.
    """
    override = Override(guard="suspended", until=utc_now().date() + timedelta(days=1), reason=reason)
    return replace(fleet, overrides=(*fleet.overrides, override))


@dataclass(frozen=True, slots=True)
class Pass:
    """What one whole pass came to.

    Args:
        survey: what was there and what was planned; None where the pass was stopped before.
        report: what became of the plan; None where guards refused it, or the pass was stopped before.
    """

    survey: Survey | None = None
    report: Report | None = None


@dataclass(slots=True)
class _Process:
    """What the passes of one process share.

    Args:
        ears: hears what nodes report by themselves.
        refusals: those that are in the history already.
        settled: clusters whose open steps were looked at.
        is_swept: whether those of clusters that nobody names any more were.
        posting: held while left-over messages are delivered.
    """

    ears: Ears = field(default_factory=Ears)
    refusals: Refusals = field(default_factory=Refusals)
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
    rest: Rest = resting
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
        listener: Listener = SILENT,
        stop: asyncio.Event | None = None,
    ) -> Pass:
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
            await unless(stop, own.settle(fleet, cluster=cluster, listener=listener))
            found = await unless(stop, own.reader.plan(fleet, cluster=cluster, only=only, listener=listener))
            if found is None or stop.is_set():
                return Pass()
            try:
                report = await own.apply(found, trigger=trigger, listener=listener, stop=stop)
            except GuardRefusal:
                return Pass(found)
            return Pass(found, report)

    async def settle(
        self, fleet: Fleet, *, cluster: str = "", listener: Listener = SILENT
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
            masked = masking(transports, fleet.secrets)
            outcomes = await self._settle(fleet, cluster, masked, store)
        for outcome in outcomes:
            listener.settled(outcome)
        return tuple(outcomes)

    async def _settle(
        self, fleet: Fleet, cluster: str, transports: Transports, store: Store
    ) -> list[Outcome]:
        drivers, feedback, process = self.reader.products, fleet.feedback, self._process
        if not cluster:
            return list(await resume(store, drivers, transports, feedback=feedback, clock=self.clock))
        # Not at the start of a process alone: what a stop, a full disk or a lost answer left open in this
        # very process is settled here, too.
        if cluster in process.settled and not await has_open_steps(store, cluster):
            return []
        async with store.lock(cluster):
            settling = Settling(store, drivers, transports, feedback, self.clock)
            outcomes = await settling.settle({cluster})
        process.settled.add(cluster)
        if not process.is_swept and process.settled >= {desk.entry.name for desk in fleet.desks}:
            process.is_swept = True
            outcomes += await resume(store, drivers, transports, feedback=feedback, clock=self.clock)
        return outcomes

    async def apply(
        self,
        survey: Survey,
        *,
        trigger: str = "program",
        listener: Listener = SILENT,
        stop: asyncio.Event | None = None,
    ) -> Report:
        """Apply the plan of a survey; see `rollout.apply_pass.apply`.

        Args:
            survey: what `Reader.plan` gave.
            trigger: what asked for it, for the history.
            listener: hears of each step.
            stop: once set, nothing more is begun; steps under way are completed and written down.

        Raises:
            GuardRefusal: a verdict stands against the plan; nothing was done, the history says so.
            ClusterBusy: every cluster of the plan is held by another run; nothing was done.
            StateError: the journal cannot be written; no call was made that it does not know of.
        """
        posting = self._process.posting
        if not survey.plan.empty:
            return await self._apply(survey, trigger, listener, stop)
        if posting.locked():  # somebody delivers left-over messages already: do not wait for it
            silent = replace(survey, fleet=replace(survey.fleet, feedback=None))
            return await self._apply(silent, trigger, listener, stop)
        async with posting:
            return await self._apply(survey, trigger, listener, stop)

    async def _apply(
        self, survey: Survey, trigger: str, listener: Listener, stop: asyncio.Event | None
    ) -> Report:
        process = self._process
        async with self.reader.connect(self.reader.host) as transports:
            return await apply(
                survey,
                drivers=self.reader.products,
                transports=transports,
                journal=self.store,
                listener=listener,
                stop=stop,
                occasion=Occasion(
                    trigger,
                    self.actor,
                    self.clock,
                    self.rest,
                    ears=process.ears,
                    refusals=process.refusals,
                    goes_back=self.reader.is_named,
                ),
            )

    async def look_again(self, survey: Survey, *, only: str = "", listener: Listener = SILENT) -> Plan:
        """What a plan towards the same desired state would still do; of a plan file, to the nodes it names.

        Args:
            survey: what was applied.
            only: what it was narrowed to.
            listener: hears of each stage.

        Raises:
            ReconcilerError: as `Reader.plan` does.
        """
        again = await self.reader.plan(survey.fleet, only=only, listener=listener)
        return again.plan if survey.anew is None else within(again.plan, survey.plan)
