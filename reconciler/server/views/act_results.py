"""What came of an act, in sentences; a plan that was asked for, and the form that confirms it (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from reconciler.api import acts
from reconciler.core.plan import Plan
from reconciler.core.timestamps import format_minute
from reconciler.descriptions import phrases
from reconciler.descriptions.values import format_count
from reconciler.planning.plan_file import parse_plan_file
from reconciler.planning.plan_operation import OperationPlan, load_operation_plan
from reconciler.server.views.act_forms import ActForm
from reconciler.server.views.plans import ShownWave, make_waves
from reconciler.text.node_names import format_node_names
from reconciler.text.one_line import SHORT_ID, clean_line

MOST_LINES: Final = 100
"""Sentences about one result."""


@dataclass(frozen=True, slots=True)
class ActOutcome:
    """What came of an act.

    Args:
        title: of the page.
        is_done: whether it did something; False for a plan that waits for its confirmation.
        lines: one sentence each.
        plans: cluster -> waves of the plan to confirm.
        confirmation: the form that does exactly what is shown; None if there is nothing to confirm.
        run: id of the run that did it; empty for none.
    """

    title: str
    is_done: bool
    lines: tuple[str, ...]
    plans: tuple[tuple[str, tuple[ShownWave, ...]], ...] = ()
    confirmation: ActForm | None = None
    run: str = ""


def describe_outcome(act: acts.Act[Any], result: Any) -> ActOutcome:
    """What came of an act, for the page that shows it."""
    match result:
        case acts.RollBackResult():
            return _describe_rollback(act, result)
        case acts.PurgeReport():
            return _describe_purge(act, result)
        case _:
            lines = tuple(map(clean_line, _DESCRIPTIONS[type(result)](act, result)))[:MOST_LINES]
            return ActOutcome(f"Done: {act.name}", is_done=True, lines=lines)


def make_confirmation(act: acts.Act[Any]) -> ActForm | None:
    """The form that confirms an act which takes effect at once for the whole fleet; None if it needs none."""
    if not isinstance(act, acts.SuspendAct) or act.cluster:
        return None
    hidden = (("cluster", ""), ("reason", act.reason), ("confirmed", "yes"))
    text = "No cluster is changed any more until somebody resumes all clusters."
    return ActForm(act.name, "Suspend all clusters", text, (), hidden, is_dangerous=True)


def _describe_approval(_act: acts.Act[Any], result: acts.ApproveResult) -> Iterator[str]:
    for one in result.requests:
        yield f"{one.cluster}, revision {one.short}: {one.description}."
    yield f"Plan {result.plan[:SHORT_ID]} is approved for one run."


def _describe_suspension(act: acts.Act[Any], result: acts.SuspendResult) -> Iterator[str]:
    what = f"Cluster {result.cluster} is" if result.cluster else "All clusters are"
    yield f"{what} suspended: {act.reason}"
    if result.warning:
        yield result.warning


def _describe_resumption(_act: acts.Act[Any], result: acts.ResumeResult) -> Iterator[str]:
    name = f"Cluster {result.cluster}" if result.cluster else "The fleet"
    yield f"{name} may be changed again." if result.was_suspended else f"{name} was not suspended."
    for node in result.retried:
        yield f"Will be tried again: {node}"
    for left in result.left:
        yield f"Still suspended: {left.cluster or 'all clusters'}: {left.reason}"


def _describe_hold(act: acts.Act[Any], result: acts.HoldResult) -> Iterator[str]:
    yield f"{result.node} is held until {format_minute(result.until)} UTC: {act.reason}"
    if result.is_busy:
        yield "A step on it is in progress, or its effect is not known yet: it is only read now."


def _describe_release(_act: acts.Act[Any], result: acts.ReleaseResult) -> Iterator[str]:
    for node in result.ended:
        yield f"{node} is changed again by the next run."
    if not result.ended:
        yield f"{result.node} is not held by an order; nothing was done."


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
        yield f"{result.cluster} was not pinned."


def _describe_look(_act: acts.Act[Any], result: acts.LookResult) -> Iterator[str]:
    names = ", ".join(result.clusters)
    yield f"A pass begins now: {names or 'no cluster yet: the watch has not read its source'}."


_DESCRIPTIONS: Final[dict[type, Callable[[acts.Act[Any], Any], Iterator[str]]]] = {
    acts.ApproveResult: _describe_approval,
    acts.SuspendResult: _describe_suspension,
    acts.ResumeResult: _describe_resumption,
    acts.HoldResult: _describe_hold,
    acts.ReleaseResult: _describe_release,
    acts.RetryResult: _describe_retry,
    acts.UnpinResult: _describe_unpin,
    acts.LookResult: _describe_look,
}


def _describe_rollback(act: acts.Act[Any], result: acts.RollBackResult) -> ActOutcome:
    assert isinstance(act, acts.RollBackAct)
    refused = tuple(map(clean_line, result.refused))[:MOST_LINES]
    if act.plan:
        status = "" if result.status == 0 else f"It ended with the exit status {result.status}."
        lines = (
            f"The rollback to {clean_line(act.revision)} was run.",
            *([status] if status else []),
            *refused,
        )
        return ActOutcome("Rollback", is_done=True, lines=lines, run=result.run)
    if result.is_empty and not refused:
        return ActOutcome("Rollback", is_done=True, lines=("Nothing is to be changed for this revision.",))
    plan: Plan = parse_plan_file(result.plan_file.encode(), "the plan").load_plan()
    plans = tuple((one.cluster, make_waves(Plan(plan.revision, "", (one,)))[0]) for one in plan.clusters)
    hidden = (
        ("revision", act.revision),
        ("only", "\n".join(act.only)),
        ("reason", act.reason),
        ("plan", result.plan),
    )
    title = f"Roll back to {clean_line(act.revision)}"
    text = "Exactly this plan is applied; if something has changed meanwhile, nothing is done."
    confirmation = None if refused else ActForm(act.name, title, text, (), hidden, is_dangerous=True)
    lines = refused or (phrases.describe_revision(plan.revision),)
    return ActOutcome(f"Plan: {title}", is_done=False, lines=lines, plans=plans, confirmation=confirmation)


def _describe_purge(act: acts.Act[Any], result: acts.PurgeReport) -> ActOutcome:
    assert isinstance(act, acts.PurgeAct)
    if result.plan is None:
        begun = tuple(
            f"{clean_line(str(one['cluster']))}: operation {clean_line(str(one['id']))} has begun."
            for one in result.begun[:MOST_LINES]
        )
        return ActOutcome("Purge", is_done=True, lines=begun)
    plan = load_operation_plan(result.plan)
    lines = tuple(_list_purge_lines(plan))[:MOST_LINES]
    hidden = (
        ("cluster", act.cluster),
        ("targets", "\n".join(act.targets)),
        ("reason", act.reason),
        ("plan", plan.digest),
    )
    title = f"Purge {format_count(len(plan.targets), 'target')}"
    text = "Exactly this purge begins; content that is gone has to be fetched again from its origin."
    confirmation = None if plan.violations else ActForm(act.name, title, text, (), hidden, is_dangerous=True)
    return ActOutcome(f"Plan: {title}", is_done=False, lines=lines, confirmation=confirmation)


def _list_purge_lines(plan: OperationPlan) -> Iterator[str]:
    if plan.is_high_risk:
        yield "A target covers at least a whole host: high risk."
    for violation in plan.violations:
        yield f"On hold: {clean_line(violation.message)}"
    for planned in plan.clusters:
        yield f"{clean_line(planned.operation.cluster)}: {format_node_names(planned.operation.nodes)}"
        yield from map(clean_line, planned.remarks)
    for target in plan.targets:
        yield clean_line(target.text)
