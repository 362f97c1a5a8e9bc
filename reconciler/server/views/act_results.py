"""What came of an act, in sentences; a plan that was asked for, and the form that confirms it (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from reconciler.api import acts
from reconciler.core.finding_groups import group_findings
from reconciler.core.operations import load_operation
from reconciler.core.plan import Plan
from reconciler.descriptions import phrases
from reconciler.descriptions.act_results import (
    describe_act,
    describe_recorded_operation,
    summarise_operation_plan,
)
from reconciler.descriptions.values import format_count
from reconciler.planning.plan_file import parse_plan_file
from reconciler.planning.plan_operation import OperationPlan, load_operation_plan
from reconciler.server.views.act_forms import ActForm
from reconciler.server.views.plans import ShownWave, make_waves
from reconciler.text.node_names import format_node_names
from reconciler.text.one_line import clean_line

TITLES: Final = {
    acts.ApproveAct.name: "Approved",
    acts.SuspendAct.name: "Suspended",
    acts.ResumeAct.name: "Resumed",
    acts.HoldAct.name: "Held",
    acts.ReleaseAct.name: "Released",
    acts.UnpinAct.name: "No longer pinned",
    acts.RetryAct.name: "To be tried again",
    acts.LookAct.name: "Looking again",
    acts.StopAct.name: "Whether the node may be stopped",
}
"""Name of an act -> title of the page about what came of it."""

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
            text = describe_act(act, result)
            return ActOutcome(
                TITLES.get(act.name, "Done"), is_done=True, lines=_bound([*text.lines, *text.warnings])
            )


def make_confirmation(act: acts.Act[Any]) -> ActForm | None:
    """The form that confirms an act which takes effect at once for the whole fleet; None if it needs none."""
    if not isinstance(act, acts.SuspendAct) or act.cluster:
        return None
    hidden = (("cluster", ""), ("reason", act.reason), ("confirmed", "yes"))
    text = "No cluster is changed any more until somebody resumes all clusters."
    return ActForm(act.name, "Suspend all clusters", text, (), hidden, is_dangerous=True)


def _describe_rollback(act: acts.Act[Any], result: acts.RollBackResult) -> ActOutcome:
    assert isinstance(act, acts.RollBackAct)
    refused = _bound(list(map(clean_line, result.refused)))
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
        begun = [describe_recorded_operation(load_operation(one)) for one in result.begun]
        return ActOutcome("Purge", is_done=True, lines=_bound(begun))
    plan = load_operation_plan(result.plan)
    hidden = (
        ("cluster", act.cluster),
        ("targets", "\n".join(act.targets)),
        ("reason", act.reason),
        ("plan", plan.digest),
    )
    title = f"Purge {format_count(len(plan.targets), 'target')}"
    text = "Exactly this purge begins; content that is gone has to be fetched again from its origin."
    is_released = any(not planned.violations for planned in plan.clusters)
    confirmation = ActForm(act.name, title, text, (), hidden, is_dangerous=True) if is_released else None
    lines = _bound(list(_list_purge_lines(plan)))
    return ActOutcome(f"Plan: {title}", is_done=False, lines=lines, confirmation=confirmation)


def _list_purge_lines(plan: OperationPlan) -> Iterator[str]:
    yield summarise_operation_plan(plan)
    for group in group_findings(plan.violations):
        yield f"On hold: {clean_line(group.text)}"
    for planned in plan.clusters:
        yield f"{clean_line(planned.operation.cluster)}: {format_node_names(planned.operation.nodes)}"
        yield from map(clean_line, planned.remarks)
    # What is of high risk first: of ten thousand targets, that one must be seen.
    for target in sorted(plan.targets, key=lambda one: not one.extent):
        risk = f", high risk: {target.extent}" if target.extent else ""
        yield clean_line(f"{target.text}{risk}")


def _bound(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - MOST_LINES
    return (*lines[:MOST_LINES], *([f"and {more:,} more"] if more > 0 else []))
