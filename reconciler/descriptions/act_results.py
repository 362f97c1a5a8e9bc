"""What came of an act, in the sentences that commands and pages share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reconciler.api import acts
from reconciler.api.orders import describe_scope
from reconciler.core.operations import Operation
from reconciler.core.reservations import StopAnswer, StopReply, load_stop_reply
from reconciler.core.timestamps import format_minute
from reconciler.descriptions.values import format_count
from reconciler.planning.plan_operation import OperationPlan
from reconciler.text.one_line import SHORT_ID, clean_line


@dataclass(frozen=True, slots=True)
class ActText:
    """What came of an act.

    Args:
        lines: one sentence each.
        warnings: what may not be meant, such as a name that no run has seen.
        ending: what ends it sooner, in a word or two, and the command for that; empty for nothing.
    """

    lines: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    ending: tuple[str, str] = ("", "")


def describe_act(act: acts.Act[Any], result: Any) -> ActText:
    """What came of an act that was done at once.

    Args:
        act: what was ordered.
        result: of its own type; not a plan.
    """
    lines = tuple(map(clean_line, _DESCRIPTIONS[type(result)](act, result)))
    match result:
        case acts.SuspendResult(cluster, warning):
            return ActText(lines, _clean(warning), ("to end it", f"reconcile resume {cluster}".strip()))
        case acts.HoldResult(node, _, is_seen):
            warning = "" if is_seen else f"No run on this host has seen {node}: check the name."
            return ActText(lines, _clean(warning), ("to end it sooner", f"reconcile release {node}"))
        case acts.UnpinResult():
            return ActText(lines, _clean(result.warning))
        case _:
            return ActText(lines)


def _clean(warning: str) -> tuple[str, ...]:
    return (clean_line(warning),) if warning else ()


def _describe_approval(_act: acts.Act[Any], result: acts.ApproveResult) -> Iterator[str]:
    for one in result.requests:
        yield f"{one.cluster}, revision {one.short}: {one.description}"
    yield f"Plan {result.plan[:SHORT_ID]} is approved for one run."


def _describe_suspension(act: acts.Act[Any], result: acts.SuspendResult) -> Iterator[str]:
    what = f"Cluster {result.cluster} is" if result.cluster else "All clusters are"
    yield f"{what} suspended: {act.reason}"


def _describe_resumption(_act: acts.Act[Any], result: acts.ResumeResult) -> Iterator[str]:
    scope = f"cluster {result.cluster}" if result.cluster else "the whole fleet"
    if result.was_suspended:
        yield f"Changes to {scope} are allowed again."
    else:
        yield f"There was no suspension of {scope}."
    for node in result.retried:
        yield f"Will be tried again: {node}"
    for left in result.left:
        yield f"Still suspended: {describe_scope(left)}: {left.reason}"


def _describe_hold(act: acts.Act[Any], result: acts.HoldResult) -> Iterator[str]:
    yield f"{result.node} is held until {format_minute(result.until)} UTC: {act.reason}"
    if result.is_busy:
        yield "A step on it is in progress, or its effect is not known yet: it is only read now."


def _describe_release(_act: acts.Act[Any], result: acts.ReleaseResult) -> Iterator[str]:
    if not result.ended:
        yield f"{result.node} is not held by `reconcile hold`; nothing was done."
    for node in result.ended:
        yield f"{node} is changed again by the next run."
    for left in result.left:
        yield f"Still {left.description}: {left.cluster}/{left.node}"


def _describe_retry(_act: acts.Act[Any], result: acts.RetryResult) -> Iterator[str]:
    for found in result.found:
        yield f"Will be tried again: {found}"
    if not result.found:
        yield f"Nothing of {result.target} was given up: the next run tries it anyway."


def _describe_unpin(_act: acts.Act[Any], result: acts.UnpinResult) -> Iterator[str]:
    if result.ended:
        where = ", ".join(result.ended)
        yield f"{result.cluster} is no longer pinned at {where}: it follows the newest revision again."
    else:
        pinned = f"; pinned: {', '.join(result.pinned)}" if result.pinned else ""
        yield f"{result.cluster} was not pinned{pinned}."


def _describe_look(_act: acts.Act[Any], result: acts.LookResult) -> Iterator[str]:
    names = ", ".join(result.clusters)
    yield f"A pass begins now: {names or 'no cluster yet: the watch has not read its source'}"


STOP_ANSWERS: Final = {
    StopAnswer.YES: "yes, it may be stopped now",
    StopAnswer.NO: "no, it must not be stopped now",
    StopAnswer.UNKNOWN: "it could not be found out whether it may be stopped",
}
"""Whether a node may be stopped, in words."""


def describe_stop_release(reply: StopReply) -> str:
    """What came of the end of a reservation."""
    return "released" if reply.released else "there is no reservation of it; nothing was done"


def describe_stop_reservation(until: datetime) -> str:
    """How long a node is reserved that may be stopped."""
    return f"Reserved until {format_minute(until)} UTC, and after that until it is seen back."


def _describe_stop(_act: acts.Act[Any], result: acts.StopResult) -> Iterator[str]:
    reply = load_stop_reply(result.reply)
    name, decision = f"{reply.cluster}/{reply.node}", reply.decision
    if decision is None:
        yield f"{name}: {describe_stop_release(reply)}"
        return
    yield f"{name}: {STOP_ANSWERS[decision.answer]}"
    yield from decision.reasons
    yield from (f"note: {fact}" for fact in decision.facts)
    for finding in decision.findings:
        yield f"{finding.severity}: {'; '.join(filter(None, (finding.message, finding.remedy)))}"
    if reply.until is not None:
        yield describe_stop_reservation(reply.until)


_DESCRIPTIONS: Final[dict[type, Callable[[acts.Act[Any], Any], Iterator[str]]]] = {
    acts.ApproveResult: _describe_approval,
    acts.SuspendResult: _describe_suspension,
    acts.ResumeResult: _describe_resumption,
    acts.HoldResult: _describe_hold,
    acts.ReleaseResult: _describe_release,
    acts.RetryResult: _describe_retry,
    acts.UnpinResult: _describe_unpin,
    acts.LookResult: _describe_look,
    acts.StopResult: _describe_stop,
}


def summarise_operation_plan(plan: OperationPlan) -> str:
    """What a planned operation would do, in one line."""
    released = [planned.operation for planned in plan.clusters if not planned.violations]
    counted = released or [planned.operation for planned in plan.clusters]
    nodes = sum(len(operation.nodes) for operation in counted)
    what = f"{plan.kind} of {format_count(len(plan.targets), 'target')} on {format_count(nodes, 'node')}"
    if not released:
        return f"On hold: {what}."
    where = f" of {format_count(len(released), 'cluster')}" if len(released) > 1 else ""
    return f"High risk: {what}{where}." if plan.is_high_risk else f"{what.capitalize()}{where}."


def describe_recorded_operation(operation: Operation) -> str:
    """That an operation was recorded; its calls follow."""
    return clean_line(f"{operation.cluster}: {operation.kind} {operation.id} is recorded")
