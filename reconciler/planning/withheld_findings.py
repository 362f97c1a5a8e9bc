"""What a plan says about steps that are withheld: codes and findings; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler.core import attempts
from reconciler.core.attempts import Attempt
from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import Change, Op
from reconciler.core.memory import PendingCall
from reconciler.core.missing_secrets import CODE as SECRET_UNAVAILABLE
from reconciler.core.plan import Step
from reconciler.core.reservations import HELD, RESERVED
from reconciler.core.secret import mask
from reconciler.core.timestamps import format_second
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.reserved_steps import StepHold
from reconciler.text.json_pointer import format_pointer
from reconciler.text.one_line import make_one_line

STALLED: Final = "node-stalled"
"""Code of the finding that nothing more is sent to a node, because it never shows what it was sent."""

LATER: Final = "retry-later"
"""Code of the finding that the next attempt is not due yet."""

IN_FLIGHT: Final = "call-in-flight"
"""Code of the finding that a call may still take effect."""

OFFERED: Final = "offer-open"
"""Code of the finding that a node may still take what it is offered."""

OVERDUE: Final = "offer-overdue"
"""Code of the finding that a node did not show in time what it was offered."""

WAITING: Final = frozenset({LATER, IN_FLIGHT, OFFERED, RESERVED})
"""Codes of the findings that end by themselves."""

_PLACES: Final = 3
_LONGEST: Final = 60


def report_reserved(step: Step, hold: StepHold) -> Diagnostic:
    """A reservation or a hold of another node keeps a step back for now."""
    return Diagnostic(
        # Who ordered a hold knows that it lasts: what waits for it is no failure of a run.
        Severity.WARNING if hold.only_holds else Severity.ERROR,
        RESERVED,
        f"{step.node} is not changed now ({step.action}): {hold.why}",
        "run again later; `reconcile allow-stop NODE --release` ends a reservation at once, and `reconcile "
        "release NODE` a hold",
        target=f"{step.cluster}/{step.node}",
    )


def report_held(step: Step, hold: StepHold) -> Diagnostic:
    """A hold keeps everything back from a node."""
    assert hold.reservation is not None
    differs = f"; {step.reason}" if step.reason else ""
    return Diagnostic(
        Severity.WARNING,
        HELD,
        f"{step.node}: nothing is sent ({step.action}): {hold.why}{differs}",
        hold.reservation.remedy,
        target=f"{step.cluster}/{step.node}",
        ends=hold.reservation.until,
    )


def report_missing_secret(step: Step, missing: Mapping[str, str]) -> Diagnostic:
    """A step needs a secret that this host does not have.

    Args:
        step: that is not sent.
        missing: name of each secret -> why it is not available.
    """
    name, why = next(iter(missing.items()))
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return Diagnostic(
        Severity.ERROR,
        SECRET_UNAVAILABLE,
        f"{step.node}: nothing is sent ({step.action}): the secret {name}{more} is not available here: {why}",
        "provide it on this host; `reconcile watch` goes on by itself once a file is there, and needs a "
        "restart for a variable",
        target=f"{step.cluster}/{step.node}",
    )


def report_in_flight(call: PendingCall) -> Diagnostic:
    """A call may still take effect."""
    return Diagnostic(
        Severity.ERROR,
        IN_FLIGHT,
        f"{call.step} of run {call.run} may still take effect on {call.node}: its call was not answered, or "
        f"its effect was not read yet; nothing is sent before {format_second(call.until)} UTC",
        "run again then, or as soon as the node shows the effect; `timeouts.in_flight` in the fleet file "
        "sets this time",
        target=f"{call.cluster}/{call.node}",
    )


def report_offer(call: PendingCall) -> Diagnostic:
    """A node may still take what it is offered."""
    return Diagnostic(
        Severity.NOTE,
        OFFERED,
        f"{call.node} is offered its content by run {call.run}, and does not show it yet; overdue after "
        f"{format_second(call.until)} UTC",
        target=f"{call.cluster}/{call.node}",
    )


def report_later(cluster: str, step: Step, attempt: Attempt, way_out: str) -> Diagnostic:
    """The next attempt at a step is not due yet.

    Args:
        cluster: its name.
        step: that is not sent.
        attempt: the newest one.
        way_out: what the product knows to do; may be empty.
    """
    due = attempt.next_time
    assert due is not None
    return Diagnostic(
        Severity.ERROR,
        LATER,
        f"{step.node} does not show what it was sent: {explain_attempt(attempt, step)}; attempt "
        f"{attempt.count + 1} of {attempts.MOST_ATTEMPTS} is due after {format_second(due)} UTC"
        f"{describe_differences(step.changes)}",
        f"run again then; `reconcile resume {cluster}` allows an attempt at once"
        f"{f'; if it fails each time, {way_out}' if way_out else ''}",
        target=f"{cluster}/{step.node}",
    )


def report_stalled(cluster: str, step: Step, attempt: Attempt, way_out: str) -> Diagnostic:
    """The attempts at a step have ended; the arguments are those of `report_later`."""
    tries = "once" if attempt.count == 1 else f"{attempt.count} times"
    end = "a definite refusal" if attempt.refused else "no effect"
    if attempt.reason == attempts.WRITES_AGAIN:
        end = "no lasting effect"
    remedy = (
        f"{way_out}; then `reconcile resume {cluster}`"
        if way_out
        else "find out why the node does not show the content, and correct the node or the content; "
        f"`reconcile resume {cluster}` allows a new attempt at once"
    )
    return Diagnostic(
        Severity.ERROR,
        STALLED,
        f"{step.node} is stalled: {step.action} was sent {tries} with {end} "
        f"({explain_attempt(attempt, step)}); nothing more is sent until its desired content changes, or "
        "what it shows"
        f"{describe_differences(step.changes)}",
        remedy,
        target=f"{cluster}/{step.node}",
    )


def explain_attempt(attempt: Attempt, step: Step) -> str:
    """Why the newest attempt did not count as a success."""
    # What the node shows now follows in the same sentence: it is not said twice.
    reason = attempt.reason.removesuffix(describe_differences(step.changes))
    return reason or "the result of the last attempt is unknown"


def describe_differences(changes: Sequence[Change]) -> str:
    """What a node shows where it differs, masked and bounded."""
    if not changes:
        return ""
    named = [_describe_change(change) for change in changes[:_PLACES]]
    more = f", and {len(changes) - _PLACES} more places" if len(changes) > _PLACES else ""
    return f": {'; '.join(named)}{more}"


def _describe_change(change: Change) -> str:
    where = make_one_line(format_pointer(change.pointer), _LONGEST) or "/"
    match change.op:
        case Op.ADD:
            return f"at {where} it shows nothing instead of {_format_value(change.new)}"
        case Op.REMOVE:
            return f"at {where} it shows {_format_value(change.old)}, which it was not sent"
        case Op.REPLACE:
            return f"at {where} it shows {_format_value(change.old)} instead of {_format_value(change.new)}"


def _format_value(value: Any) -> str:
    shown = mask(value)
    text = f'"{shown}"' if isinstance(shown, str) else encode_canonical(shown).decode("utf-8", "replace")
    return make_one_line(text, _LONGEST)
