"""Undoes a failed wave: the inverse of each of its steps, journalled as a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from reconciler import __version__
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Observed
from reconciler.core.outcome import OPEN, SUCCESSES, Outcome, RunReport, State
from reconciler.core.plan import Payload, Plan, Step
from reconciler.core.step_status import StepStatus
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.driver import Driver
from reconciler.ports.store import StepEnd
from reconciler.rollout.polling import judge_step
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import ExecutionContext, run_step
from reconciler.rollout.step_scheduler import StepScheduler

UNCERTAIN = "effect-uncertain"
"""Code of the finding that a failed step may still take effect."""

TRIGGER = "undo"
"""The trigger of such a run, in the history."""


@dataclass(slots=True)
class _UndoPlan:
    """The inverse steps of a wave, in reverse order, and findings about steps that cannot be undone."""

    guard_context: GuardContext
    driver: Driver[Any, Any]
    steps: list[Step] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    def add(self, step: Step, wave: Sequence[Step], why: str, shown: Observed[Any] | None = None) -> None:
        """Add the inverse of a step, or a finding if it has none.

        Args:
            step: the step to undo.
            wave: all steps to undo; a step is undone after those that depend on it.
            why: why it cannot be undone, if it has no inverse.
            shown: what the step's nodes show, if it took effect in part.
        """
        observed, payloads = self.guard_context.observed, self.guard_context.plan.payloads
        if shown is None:
            undo = self.driver.undo(step, observed, payloads)
        else:
            undo = self.driver.undo_part(step, observed, payloads, shown)
        if undo is None:
            self.findings.append(_report_not_undone(step, why))
            return
        inverse, inverse_payloads = undo
        added = {one.id for one in self.steps}
        after = tuple(_get_id(one) for one in wave if step.id in one.after and _get_id(one) in added)
        self.steps.append(replace(inverse, id=_get_id(step), after=after, changes=(), wave=0))
        self.payloads |= inverse_payloads


async def undo_wave(
    wave: Sequence[Outcome],
    earlier: Sequence[Step],
    guard_context: GuardContext,
    context: ExecutionContext,
    log: RunLog,
) -> tuple[Diagnostic, ...]:
    """Undo what a wave did, last step first.

    The previous content of a node comes from the observations of this pass, in memory; it is not stored. A
    failed step may have had an effect: its node is read, and a partial effect is undone too. A step that was
    undone ends as undone in the run that performed it.

    Args:
        wave: the outcomes of the wave's steps, in the plan's order.
        earlier: steps of the wave that an earlier run performed: their nodes' previous content is not known.
        guard_context: the cluster as it was observed.
        context: what the steps were performed with; a product that cannot undo gives no inverse.
        log: the run that performed the steps.

    Returns:
        A finding for each step that was not undone, or may still take effect.
    """
    undo = _UndoPlan(guard_context, context.driver)
    steps = [outcome.step for outcome in wave if outcome.sent]
    for outcome in reversed(wave):
        if outcome.sent:
            await _plan_undo(outcome, steps, undo, context)
    not_stored = "an earlier run sent it, and the previous content of the node is not stored"
    undo.findings += [_report_not_undone(step, not_stored) for step in earlier]
    if not undo.steps:
        return tuple(undo.findings)
    plan = replace(
        guard_context.plan, unchanged=0, steps=tuple(undo.steps), findings=(), payloads=undo.payloads
    )
    rejected = log.revision
    title = f"undo of {rejected.short or rejected.id}" + (f": {rejected.title}" if rejected.title else "")
    whole = Plan(replace(rejected, title=title), __version__, (plan,))
    own = await log.begin(TRIGGER, whole)
    # A stop does not apply here: a wave that is half undone is worse than one that is late.
    own_context = replace(context, payloads=plan.payloads, log=own, stop=asyncio.Event(), stale={})
    perform = partial(run_step, context=own_context)
    await StepScheduler(
        plan.steps, max(1, plan.concurrency), perform, own.record_skipped, asyncio.Event()
    ).run()
    outcomes = tuple(own.outcomes[step.id] for step in plan.steps)
    await own.finish_run(RunReport(own.run, whole, outcomes).exit_status, f"undoes steps of run {log.run}")
    undone: list[StepEnd] = []
    for step in steps:
        ended = own.outcomes.get(_get_id(step))
        if ended is not None and ended.state in SUCCESSES:
            before, reason = log.outcomes[step.id], f"its wave failed its gates; run {own.run} undid it"
            undone.append(StepEnd(Outcome(before.step, State.UNDONE, reason, before.seconds)))
        elif ended is not None:
            undo.findings.append(_report_not_undone(step, ended.reason))
    await log.record_outcomes(undone)
    return tuple(undo.findings)


async def _plan_undo(
    outcome: Outcome, steps: Sequence[Step], undo: _UndoPlan, context: ExecutionContext
) -> None:
    """Add the inverse of one step, or a finding; of a failed step, by what its node shows now."""
    step = outcome.step
    why = step.inverse.words or "the product cannot undo it"
    if outcome.state is State.DONE:
        undo.add(step, steps, why)
        return
    seen = await context.driver.observe_step(
        step, restrict_to_reading(context.transports, context.driver.reads)
    )
    verdict = judge_step(step, context.driver, seen)
    match verdict.status:
        case StepStatus.DONE:
            undo.add(step, steps, why)
        case StepStatus.READY if outcome.refused:
            return
        case _ if outcome.state in OPEN or verdict.status is StepStatus.READY:
            # The call may still take effect. An inverse that is sent now could come before it, and be lost.
            undo.findings.append(
                Diagnostic(
                    Severity.ERROR,
                    UNCERTAIN,
                    f"{step.id} was sent and the effect is not visible; it may still take effect on "
                    f"{step.node}, so it was not undone",
                    "check the node again in a few minutes; a later run also reads it",
                    target=f"{step.cluster}/{step.node}",
                )
            )
        case StepStatus.CHANGED:
            undo.add(step, steps, f"{verdict.reason}; {why}", seen)
        case StepStatus.UNKNOWN:
            inconclusive = f"the node's answer is not conclusive: {verdict.reason}"
            undo.findings.append(_report_not_undone(step, inconclusive))


def _get_id(step: Step) -> str:
    return f"{step.id}/undo"


def _report_not_undone(step: Step, why: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "not-undone",
        f"{step.id} was not undone: {why}",
        "check the node, then revert the commit or undo the step by hand",
        target=f"{step.cluster}/{step.node}",
    )
