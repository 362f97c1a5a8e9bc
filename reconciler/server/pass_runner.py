"""The two ways of running one pass: looking only, and keeping; the first has nothing to write with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from reconciler.core.history import Memory
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.host.clock import utc_now
from reconciler.host.interruption import unless
from reconciler.planning.plan_pass import Drivers, Survey, survey
from reconciler.ports.store import Store
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import Occasion, apply
from reconciler.rollout.recovery import Settling, has_open_steps, resume
from reconciler.rollout.report_listener import Ears
from reconciler.rollout.run_log import refuse, remember_members
from reconciler.server.cluster_loop import Job
from reconciler.server.logs import Log
from reconciler.server.pass_result import Result, Turn, acted, looked

OpenTransports = Callable[[], AbstractAsyncContextManager[Transports]]
"""Opens the ways to the nodes, which are closed at the end of the context."""

Recall = Callable[[], Awaitable[Memory]]
"""Gives what earlier runs left."""

Trace = Callable[[Memory, Fleet], Awaitable[Memory]]
"""Fills in how a fleet's revision stands to what is remembered."""


async def _untraced(memory: Memory, fleet: Fleet) -> Memory:  # noqa: ARG001  (the form of a trace)
    return memory


HALTED = Turn(Result.STOPPED, words="stopped before the plan was made")


@dataclass(frozen=True, slots=True)
class Looking:
    """A dry run: it observes, plans and guards, and holds no journal, hence cannot apply.

    Args:
        open_transports: opens the ways to the nodes, anew for each pass, so that no cluster waits for
            another's calls.
        only: a cluster or a node to keep to; empty for all.
        trace: fills in how the fleet's revision stands to what is remembered.
        commands: names of the host's commands; None where another host applies.
    """

    drivers: Drivers
    open_transports: OpenTransports
    recall: Recall
    only: str = ""
    trace: Trace = _untraced
    commands: frozenset[str] | None = None

    async def __call__(self, job: Job) -> Turn:
        """The drift of one cluster."""
        async with self.open_transports() as transports:
            found = await self.survey(job, transports)
        return _looked(found) if found else HALTED

    async def survey(self, job: Job, transports: Transports) -> Survey | None:
        """What is there and what would be done; None where the job was stopped meanwhile."""
        return await unless(job.stop, self._survey(job, transports))

    async def _survey(self, job: Job, transports: Transports) -> Survey:
        desks = tuple(desk for desk in job.fleet.desks if desk.entry.name == job.cluster)
        return await survey(
            replace(job.fleet, desks=desks),
            drivers=self.drivers,
            transports=transports,
            recalled=await self.trace(await self.recall(), job.fleet),
            only=self.only,
            listener=job.listener,
            commands=self.commands,
            neighbours=tuple(desk for desk in job.fleet.desks if desk.entry.name != job.cluster),
        )


@dataclass(slots=True)
class Keeping:
    """A pass that applies its plan; what a killed run left open is settled first, by reading."""

    looking: Looking
    journal: Store
    log: Log
    _settled: set[str] = field(default_factory=set)
    _swept: bool = False
    _refused: dict[str, str] = field(default_factory=dict)
    _posting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ears: Ears = field(default_factory=Ears)

    async def __call__(self, job: Job) -> Turn:
        """Make one cluster so."""
        async with self.looking.open_transports() as transports:
            await unless(job.stop, self._settle(job, transports))
            found = await self.looking.survey(job, transports)
            if found is None or job.stop.is_set():
                return HALTED
            if found.violations:
                await self._refuse(job, found)
                return _looked(found)
            self._refused.pop(job.cluster, None)
            return await self._apply(job, found, transports)

    async def _settle(self, job: Job, transports: Transports) -> None:
        """Settle this cluster's open steps; once, those of clusters that nobody names any more.

        Not at the start alone: a step that a stop, a full disk or a lost answer left open in this very
        process is settled here, too.
        """
        journal, drivers, feedback = self.journal, self.looking.drivers, job.fleet.feedback
        if job.cluster in self._settled and not await has_open_steps(journal, job.cluster):
            return
        async with journal.lock(job.cluster):
            settling = Settling(journal, drivers, transports, feedback, utc_now)
            outcomes = await settling.settle({job.cluster})
        self._settled.add(job.cluster)
        if not self._swept and self._settled >= {desk.entry.name for desk in job.fleet.desks}:
            self._swept = True
            outcomes += await resume(journal, drivers, transports, feedback=feedback)
        for outcome in outcomes:
            self.log.info(
                "step settled",
                cluster=outcome.step.cluster,
                step=outcome.step.id,
                state=outcome.state.value,
                words=outcome.reason,
            )

    async def _refuse(self, job: Job, found: Survey) -> None:
        """Write a refusal into the history once, not at every interval."""
        verdicts = "\n".join(violation.message for violation in found.violations)
        key = f"{found.plan.revision.id}\n{verdicts}"
        if self._refused.get(job.cluster) != key:
            await remember_members(found, self.looking.drivers, self.journal)
            await refuse(found, self.journal, job.trigger)
            self._refused[job.cluster] = key

    async def _apply(self, job: Job, found: Survey, transports: Transports) -> Turn:
        idle = found.plan.empty
        if (
            idle and self._posting.locked()
        ):  # somebody delivers left-over messages already: do not wait for it
            return await self._applied(
                job, replace(found, fleet=replace(found.fleet, feedback=None)), transports
            )
        if idle:
            async with self._posting:
                return await self._applied(job, found, transports)
        return await self._applied(job, found, transports)

    async def _applied(self, job: Job, found: Survey, transports: Transports) -> Turn:
        report = await apply(
            found,
            drivers=self.looking.drivers,
            transports=transports,
            journal=self.journal,
            listener=job.listener,
            stop=job.stop,
            occasion=Occasion(job.trigger, ears=self._ears),
        )
        (case,) = found.cases
        turn = acted(case.plan, case.observed, report) if report.run else _looked(found)
        return replace(turn, findings=(*turn.findings, *report.findings))


def _looked(found: Survey) -> Turn:
    (case,) = found.cases
    turn = looked(case.plan, case.observed, found.violations)
    aside = [
        Diagnostic(
            Severity.NOTE,
            violation.code,
            f"set aside until {override.until}, {override.reason}: {violation.message}",
            target=violation.target,
        )
        for violation, override in found.overridden
    ]
    return replace(turn, findings=(*turn.findings, *aside))
