"""The two ways of running one pass: looking only, and keeping; the first has nothing to write with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.host.aio import run_unless_stopped
from reconciler.planning.plan_pass import PlanResult
from reconciler.server.cluster_loop import PassJob
from reconciler.server.pass_result import PassResult, PassSummary, summarise_apply_pass, summarise_plan_pass
from reconciler.store.factory import open_reader

HALTED = PassSummary(PassResult.STOPPED, message="stopped before the plan was made")


@dataclass(frozen=True, slots=True)
class DryRunPass:
    """A dry run: it observes, plans and guards, and holds no journal, hence cannot apply.

    The ways to the nodes are opened anew for each pass, so that no cluster waits for another's calls.

    Args:
        state: where the store is, or may come to be; it is opened for each look alone.
        only: a cluster or a node to keep to; empty for all.
    """

    reader: Reader
    state: Path
    only: str = ""

    async def __call__(self, job: PassJob) -> PassSummary:
        """The drift of one cluster."""
        with open_reader(self.state) as store:
            reader = replace(self.reader, store=store)
            plan_result = await run_unless_stopped(
                job.stop,
                reader.plan(job.fleet, cluster=job.cluster, only=self.only, listener=job.listener),
            )
        return _summarise_reading(plan_result) if plan_result else HALTED


@dataclass(frozen=True, slots=True)
class ApplyPass:
    """A pass that applies its plan; what a killed run left open is settled first, by reading."""

    reconciler: Reconciler
    only: str = ""

    async def __call__(self, job: PassJob) -> PassSummary:
        """Make one cluster so."""
        done = await self.reconciler.run(
            job.fleet,
            cluster=job.cluster,
            only=self.only,
            trigger=job.trigger,
            listener=job.listener,
            stop=job.stop,
        )
        if done.plan_result is None:
            return HALTED
        if done.report is None:
            return _summarise_reading(done.plan_result)
        (case,) = done.plan_result.cases
        report = done.report
        pass_summary = (
            summarise_apply_pass(case.plan, case.observed, report)
            if report.run
            else _summarise_reading(done.plan_result)
        )
        return replace(pass_summary, findings=(*pass_summary.findings, *report.findings))


def _summarise_reading(plan_result: PlanResult) -> PassSummary:
    (case,) = plan_result.cases
    pass_summary = summarise_plan_pass(case.plan, case.observed, plan_result.violations)
    overridden = [
        Diagnostic(
            Severity.NOTE,
            violation.code,
            f"overridden until {override.until} ({override.reason}): {violation.message}",
            target=violation.target,
        )
        for violation, override in plan_result.overridden
    ]
    return replace(pass_summary, findings=(*pass_summary.findings, *overridden))
