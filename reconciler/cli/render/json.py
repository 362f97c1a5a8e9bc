"""Plans and reports for programs: stable JSON with secrets masked."""

from __future__ import annotations

import json
from typing import Annotated, Final, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.cli.render.plan_view import PlanView
from reconciler.core.diagnostic_json import (
    EXTENSIBLE,
    FindingShape,
    ProblemShape,
    ViolationShape,
    to_plain_finding,
    to_plain_problem,
    to_plain_violation,
)
from reconciler.core.fields import Number, Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.core.outcome import Outcome, RunReport, State
from reconciler.core.plan import Plan, PlanShape


@with_config(EXTENSIBLE)
class OverriddenShape(ViolationShape):
    """A violation that an override of the fleet file sets aside."""

    until: Annotated[str, Field(description="The last day of the override.", examples=["2026-12-01"])]
    reason: Annotated[str, Field(description="Why it was overridden.")]


@with_config(EXTENSIBLE)
class OutcomeShape(TypedDict):
    """What became of a step."""

    step: Annotated[str, Field(description="Id of the step.")]
    state: Annotated[State, Field(description="How it ended.")]
    reason: Annotated[str, Field(description="Why, where it did not succeed.")]
    seconds: Annotated[Number, Field(description="How long it took.")]
    waiting_for_restart: Annotated[
        list[str], Field(description="Fields that wait for a restart of the node.")
    ]


@with_config(EXTENSIBLE)
class ReportShape(TypedDict):
    """What became of a run."""

    run: Annotated[
        str, Field(description="What `reconcile history` knows it by; empty where nothing was to do.")
    ]
    succeeded: Annotated[bool, Field(description="Whether every step has its effect.")]
    exit_status: Annotated[Whole, Field(description="What the command ended with.", examples=[0, 5])]
    outcomes: Annotated[list[OutcomeShape], Field(description="One for each step.")]
    findings: Annotated[list[FindingShape], Field(description="What a person should know of the run.")]


@with_config(EXTENSIBLE)
class PlanOutput(TypedDict):
    """What `--format json` prints."""

    ids: Annotated[
        dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]],
        Field(description="Cluster -> the id of its plan, which an approval names."),
    ]
    plan: Annotated[PlanShape, Field(description="What would be done.")]
    violations: Annotated[
        list[ViolationShape], Field(description="Why it is refused; empty where it is not.")
    ]
    overridden: Annotated[list[OverriddenShape], Field(description="What overrides set aside.")]
    warnings: Annotated[list[ProblemShape], Field(description="What is doubtful in the files.")]
    report: NotRequired[Annotated[ReportShape | None, Field(description="What was done; not in a dry run.")]]
    remaining: NotRequired[
        Annotated[
            PlanShape | None, Field(description="What a second look would still plan; not in a dry run.")
        ]
    ]


PLAN: Final = SchemaTitle(
    "plan",
    "Plan as JSON",
    "What `reconcile --dry-run --format json` prints, and with a report what a run does.",
)


def make_plan_schema() -> Schema:
    """The schema of what `--format json` prints."""
    return make_schema(PlanOutput, PLAN)


def render_plan_json(view: PlanView) -> str:
    """`plan`, the `ids` of its clusters, the `violations`, those `overridden`, and the files' `warnings`."""
    return format_json(to_plain_output(view))


def render_run_json(view: PlanView, report: RunReport, remaining: Plan | None, *, status: int) -> str:
    """What `render_plan_json` gives, with the `report` and what a second look would still plan.

    Args:
        view: the plan and what is said of it.
        report: what became of it.
        remaining: what a second look would still plan; None where there was none.
        status: what the command ends with, which a second look may make worse than the report's own.
    """
    rest = None if remaining is None else remaining.plain()
    return format_json(
        {**to_plain_output(view), "report": to_plain_report(report, status=status), "remaining": rest}
    )


def to_plain_output(view: PlanView) -> PlanOutput:
    """A plan and what is said of it, as plain JSON."""
    return {
        "ids": view.plan.ids,
        "plan": view.plan.plain(),
        "violations": [to_plain_violation(item) for item in view.violations],
        "overridden": [
            {**to_plain_violation(item), "until": override.until.isoformat(), "reason": override.reason}
            for item, override in view.overridden
        ],
        "warnings": [to_plain_problem(problem) for problem in view.warnings],
    }


def to_plain_report(report: RunReport, *, status: int) -> ReportShape:
    """A run's outcomes; steps are named by their id and stand in full in the plan."""
    return {
        "run": report.run,
        "succeeded": report.succeeded,
        "exit_status": status,
        "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        "findings": [to_plain_finding(finding) for finding in report.findings],
    }


def format_json(value: object) -> str:
    """A plain value as indented JSON with sorted keys, ending in a line break."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _outcome(outcome: Outcome) -> OutcomeShape:
    return {
        "step": outcome.step.id,
        "state": outcome.state,
        "reason": outcome.reason,
        "seconds": round(outcome.seconds, 3),
        "waiting_for_restart": list(outcome.waiting_for_restart),
    }
