"""The two ways of running one pass: looking only, and keeping; the first has nothing to write with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.host.interruption import unless
from reconciler.planning.plan_pass import Survey
from reconciler.server.cluster_loop import Job
from reconciler.server.pass_result import Result, Turn, acted, looked
from reconciler.store.factory import open_reader

HALTED = Turn(Result.STOPPED, words="stopped before the plan was made")


@dataclass(frozen=True, slots=True)
class Looking:
    """A dry run: it observes, plans and guards, and holds no journal, hence cannot apply.

    The ways to the nodes are opened anew for each pass, so that no cluster waits for another's calls.

    Args:
        state: where the store is, or may come to be; it is opened for each look alone.
        only: a cluster or a node to keep to; empty for all.
    """

    reader: Reader
    state: Path
    only: str = ""

    async def __call__(self, job: Job) -> Turn:
        """The drift of one cluster."""
        with open_reader(self.state) as store:
            reader = replace(self.reader, store=store)
            found = await unless(
                job.stop,
                reader.plan(job.fleet, cluster=job.cluster, only=self.only, listener=job.listener),
            )
        return _looked(found) if found else HALTED


@dataclass(frozen=True, slots=True)
class Keeping:
    """A pass that applies its plan; what a killed run left open is settled first, by reading."""

    reconciler: Reconciler
    only: str = ""

    async def __call__(self, job: Job) -> Turn:
        """Make one cluster so."""
        done = await self.reconciler.run(
            job.fleet,
            cluster=job.cluster,
            only=self.only,
            trigger=job.trigger,
            listener=job.listener,
            stop=job.stop,
        )
        if done.survey is None:
            return HALTED
        if done.report is None:
            return _looked(done.survey)
        (case,) = done.survey.cases
        report = done.report
        turn = acted(case.plan, case.observed, report) if report.run else _looked(done.survey)
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
