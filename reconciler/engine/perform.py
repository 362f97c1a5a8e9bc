"""One step: look, write down the intent, act once, and believe only what is read afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Payload, Step, refuse_unknown
from reconciler.core.ports import Done, Driver, Wire
from reconciler.core.secret import scrubbed, secrets
from reconciler.core.verdict import Standing, Verdict
from reconciler.engine.interruption import unless
from reconciler.engine.sight import standing, until_clear, until_done
from reconciler.errors import NodeError, NodeRefused, NodeUnreachable, ReconcilerError, SecretError
from reconciler.store.records import Ending

STOPPED = "the run was asked to stop before this step"
"""Reason of steps that a stop kept from starting."""

_SERVER_ERROR = 500
_NOTHING = Payload(None)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the steps of one cluster are performed with.

    Args:
        intend: writes down the intent; it is on disk when this returns.
        stop: once set, nothing more is sent.
    """

    driver: Driver[Any, Any]
    wire: Wire
    payloads: Mapping[str, Payload]
    intend: Callable[[Step], Awaitable[None]]
    stop: asyncio.Event


async def perform(step: Step, bench: Bench) -> Ending:
    """The end of one step.

    Not performed: where the effect is there already (found), where the world is not as planned
    (changed), where the nodes' answers do not tell or the run was stopped (skipped), and where a
    person has to act (waiting). Performed: done where the effect shows; failed where the nodes show
    that it does not; unknown where they do not tell. What the call itself answered decides nothing.

    Raises:
        StateError: the intent could not be written down, so nothing was sent.
    """
    verdict = await unless(bench.stop, until_clear(step, bench.driver, bench.wire))
    if verdict is None:
        return Ending(Outcome(step, State.SKIPPED, STOPPED))
    if verdict.standing is not Standing.READY or step.waits_for_person:
        return Ending(_unperformed(step, verdict))
    if bench.stop.is_set():
        return Ending(Outcome(step, State.SKIPPED, STOPPED))
    payload = bench.payloads.get(str(step.arguments.get("payload", "")), _NOTHING)
    try:
        refuse_unknown(payload)
    except SecretError as lacking:
        return Ending(Outcome(step, State.SKIPPED, f"nothing was sent: {lacking}"))
    now = asyncio.get_running_loop().time
    began = now()
    await bench.intend(step)
    done, error = await _act(step, bench)
    seconds = 0.0 if _final(error) else step.settle
    asked = now()
    verdict = await until_done(step, bench.driver, bench.wire, seconds=seconds, stop=bench.stop)
    state = _state(verdict, cut=bench.stop.is_set() and now() - asked < seconds)
    known = _clear_texts(payload)
    return Ending(
        Outcome(
            step,
            state,
            scrubbed(_reason(state, verdict, error, done), known),
            round(now() - began, 3),
            done.waiting_for_restart if done else (),
        ),
        answer=scrubbed(done.words if done else str(error), known),
        facts=done.facts if done else {},
        spent=done.spent if done else {},
    )


async def passed_over(step: Step, bench: Bench, why: str) -> Ending:
    """The end of a step that must not be performed: found where its effect is there already, else changed."""
    verdict = await standing(step, bench.driver, bench.wire)
    if verdict.standing is Standing.DONE:
        return Ending(Outcome(step, State.FOUND, verdict.reason))
    return Ending(Outcome(step, State.CHANGED, why))


def _clear_texts(payload: Payload) -> set[str]:
    """What a node may quote from what it was sent, and nobody may read."""
    return {str(secret.value) for _, secret in secrets(payload.document)}


async def _act(step: Step, bench: Bench) -> tuple[Done | None, ReconcilerError | None]:
    try:
        return await bench.driver.act(step, bench.wire, bench.payloads), None
    except ReconcilerError as error:
        return None, error


def _final(error: ReconcilerError | None) -> bool:
    """Whether an error says that no effect is on its way, so that one look is enough.

    No answer says nothing; nor does a plain 5xx, which may come from something between us and the
    node, unless it carries the product's own code.
    """
    if isinstance(error, NodeRefused):
        return bool(error.code) or error.status < _SERVER_ERROR
    return error is not None and not isinstance(error, NodeUnreachable)


def _unperformed(step: Step, verdict: Verdict) -> Outcome:
    reason = verdict.reason
    match verdict.standing:
        case Standing.DONE:
            return Outcome(step, State.FOUND, reason)
        case Standing.CHANGED:
            return Outcome(step, State.CHANGED, reason or "the nodes are no longer as they were when planned")
        case Standing.UNKNOWN:
            return Outcome(step, State.SKIPPED, f"nothing was sent: {reason or 'the nodes do not tell'}")
        case Standing.READY:
            return Outcome(step, State.WAITING, reason or step.needs)


def _state(verdict: Verdict, *, cut: bool) -> State:
    if verdict.standing is Standing.DONE:
        return State.DONE
    return State.UNKNOWN if cut or verdict.standing is Standing.UNKNOWN else State.FAILED


def _reason(state: State, verdict: Verdict, error: ReconcilerError | None, done: Done | None) -> str:
    """What happened, as one sentence: the read first where it succeeded, the call first where not."""
    if state is State.DONE:
        lost = f"the call itself failed ({_why(error)}), its effect shows" if error else ""
        return "; ".join(part for part in (lost, verdict.reason) if part)
    if error is not None:
        call = _why(error)
    else:
        call = f"the node answered {done.words!r}" if done and done.words else "the call was made"
    shown = "whether it took effect is not known" if state is State.UNKNOWN else "its effect does not show"
    return f"{call}; {shown}" + (f": {verdict.reason}" if verdict.reason else "")


def _why(error: ReconcilerError | None) -> str:
    return error.reason if isinstance(error, NodeError) else str(error)
