"""Takes a failed wave back: the inverse of each of its steps, journalled as a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from reconciler import __version__
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Observed
from reconciler.core.outcome import OPEN, SUCCESSES, Outcome, RunReport, State
from reconciler.core.plan import Payload, Plan, Revision, Step
from reconciler.core.step import StepStatus
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.driver import Driver, Undo
from reconciler.ports.store import StepEnd
from reconciler.rollout.polling import judge_step
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import ExecutionContext, execute_step
from reconciler.rollout.step_scheduler import StepScheduler

UNCERTAIN = "effect-uncertain"
"""Code of the finding that a step that failed may still take effect."""

TRIGGER = "undo"
"""What asks for such a run, in the history."""


@dataclass(slots=True)
class _Back:
    """The way back from a wave, in the making: the steps of it in reverse, and what has no way back."""

    case: GuardContext
    driver: Driver[Any, Any]
    steps: list[Step] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    def take(self, step: Step, wave: Sequence[Step], shown: Observed[Any] | None = None) -> bool:
        """Add the way back from a step; whether there is one.

        Args:
            step: what is to be taken back.
            wave: all steps that are; a step goes back after those that came after it.
            shown: what the step's nodes show, where it took effect in part.
        """
        found = self._found(step, shown)
        if found is None:
            return False
        own, carried = found
        ready = {one.id for one in self.steps}
        after = tuple(_id(one) for one in wave if step.id in one.after and _id(one) in ready)
        self.steps.append(replace(own, id=_id(step), after=after, changes=(), wave=0))
        self.payloads |= carried
        return True

    def _found(self, step: Step, shown: Observed[Any] | None) -> Undo | None:
        observed, payloads = self.case.observed, self.case.plan.payloads
        if shown is None:
            return self.driver.undo(step, observed, payloads)
        return self.driver.undo_part(step, observed, payloads, shown)


async def undo_wave(
    wave: Sequence[Outcome], earlier: Sequence[Step], case: GuardContext, bench: ExecutionContext, log: RunLog
) -> tuple[Diagnostic, ...]:
    """Undo what a wave did, last step first, whatever else is asked to stop meanwhile.

    What a step's node had before is taken from the survey's observations, in memory; it is written
    nowhere. A step that failed is not without effect: its node is read, and what shows of it is taken back
    too. A step that was taken back ends as undone in the run that did it.

    Args:
        wave: how the steps of the wave ended, in the plan's order.
        earlier: steps of it that an earlier run did: what their nodes had before is not known any more.
        case: the cluster as it was surveyed.
        bench: what the steps were performed with; a product that has no way back undoes nothing.
        log: the run that did the steps.

    Returns:
        A finding for each step that was not undone, or may still take effect.
    """
    back = _Back(case, bench.driver)
    steps = [outcome.step for outcome in wave if outcome.sent]
    for outcome in reversed(wave):
        if outcome.sent:
            await _plan_back(outcome, steps, back, bench)
    forgotten = "an earlier run sent it, and what the node had before is not kept"
    back.findings += [_kept(step, forgotten) for step in earlier]
    if not back.steps:
        return tuple(back.findings)
    plan = replace(case.plan, unchanged=0, steps=tuple(back.steps), findings=(), payloads=back.payloads)
    whole = Plan(_revision(log.revision), __version__, (plan,))
    own = await log.open_another(TRIGGER, whole)
    way = replace(bench, payloads=plan.payloads, log=own, stop=asyncio.Event(), stale={})
    perform = partial(execute_step, bench=way)
    await StepScheduler(plan.steps, max(1, plan.concurrency), perform, own.skip, asyncio.Event()).run()
    outcomes = tuple(own.outcomes[step.id] for step in plan.steps)
    await own.finish(RunReport(own.run, whole, outcomes).exit_status, f"takes back steps of run {log.run}")
    await log.conclude([_taken_back(step, own, log) for step in steps if _succeeded(own, step)])
    back.findings += [_kept(step, own.outcomes[_id(step)].reason) for step in _failed(steps, own)]
    return tuple(back.findings)


async def _plan_back(outcome: Outcome, steps: Sequence[Step], back: _Back, bench: ExecutionContext) -> None:
    """Add the way back from one step to the plan, or a finding; a failed step by what its node shows now."""
    step = outcome.step
    none = step.inverse.words or "the product has no way back"
    if outcome.state is State.DONE:
        if not back.take(step, steps):
            back.findings.append(_kept(step, none))
        return
    seen = await bench.driver.look(step, restrict_to_reading(bench.transports, bench.driver.reads))
    verdict = judge_step(step, bench.driver, seen)
    match verdict.status:
        case StepStatus.DONE:
            if not back.take(step, steps):
                back.findings.append(_kept(step, none))
        case StepStatus.READY if outcome.refused:
            return
        case _ if outcome.state in OPEN or verdict.status is StepStatus.READY:
            back.findings.append(_uncertain(step))  # while its call may be under way, nothing is sent
        case StepStatus.CHANGED:
            if not back.take(step, steps, seen):
                back.findings.append(_kept(step, f"{verdict.reason}; {none}"))
        case StepStatus.UNKNOWN:
            back.findings.append(_kept(step, f"its node does not tell: {verdict.reason}"))


def _revision(rejected: Revision) -> Revision:
    name = rejected.short or rejected.id
    return replace(rejected, title=f"back from {name}" + (f": {rejected.title}" if rejected.title else ""))


def _id(step: Step) -> str:
    return f"{step.id}/undo"


def _succeeded(own: RunLog, step: Step) -> bool:
    outcome = own.outcomes.get(_id(step))
    return outcome is not None and outcome.state in SUCCESSES


def _failed(steps: Iterable[Step], own: RunLog) -> list[Step]:
    return [step for step in steps if _id(step) in own.outcomes and not _succeeded(own, step)]


def _taken_back(step: Step, own: RunLog, log: RunLog) -> StepEnd:
    before = log.outcomes[step.id]
    reason = f"its wave failed its gates; run {own.run} took it back"
    return StepEnd(Outcome(before.step, State.UNDONE, reason, before.seconds))


def _uncertain(step: Step) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        UNCERTAIN,
        f"{step.id} was sent and its effect does not show; it may still take effect on {step.node}, and "
        "was not taken back",
        "look at the node again in a few minutes; a later run reads it, too",
        target=f"{step.cluster}/{step.node}",
    )


def _kept(step: Step, why: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "not-undone",
        f"{step.id} stays as it is: {why}",
        "look at the node, then revert the commit, or undo it by hand",
        target=f"{step.cluster}/{step.node}",
    )
