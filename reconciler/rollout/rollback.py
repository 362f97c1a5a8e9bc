"""Undoes a failed wave: the inverse of each of its steps, journalled as a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler import __version__
from reconciler.core import attempts
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Observed
from reconciler.core.outcome import OPEN, SUCCESSES, Outcome, RunReport, State
from reconciler.core.plan import UNDO, Payload, Plan, Step, list_earlier_steps
from reconciler.core.step_status import StepStatus
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.driver import Driver
from reconciler.ports.store import StepEnd
from reconciler.ports.transport import OfferedContent
from reconciler.rollout.polling import judge_step
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import ExecutionContext, run_step
from reconciler.rollout.step_scheduler import StepScheduler
from reconciler.text.one_line import join_some

UNCERTAIN = "effect-uncertain"
"""Code of the finding that a failed step may still take effect."""

TAKEN_BACK = "node-taken-back"
"""Code of the finding that a node got what it had before, because it was down with what it was sent."""

OFFERED_BACK = "offered-back"
"""Code of the finding that nodes are offered what they had before their wave failed."""

LASTS: Final = 86_400.0
"""Seconds for which a node is offered what it had before: nothing repeats this offer if it misses it."""

_NAMED = 3

TRIGGER = "undo"
"""The trigger of such a run, in the history."""


TakenOffer = tuple[Step | None, OfferedContent]
"""The step of an offer that its node has taken, and the offer; no step if this version cannot make one."""


@dataclass(slots=True)
class _UndoPlan:
    """The inverse steps of a wave, in reverse order, and findings about steps that cannot be undone."""

    guard_context: GuardContext
    driver: Driver[Any, Any]
    steps: list[Step] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    offers: set[str] = field(default_factory=set)
    _undone: dict[str, Step] = field(default_factory=dict)

    def add_offer(self, step: Step | None, offered: OfferedContent) -> None:
        """Add the offer of what a node had before, or a finding if that is not known."""
        undo = self.driver.undo_offer(step, offered) if step is not None else None
        if step is None or undo is None:
            why = "what the node had before the offer is not known"
            offer = offered.offer
            self.findings.append(_report_not_undone(offer.step, f"{offer.cluster}/{offer.node}", why))
            return
        inverse, inverse_payloads = undo
        lasts = max(inverse.in_flight, LASTS)
        self.steps.append(replace(inverse, id=_get_id(step), after=(), changes=(), wave=0, in_flight=lasts))
        self.payloads |= inverse_payloads
        self.offers.add(_get_id(step))

    def add(self, step: Step, *, why: str, shown: Observed[Any] | None = None) -> None:
        """Add the inverse of a step, or a finding if it has none.

        Args:
            step: the step to undo.
            why: why it cannot be undone, if it has no inverse.
            shown: what the step's nodes show, if it took effect in part.
        """
        observed, payloads = self.guard_context.observed, self.guard_context.plan.payloads
        if shown is None:
            undo = self.driver.undo(step, observed, payloads)
        else:
            undo = self.driver.undo_part(step, observed, payloads, shown)
        if undo is None:
            self.findings.append(_report_step_not_undone(step, why))
            return
        inverse, inverse_payloads = undo
        self.steps.append(replace(inverse, id=_get_id(step), after=(), changes=(), wave=0))
        self.payloads |= inverse_payloads
        self._undone[_get_id(step)] = step

    def order_steps(self) -> tuple[Step, ...]:
        """The inverse steps with what each waits for, in an order that respects it."""
        waits: dict[str, list[str]] = {step.id: [] for step in self.steps}
        for later_id, later in self._undone.items():
            for earlier_id in (f"{name}{UNDO}" for name in later.after):
                if earlier_id not in waits:
                    continue
                # A step is undone after those that depend on it, but before one that brings in what it left.
                first, second = (
                    (earlier_id, later_id) if later.arguments.undone_last else (later_id, earlier_id)
                )
                waits[second].append(first)
        left = {step.id: replace(step, after=tuple(waits[step.id])) for step in self.steps}
        ordered: list[Step] = []
        while left:
            ready = next(one for one in left.values() if not left.keys() & set(one.after))
            ordered.append(left.pop(ready.id))
        return tuple(ordered)


@dataclass(frozen=True, slots=True)
class FailedWave:
    """What a failed wave did.

    Args:
        outcomes: of the wave's steps in this run, in the plan's order.
        earlier: steps that an earlier run performed: their nodes' previous content is not known.
        taken: offers that their nodes have taken and that have to be taken back, of whatever run: the store
            has what each node had before.
        why: it is undone.
    """

    outcomes: Sequence[Outcome]
    earlier: Sequence[Step] = ()
    taken: Sequence[TakenOffer] = ()
    why: str = "its wave failed its gates"


async def take_back_nodes(
    guard_context: GuardContext, context: ExecutionContext, log: RunLog
) -> tuple[Diagnostic, ...]:
    """Undo, for each node that a failed step may have left down, what this run did to it before.

    Whatever the rollout says: down, with the content that it does not start with, is the worst state of a
    node. What was taken back is not sent to it again until it changes. A step that an earlier run prepared
    is left alone: what the node had before that is for the next pass to find out.

    Returns:
        A finding for each such node, and for each step that was not undone.
    """
    findings: list[Diagnostic] = []
    for failed in list(log.outcomes.values()):
        if failed.state is not State.FAILED or not failed.sent or not failed.step.arguments.undone_alone:
            continue
        plan, driver = guard_context.plan, context.driver
        before = [
            outcome
            for step in list_earlier_steps(failed.step, plan.steps)
            if (outcome := log.outcomes.get(step.id)) is not None
            and (outcome.sent and outcome.state is State.DONE)
            and driver.undo(step, guard_context.observed, plan.payloads) is not None
        ]
        if all(one.step.arguments.is_preparation for one in before):
            continue
        seen = await driver.observe_step(failed.step, restrict_to_reading(context.transports, driver.reads))
        # Ready again, it runs as before: the call had no effect. Unknown, it may still come back.
        if judge_step(failed.step, driver, seen).status is not StepStatus.CHANGED:
            continue
        why = f"{failed.step.action} failed, and left the node down with it"
        wave = FailedWave([*before, failed], why=why)
        findings += await undo_wave(wave, guard_context, context, log)
        if all(log.outcomes[one.step.id].state is State.UNDONE for one in wave.outcomes):
            findings.append(await _end_attempts(failed, before, guard_context, log))
    return tuple(findings)


async def _end_attempts(
    failed: Outcome, before: Sequence[Outcome], guard_context: GuardContext, log: RunLog
) -> Diagnostic:
    """Let no later run send again what was taken back from a node; gives the finding that tells it."""
    cluster, node = failed.step.cluster, failed.step.node
    facts: dict[str, str] = {}
    for one in before:
        refused = replace(one, state=State.FAILED, reason=failed.reason, refused=True)
        known = guard_context.attempts.get(one.step.id, {})
        facts |= {key: attempts.note_failure(text, refused) for key, text in known.items()}
    # After the way back: a run that is killed in between sends it once more, and gets here again.
    await log.store.store_facts(cluster, {node: facts})
    return Diagnostic(
        Severity.ERROR,
        TAKEN_BACK,
        f"{failed.step.id} failed ({failed.reason}): {node} has what it had before, and runs with it",
        "commit a fix; what was taken back is not sent to the node again until it changes",
        target=f"{cluster}/{node}",
    )


async def undo_wave(
    wave: FailedWave, guard_context: GuardContext, context: ExecutionContext, log: RunLog
) -> tuple[Diagnostic, ...]:
    """Undo what a wave did, last step first.

    The previous content of a node comes from the observations of this pass, in memory; it is not stored,
    except for offers. A failed step may have had an effect: its node is read, and a partial effect is undone
    too. A step that was undone ends as undone in the run that performed it; one whose node is offered what it
    had before does not, because nothing shows yet that the node takes it.

    Args:
        wave: what it did.
        guard_context: the cluster as it was observed.
        context: what the steps were performed with; a product that cannot undo gives no inverse.
        log: the run that performed the steps.

    Returns:
        A finding for each step that was not undone, or may still take effect.
    """
    undo = _UndoPlan(guard_context, context.driver)
    steps = [one.step for one in wave.outcomes if one.sent and not one.step.arguments.is_offer]
    for outcome in reversed(wave.outcomes):
        if outcome.sent and not outcome.step.arguments.is_offer:
            await _plan_undo(outcome, undo, context)
    for own_step, offered in reversed(wave.taken):
        undo.add_offer(own_step, offered)
    not_stored = "an earlier run sent it, and the previous content of the node is not stored"
    undo.findings += [
        _report_step_not_undone(step, not_stored) for step in wave.earlier if not step.arguments.is_offer
    ]
    if undo.steps:
        own = await _run_undo(undo, context, log)
        undone: list[StepEnd] = []
        for step in steps:
            ended = own.outcomes.get(_get_id(step))
            if ended is not None and ended.state in SUCCESSES:
                before, reason = log.outcomes[step.id], f"{wave.why}; run {own.run} undid it"
                undone.append(StepEnd(Outcome(before.step, State.UNDONE, reason, before.seconds)))
            elif ended is not None:
                undo.findings.append(_report_step_not_undone(step, ended.reason))
        await log.record_outcomes(undone)
        offers = [step for step, _ in wave.taken if step is not None]
        undo.findings += _report_offers(offers, own, guard_context.plan.cluster)
    return tuple(undo.findings)


async def _run_undo(undo: _UndoPlan, context: ExecutionContext, log: RunLog) -> RunLog:
    """Perform the inverse steps as a run of its own; gives its log."""
    plan = replace(
        undo.guard_context.plan, unchanged=0, steps=undo.order_steps(), findings=(), payloads=undo.payloads
    )
    rejected = log.revision
    title = f"undo of {rejected.short or rejected.id}" + (f": {rejected.title}" if rejected.title else "")
    whole = Plan(replace(rejected, title=title), __version__, (plan,))
    own = await log.begin(TRIGGER, whole)
    # A stop does not apply here: a wave that is half undone is worse than one that is late.
    own_context = replace(context, payloads=plan.payloads, log=own, stop=asyncio.Event(), stale={})
    if context.for_run is not None:
        own_context = replace(own_context, transports=context.for_run(own.run, rejected))
    forced = replace(own_context, is_forced=True)

    async def perform(step: Step) -> State:
        return await run_step(step, forced if step.id in undo.offers else own_context)

    await StepScheduler(
        plan.steps, max(1, plan.concurrency), perform, own.record_skipped, asyncio.Event()
    ).run()
    outcomes = tuple(own.outcomes[step.id] for step in plan.steps)
    await own.finish_run(RunReport(own.run, whole, outcomes).exit_status, f"undoes steps of run {log.run}")
    return own


def _report_offers(steps: Sequence[Step], undoing: RunLog, cluster: str) -> Iterator[Diagnostic]:
    """Findings about the nodes that are offered what they had before."""
    offered: list[str] = []
    for step in steps:
        ended = undoing.outcomes.get(_get_id(step))
        if ended is None or ended.state in SUCCESSES:
            continue
        if ended.state is State.OFFERED:
            offered.append(step.node)
        else:
            yield _report_step_not_undone(step, ended.reason)
    if offered:
        names = join_some(sorted(offered), _NAMED)
        words = f"run {undoing.run} offers {len(offered)} nodes what they had before ({names})"
        yield Diagnostic(Severity.NOTE, OFFERED_BACK, words, target=cluster)


async def _plan_undo(outcome: Outcome, undo: _UndoPlan, context: ExecutionContext) -> None:
    """Add the inverse of one step, or a finding; of a failed step, by what its node shows now."""
    step = outcome.step
    why = step.inverse.words or "the product cannot undo it"
    if outcome.state is State.DONE and not step.arguments.undone_last:
        undo.add(step, why=why)
        return
    seen = await context.driver.observe_step(
        step, restrict_to_reading(context.transports, context.driver.reads)
    )
    verdict = judge_step(step, context.driver, seen)
    if step.arguments.undone_last and outcome.state not in OPEN:
        # What it brought in is taken back first. The inverse starts from what the node shows by now.
        if not outcome.refused:
            undo.add(step, why=why, shown=seen)
        return
    match verdict.status:
        case StepStatus.DONE:
            undo.add(step, why=why, shown=seen if step.arguments.undone_last else None)
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
            undo.add(step, why=f"{verdict.reason}; {why}", shown=seen)
        case StepStatus.UNKNOWN:
            inconclusive = f"the node's answer is not conclusive: {verdict.reason}"
            undo.findings.append(_report_step_not_undone(step, inconclusive))


def _get_id(step: Step) -> str:
    return f"{step.id}{UNDO}"


def _report_step_not_undone(step: Step, why: str) -> Diagnostic:
    return _report_not_undone(step.id, f"{step.cluster}/{step.node}", why)


def _report_not_undone(step: str, target: str, why: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "not-undone",
        f"{step} was not undone: {why}",
        "check the node, then revert the commit or undo the step by hand",
        target=target,
    )
