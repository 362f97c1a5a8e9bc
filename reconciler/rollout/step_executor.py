"""Executes one step: read the node, journal the intent, call once, and trust only the reading afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from reconciler.core.offers import OfferFeed
from reconciler.core.outcome import OPEN, Outcome, State
from reconciler.core.plan import Payload, Revision, Step, refuse_missing_secrets
from reconciler.core.secret import find_secrets
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.core.timestamps import Clock
from reconciler.errors import (
    NodeError,
    NodeUnreachable,
    ReconcilerError,
    ReservedMeanwhile,
    SecretError,
    StateError,
    SuspendedMeanwhile,
)
from reconciler.host.aio import run_unless_stopped
from reconciler.host.clock import utc_now
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.withheld_findings import describe_differences
from reconciler.ports.call_permit import require_permit
from reconciler.ports.driver import Driver, StepAnswer
from reconciler.ports.store import StepEnd
from reconciler.ports.transport import Transports
from reconciler.rollout.known_reservations import KnownReservations
from reconciler.rollout.polling import assess_step, wait_until_clear, wait_until_done
from reconciler.rollout.run_log import RunLog
from reconciler.secrets.redaction import Redactor, hide_by_key

STOPPED = "the run was asked to stop before this step"
"""Reason of a step that was not started because the run was stopped."""

_NOTHING = Payload(None)


_REDACTORS = 16
"""Redactors that are kept: most nodes are sent one setting, but each may have secrets of its own."""


@dataclass(slots=True)
class StepRedactors:
    """Masks the secrets in what a node was sent or has; its answers may quote them."""

    _sent: dict[str, frozenset[str]] = field(init=False, default_factory=dict, repr=False)
    _made: dict[frozenset[str], Redactor] = field(init=False, default_factory=dict, repr=False)

    def take(self, step: Step, payload: Payload) -> Redactor:
        """The redactor of one step; steps with the same secrets share it."""
        if step.payload not in self._sent:
            _drop_oldest(self._sent)
            self._sent[step.payload] = _list_clear(hide_by_key("", payload.document))
        known = self._sent[step.payload].union(*(_list_clear(change.old) for change in step.changes))
        if known not in self._made:
            _drop_oldest(self._made)
            self._made[known] = Redactor(known)
        return self._made[known]


def _drop_oldest(kept: dict[Any, Any]) -> None:
    if len(kept) >= _REDACTORS:
        del kept[next(iter(kept))]


def _list_clear(value: Any) -> frozenset[str]:
    """The secrets in a plain value."""
    # The value of a secret that is not known here is its reference, which tells where to look for it.
    return frozenset(str(secret.value) for _, secret in find_secrets(value) if not secret.missing)


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """What the steps of one cluster need.

    Args:
        log: takes each intent before the call, and each outcome after it.
        stop: once set, nothing more is sent.
        clock: dates each intent; the time in which a call may still take effect counts from there.
        stale: step -> why it must not be performed.
        for_run: gives the transports of another run, such as that of an undo.
        is_forced: whether steps are performed whatever their nodes show: the undo of an offer that a node has
            taken, and may still load.
        redactors: of its steps.
        reservations: of the cluster; a step is judged with them right before it is sent.
        despite_suspension: whether an override sets a suspension of the cluster aside.
    """

    driver: Driver[Any, Any]
    transports: Transports
    payloads: Mapping[str, Payload]
    log: RunLog
    stop: asyncio.Event
    clock: Clock = utc_now
    stale: Mapping[str, str] = field(default_factory=dict)
    for_run: Callable[[str, Revision], Transports] | None = None
    is_forced: bool = False
    redactors: StepRedactors = field(default_factory=StepRedactors, repr=False)
    reservations: KnownReservations = field(default_factory=KnownReservations, repr=False)
    despite_suspension: bool = False


async def run_step(step: Step, context: ExecutionContext) -> State:
    """Take up one step, and journal its outcome.

    Raises:
        StateError: the journal could not be written; it has the intent of every call that was made.
    """
    if step.arguments.runs_after_stop:
        # The steps before it left the cluster in a state that must not last, so a stop does not apply to it.
        context = replace(context, stop=asyncio.Event())
    context.log.announce_start(step)
    why = context.stale.get(step.id, "")
    ending = await skip_step(step, context, why) if why else await run_step_masked(step, context)
    await context.log.record_outcomes([ending])
    return ending.outcome.state


async def run_step_masked(step: Step, context: ExecutionContext) -> StepEnd:
    """The end of one step, with every secret masked that the node had or was sent; see `_call_and_read_back`.

    Raises:
        StateError: the intent could not be written, so nothing was sent.
    """
    redactor = context.redactors.take(step, context.payloads.get(step.payload, _NOTHING))
    own = replace(context, transports=mask_transports(context.transports, redactor))
    try:
        ending = await _call_and_read_back(step, own)
    except SuspendedMeanwhile as error:
        return StepEnd(Outcome(step, State.SKIPPED, error.message))
    # The verdict may quote what the node shows, which transports leave unmasked because it is compared.
    outcome = replace(
        ending.outcome,
        reason=redactor.redact_text(ending.outcome.reason),
        waiting_for_restart=tuple(map(redactor.redact_text, ending.outcome.waiting_for_restart)),
        feedback=ending.outcome.feedback.redact(redactor.redact_text),
    )
    return replace(ending, outcome=outcome, answer=redactor.redact_text(ending.answer))


async def _call_and_read_back(step: Step, context: ExecutionContext) -> StepEnd:
    """The end of one step.

    Not performed: the effect is visible already (found), the nodes are not as planned (changed), the nodes'
    answers are not conclusive or the run was stopped (skipped), an operator has to act (waiting).
    Performed: the effect is visible (done); it is not, and no call can take effect any more (failed); the
    nodes' answers are not conclusive, the call was not answered, or the run was stopped early (unknown); the
    content is left for the node to take (offered). The answer to the call never counts as the effect, except
    where nodes do not show the effect at all.

    Raises:
        StateError: the intent could not be written, so nothing was sent.
    """
    # A plan may be hours old: the step is judged again by a fresh reading right before its call.
    driver, transports = context.driver, context.transports
    verdict = await run_unless_stopped(context.stop, _judge_before(step, context))
    if verdict is None:
        return StepEnd(Outcome(step, State.SKIPPED, STOPPED))
    is_forced = context.is_forced and not context.reservations.is_held(step)
    if (verdict.status is not StepStatus.READY and not is_forced) or step.is_manual:
        return StepEnd(replace(_unperformed(step, verdict), feedback=verdict.feedback))
    if context.stop.is_set():
        return StepEnd(Outcome(step, State.SKIPPED, STOPPED))
    payload = context.payloads.get(step.payload, _NOTHING)
    try:
        refuse_missing_secrets(payload)
    except SecretError as missing:
        return StepEnd(Outcome(step, State.SKIPPED, f"nothing was sent: {missing}"))
    now = asyncio.get_running_loop().time
    began, intended = now(), context.clock()
    # The intent, with the attempt that it counts, is on disk before the call: a run that is killed in between
    # has counted one attempt too many, but the journal knows of every call.
    if not await _record_intent(step, context):
        return await _call_and_read_back(step, context)
    answer, error = await _call(step, context)
    offered = answer is not None and answer.is_pending
    # The node takes an offer when it next asks, which may be long after this pass: one reading is enough.
    seconds = 0.0 if offered or _is_over(error) else step.settle
    called = now()
    # Whether the step is done is read from the nodes; the answer to the call only says how long to wait.
    verdict = await wait_until_done(
        step, driver, transports, seconds=seconds, stop=context.stop, is_answered=answer is not None
    )
    interrupted = context.stop.is_set() and now() - called < seconds
    lifetime = (
        step.in_flight if offered else _get_lifetime(step, error, called - began, interrupted=interrupted)
    )
    # Counted from before the intent: this is the only moment that a later run finds in the journal.
    until = intended + timedelta(seconds=lifetime) if lifetime > now() - began else None
    state = _decide_state(verdict, is_open=until is not None, is_offered=offered)
    if offered and state is State.DONE and not context.is_forced:
        # It got the content in another way meanwhile, and nothing waits for this offer any more. The way back
        # stays: a node that shows what it had before may still load what it took.
        await context.log.store.withdraw(step.cluster, [step.node], OfferFeed.SETTING)
    outcome = Outcome(
        step,
        state,
        _explain(step, state, verdict, error, answer),
        round(now() - began, 3),
        answer.waiting_for_restart if answer else (),
        # An error that is no NodeError, such as a missing tool, was raised here before any call.
        sent=error.sent
        if isinstance(error, NodeUnreachable)
        else error is None or isinstance(error, NodeError),
        refused=(verdict.is_final and not offered) or (isinstance(error, NodeError) and error.is_final),
        feedback=answer.feedback.merge(verdict.feedback) if answer else verdict.feedback,
    )
    return StepEnd(
        outcome,
        answer=answer.text if answer else str(error),
        facts=answer.facts if answer else {},
        used_confirmations=answer.used_confirmations if answer else {},
        until=until if state in OPEN else None,
    )


async def _judge_before(step: Step, context: ExecutionContext) -> StepVerdict:
    """The status of a step right before it is sent; unknown while a reservation holds it back."""
    reservations, driver = context.reservations, context.driver
    if hold := reservations.find_hold(step, driver):
        return StepVerdict(StepStatus.UNKNOWN, f"{step.node}: {hold.why}")
    return await wait_until_clear(step, driver, context.transports, reservations.nodes)


async def _record_intent(step: Step, context: ExecutionContext) -> bool:
    """Journal the intent; False if a node was reserved since the step was judged."""
    ids = context.reservations.ids
    # A step that ends what must not last is sent after a suspension, as it is after a stop.
    despite = context.despite_suspension or step.arguments.runs_after_stop
    try:
        await context.log.record_intent(step, ids, despite_suspension=despite)
    except ReservedMeanwhile:
        await context.reservations.read()
        return False
    return True


async def skip_step(step: Step, context: ExecutionContext, why: str) -> StepEnd:
    """The end of a step that must not be performed: found if its effect is visible already, else changed."""
    redactor = context.redactors.take(step, context.payloads.get(step.payload, _NOTHING))
    verdict = await assess_step(step, context.driver, context.transports)
    if verdict.status is StepStatus.DONE:
        feedback = verdict.feedback.redact(redactor.redact_text)
        return StepEnd(Outcome(step, State.FOUND, redactor.redact_text(verdict.reason), feedback=feedback))
    return StepEnd(Outcome(step, State.CHANGED, why))


async def _call(step: Step, context: ExecutionContext) -> tuple[StepAnswer | None, ReconcilerError | None]:
    try:
        with require_permit(partial(context.log.hold_for, step.cluster)):
            return await context.driver.act(step, context.transports, context.payloads), None
    except StateError:
        # The lock is gone, or nobody can say: this run writes nothing more, and the next one reads the node.
        raise
    except ReconcilerError as error:
        return None, error


def _is_over(error: ReconcilerError | None) -> bool:
    """Whether an error rules out a later effect, so that one reading is enough."""
    return error is not None and not (isinstance(error, NodeError) and error.is_lost)


def _get_lifetime(step: Step, error: ReconcilerError | None, took: float, *, interrupted: bool) -> float:
    """Seconds after the intent for which the call may still take effect, given how it was answered."""
    # A closed connection does not stop the server: it may finish its work long after we gave up. Called again
    # meanwhile, it might do the work twice, or the late first call might overwrite the second one.
    if isinstance(error, NodeError) and error.is_lost:
        return max(step.in_flight, took + step.settle)
    # A call that was answered has `settle` to become visible. Only a stop ends the wait before that.
    return took + step.settle if interrupted and not _is_over(error) else 0.0


def _unperformed(step: Step, verdict: StepVerdict) -> Outcome:
    reason = verdict.reason
    match verdict.status:
        case StepStatus.DONE:
            return Outcome(step, State.FOUND, reason)
        case StepStatus.CHANGED:
            return Outcome(step, State.CHANGED, reason or "the nodes have changed since the plan was made")
        case StepStatus.UNKNOWN:
            why = reason or "the nodes' answers are not conclusive"
            return Outcome(step, State.SKIPPED, f"nothing was sent: {why}")
        case StepStatus.READY:
            return Outcome(step, State.WAITING, reason or step.needs)


def _decide_state(verdict: StepVerdict, *, is_open: bool, is_offered: bool) -> State:
    if verdict.status is StepStatus.DONE:
        return State.DONE
    if is_offered:  # a report of a failure would be about an earlier offer
        return State.OFFERED
    if verdict.is_final:
        return State.FAILED
    # FAILED allows another attempt, so it needs both: the nodes show no effect, and none can come any more.
    return State.UNKNOWN if is_open or verdict.status is StepStatus.UNKNOWN else State.FAILED


def _explain(
    step: Step, state: State, verdict: StepVerdict, error: ReconcilerError | None, answer: StepAnswer | None
) -> str:
    """What happened, as one sentence: of a success the reading first, otherwise the call first."""
    why = error.reason if isinstance(error, NodeError) else str(error)
    words = answer.text if answer else ""
    if state is State.DONE:
        lost = f"the call failed ({why}), but the effect is visible" if error else ""
        return "; ".join(part for part in (lost, verdict.reason) if part)
    if state is State.OFFERED:
        return f"{words or 'the content is ready for the node'}; the node has not taken it yet"
    # The words of an accepted call are in the journal: they say nothing of why there is no effect.
    call = why if error is not None else "the node accepted the call"
    if state is State.UNKNOWN:
        effect = "it is unknown whether it took effect"
    elif error is None and verdict.status is StepStatus.READY and not verdict.reason:
        shown = describe_differences(step.changes)
        return f"{call}, and still shows what it showed before{shown}"
    else:
        effect = "the effect is not visible"
    return f"{call}; {effect}" + (f": {verdict.reason}" if verdict.reason else "")
