"""One step: look, write down the intent, act once, and believe only what is read afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from reconciler.core.outcome import OPEN, Outcome, State
from reconciler.core.plan import Payload, Step, refuse_missing_secrets
from reconciler.core.secret import find_secrets
from reconciler.core.step import StepStatus, StepVerdict
from reconciler.core.timestamps import Clock
from reconciler.errors import NodeError, NodeUnreachable, ReconcilerError, SecretError
from reconciler.host.aio import run_unless_stopped
from reconciler.host.clock import utc_now
from reconciler.planning.masked_transports import mask_transports
from reconciler.ports.driver import Driver, StepAnswer
from reconciler.ports.store import StepEnd
from reconciler.ports.transport import Transports
from reconciler.rollout.polling import assess_step, wait_until_clear, wait_until_done
from reconciler.rollout.run_log import RunLog
from reconciler.secrets.redaction import Redactor, hide_by_key

STOPPED = "the run was asked to stop before this step"
"""Reason of steps that a stop kept from starting."""

_NOTHING = Payload(None)


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """What the steps of one cluster are performed with.

    Args:
        log: where each intent goes before the call, and each outcome after it.
        stop: once set, nothing more is sent.
        clock: gives the moment of an intent, from which a call under way is counted.
        stale: step -> why it must not be performed.
    """

    driver: Driver[Any, Any]
    transports: Transports
    payloads: Mapping[str, Payload]
    log: RunLog
    stop: asyncio.Event
    clock: Clock = utc_now
    stale: Mapping[str, str] = field(default_factory=dict)

    def of(self, step: Step) -> ExecutionContext:
        """The same for one step; a stop does not reach one that has to follow those before it at once."""
        return replace(self, stop=asyncio.Event()) if step.follows_at_once else self


async def execute_step(step: Step, bench: ExecutionContext) -> State:
    """Take up one step, and write down how it ended.

    Raises:
        StateError: the journal could not be written; no call was made that it does not know of.
    """
    bench = bench.of(step)
    bench.log.take_up(step)
    why = bench.stale.get(step.id, "")
    ending = await skip_step(step, bench, why) if why else await perform_step(step, bench)
    await bench.log.conclude([ending])
    return ending.outcome.state


async def perform_step(step: Step, bench: ExecutionContext) -> StepEnd:
    """The end of one step, told without what the node had or was sent as a secret; see `_performed`.

    Raises:
        StateError: the intent could not be written down, so nothing was sent.
    """
    redactor = Redactor(_clear_texts(step, bench.payloads.get(step.payload, _NOTHING)))
    own = replace(bench, transports=mask_transports(bench.transports, redactor))
    ending = await _performed(step, own)
    # The verdict may quote what the node shows, which is data on the way and is not masked there.
    outcome = replace(
        ending.outcome,
        reason=redactor.text(ending.outcome.reason),
        waiting_for_restart=tuple(map(redactor.text, ending.outcome.waiting_for_restart)),
    )
    return replace(ending, outcome=outcome, answer=redactor.text(ending.answer))


async def _performed(step: Step, bench: ExecutionContext) -> StepEnd:
    """The end of one step.

    Not performed: where the effect is there already (found), where the world is not as planned
    (changed), where the nodes' answers do not tell or the run was stopped (skipped), and where a
    person has to act (waiting). Performed: done where the effect shows; failed where the nodes show
    that it does not, and no call can be under way any more; unknown where they do not tell, where nobody
    answered for the call, and where this run was stopped before its time was over; offered where what was
    sent lies ready for the node to take. What the call itself answered never counts as the effect.

    Raises:
        StateError: the intent could not be written down, so nothing was sent.
    """
    verdict = await run_unless_stopped(bench.stop, wait_until_clear(step, bench.driver, bench.transports))
    if verdict is None:
        return StepEnd(Outcome(step, State.SKIPPED, STOPPED))
    if verdict.status is not StepStatus.READY or step.waits_for_person:
        return StepEnd(_unperformed(step, verdict))
    if bench.stop.is_set():
        return StepEnd(Outcome(step, State.SKIPPED, STOPPED))
    payload = bench.payloads.get(step.payload, _NOTHING)
    try:
        refuse_missing_secrets(payload)
    except SecretError as lacking:
        return StepEnd(Outcome(step, State.SKIPPED, f"nothing was sent: {lacking}"))
    now = asyncio.get_running_loop().time
    began, intended = now(), bench.clock()
    # The intent, with the try that it counts, is on disk before the call: a run that is killed in between has
    # counted one try too many, but no call is ever unknown to the journal.
    await bench.log.intend(step)
    done, error = await _act(step, bench)
    offered = done is not None and done.offered
    # An offer is taken when the node next asks, which may be long after this pass: one look is enough.
    seconds = 0.0 if offered or _is_over(error) else step.settle
    asked = now()
    # Whether the step is done is read from the nodes; the answer to the call only says how long to wait.
    verdict = await wait_until_done(step, bench.driver, bench.transports, seconds=seconds, stop=bench.stop)
    interrupted = bench.stop.is_set() and now() - asked < seconds
    lasts = step.in_flight if offered else _lasts(step, error, asked - began, interrupted=interrupted)
    # Counted from before the intent: a later run knows that moment from the journal, and no other one.
    until = intended + timedelta(seconds=lasts) if lasts > now() - began else None
    state = _state(verdict, is_open=until is not None, is_offered=offered)
    outcome = Outcome(
        step,
        state,
        _reason(state, verdict, error, done),
        round(now() - began, 3),
        done.waiting_for_restart if done else (),
        sent=not _is_unsent(error),
        refused=isinstance(error, NodeError) and error.is_final,
    )
    return StepEnd(
        outcome,
        answer=done.words if done else str(error),
        facts=done.facts if done else {},
        spent=done.spent if done else {},
        until=until if state in OPEN else None,
    )


async def skip_step(step: Step, bench: ExecutionContext, why: str) -> StepEnd:
    """The end of a step that must not be performed: found where its effect is there already, else changed."""
    redactor = Redactor(_clear_texts(step, bench.payloads.get(step.payload, _NOTHING)))
    verdict = await assess_step(step, bench.driver, bench.transports)
    if verdict.status is StepStatus.DONE:
        return StepEnd(Outcome(step, State.FOUND, redactor.text(verdict.reason)))
    return StepEnd(Outcome(step, State.CHANGED, why))


def _clear_texts(step: Step, payload: Payload) -> set[str]:
    """What a node may quote from what it was sent or has, and nobody may read."""
    sent = [secret for _, secret in find_secrets(hide_by_key("", payload.document))]
    had = [secret for change in step.changes for _, secret in find_secrets(change.old)]
    # The value of a secret that is not known here is its reference, which tells where to look for it.
    return {str(secret.value) for secret in (*sent, *had) if not secret.missing}


async def _act(step: Step, bench: ExecutionContext) -> tuple[StepAnswer | None, ReconcilerError | None]:
    try:
        return await bench.driver.act(step, bench.transports, bench.payloads), None
    except ReconcilerError as error:
        return None, error


def _is_unsent(error: ReconcilerError | None) -> bool:
    """Whether a call failed before anything could reach the node."""
    if isinstance(error, NodeUnreachable):
        return not error.sent
    return error is not None and not isinstance(error, NodeError)


def _is_over(error: ReconcilerError | None) -> bool:
    """Whether an error says that no effect is on its way, so that one look is enough."""
    return error is not None and not (isinstance(error, NodeError) and error.is_lost)


def _lasts(step: Step, error: ReconcilerError | None, took: float, *, interrupted: bool) -> float:
    """Seconds after the intent for which the call may still take effect, given how it was answered.

    A call that nobody answered for may be under way long after its connection was closed. One that was
    answered has the time to settle, which is over unless this run was stopped in the midst of it.
    """
    if isinstance(error, NodeError) and error.is_lost:
        return max(step.in_flight, took + step.settle)
    return took + step.settle if interrupted and not _is_over(error) else 0.0


def _unperformed(step: Step, verdict: StepVerdict) -> Outcome:
    reason = verdict.reason
    match verdict.status:
        case StepStatus.DONE:
            return Outcome(step, State.FOUND, reason)
        case StepStatus.CHANGED:
            return Outcome(step, State.CHANGED, reason or "the nodes are no longer as they were when planned")
        case StepStatus.UNKNOWN:
            return Outcome(step, State.SKIPPED, f"nothing was sent: {reason or 'the nodes do not tell'}")
        case StepStatus.READY:
            return Outcome(step, State.WAITING, reason or step.needs)


def _state(verdict: StepVerdict, *, is_open: bool, is_offered: bool) -> State:
    if verdict.status is StepStatus.DONE:
        return State.DONE
    if is_offered:
        return State.OFFERED
    return State.UNKNOWN if is_open or verdict.status is StepStatus.UNKNOWN else State.FAILED


def _reason(
    state: State, verdict: StepVerdict, error: ReconcilerError | None, done: StepAnswer | None
) -> str:
    """What happened, as one sentence: the read first where it succeeded, the call first where not."""
    if state is State.DONE:
        lost = f"the call itself failed ({_why(error)}), its effect shows" if error else ""
        return "; ".join(part for part in (lost, verdict.reason) if part)
    if state is State.OFFERED:
        return f"{done.words if done and done.words else 'it lies ready'}; the node has not taken it yet"
    if error is not None:
        call = _why(error)
    else:
        call = f"the node answered {done.words!r}" if done and done.words else "the call was made"
    shown = "whether it took effect is not known" if state is State.UNKNOWN else "its effect does not show"
    return f"{call}; {shown}" + (f": {verdict.reason}" if verdict.reason else "")


def _why(error: ReconcilerError | None) -> str:
    return error.reason if isinstance(error, NodeError) else str(error)
