"""The two ways to run a pass: a dry run, which has nothing to write with, and one that applies its plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.guard import GuardContext
from reconciler.core.pins import PinEffect, PinState
from reconciler.core.selection import EVERYTHING, Selection
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.host.aio import run_unless_stopped
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.withheld_findings import OFFERED
from reconciler.ports.tracer import Tracer
from reconciler.server.cluster_pass import PassJob, PassRunner
from reconciler.server.pass_reading import make_pass_reading
from reconciler.server.pass_result import (
    PassResult,
    PassSummary,
    add_left_nodes,
    summarise_apply_pass,
    summarise_plan_pass,
)
from reconciler.store.factory import StorePlace, open_reader

_FAILURES = frozenset({PassResult.FAILED, PassResult.PARTIAL, PassResult.REFUSED})

HALTED = PassSummary(PassResult.STOPPED, message="stopped before the plan was complete")


@dataclass(frozen=True, slots=True)
class DryRunPass:
    """Observes, plans and guards; it has no journal and cannot apply.

    Transports are opened for each pass, so that no cluster waits for the calls of another.

    Args:
        state: where the store is, which may not exist yet; its store is opened for each pass.
        only: what it is restricted to.
    """

    reader: Reader
    state: StorePlace
    only: Selection = EVERYTHING

    async def __call__(self, job: PassJob) -> PassSummary:
        """Plan one cluster."""
        # Opened for each pass, because a store that another command creates meanwhile has orders to respect.
        # A reader never creates one: a dry run writes nothing.
        with open_reader(self.state) as store:
            reader = replace(self.reader, store=store)
            plan_result = await run_unless_stopped(
                job.stop,
                reader.plan(job.fleet, cluster=job.cluster, only=self.only, listener=job.listener),
            )
            if plan_result is None:
                return HALTED
            return _add_reading(_summarise_reading(plan_result, reader), plan_result, reader)


@dataclass(frozen=True, slots=True)
class ApplyPass:
    """Applies its plan; first settles, by reading, what a killed run left open."""

    reconciler: Reconciler
    only: Selection = EVERYTHING

    async def __call__(self, job: PassJob) -> PassSummary:
        """Plan and apply one cluster."""
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
        # No report: a guard refused the plan. A report without a run: there was nothing to apply.
        reader = self.reconciler.reader
        if done.report is None:
            return _add_reading(_summarise_reading(done.plan_result, reader), done.plan_result, reader)
        (context,) = done.plan_result.guard_contexts
        report = done.report
        pass_summary = (
            add_left_nodes(
                summarise_apply_pass(context.plan, context.observed, report),
                reader.list_left_nodes(done.plan_result),
            )
            if report.run
            else _summarise_reading(done.plan_result, reader)
        )
        polling = context.entry.polling
        # Also where the result is another one, such as drift that is only reported beside it.
        is_offered = any(finding.code == OFFERED for finding in context.plan.findings)
        is_waiting = pass_summary.result is PassResult.WAITING or is_offered or bool(context.progress)
        pass_summary = _add_reading(pass_summary, done.plan_result, reader)
        return replace(
            pass_summary,
            findings=(*pass_summary.findings, *report.findings),
            held_nodes=tuple(sorted(context.reserved.held)),
            recheck=polling.every if polling and is_waiting else 0.0,
            pin=_get_pin(context),
            drift=tuple(context.drift.values()),
            unmanaged=context.unmanaged,
        )


@dataclass(frozen=True, slots=True)
class TracedPass:
    """A pass that is one span.

    Args:
        perform: runs it.
        tracer: makes the span.
    """

    perform: PassRunner
    tracer: Tracer

    async def __call__(self, job: PassJob) -> PassSummary:
        """Run it; the span has its result and message."""
        revision = job.fleet.revision.id
        with self.tracer.open_span(
            "pass", cluster=job.cluster, trigger=job.trigger, revision=revision
        ) as span:
            summary = await self.perform(job)
            span.note(result=summary.result.value, run=summary.run, pending=summary.pending)
            if summary.message:
                span.note(message=summary.message)
            if summary.result in _FAILURES:
                span.fail(summary.message or summary.result.value)
            return summary


def _add_reading(pass_summary: PassSummary, plan_result: PlanResult, reader: Reader) -> PassSummary:
    """The summary with what people look at: what expires, and the state of each node."""
    reading = make_pass_reading(plan_result, reader.summarise(plan_result))
    return replace(pass_summary, expiries=reader.list_expiries(plan_result), reading=reading)


def _get_pin(context: GuardContext) -> PinState | None:
    """The pin of a cluster that the revision leaves in force."""
    return context.pin if context.pin is not None and context.pin.effect is PinEffect.HOLDS else None


def _summarise_reading(plan_result: PlanResult, reader: Reader) -> PassSummary:
    (context,) = plan_result.guard_contexts
    pass_summary = summarise_plan_pass(context.plan, context.observed, plan_result.violations)
    pass_summary = add_left_nodes(pass_summary, reader.list_left_nodes(plan_result))
    overridden = [
        Diagnostic(
            Severity.NOTE,
            violation.code,
            f"overridden until {override.until} ({override.reason}): {violation.message}",
            target=violation.target,
        )
        for violation, override in plan_result.overridden
    ]
    held = tuple(sorted(context.reserved.held))
    findings = (*pass_summary.findings, *overridden)
    drift = tuple(context.drift.values())
    return replace(
        pass_summary,
        findings=findings,
        held_nodes=held,
        pin=_get_pin(context),
        drift=drift,
        unmanaged=context.unmanaged,
    )
