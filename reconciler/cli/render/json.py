"""Plans and reports for programs: stable JSON with secrets masked."""

from __future__ import annotations

import json
from typing import Annotated, Final, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.cli.render.view import View
from reconciler.core.fields import Number, Whole
from reconciler.core.json_schema import Schema, Title, schema_of
from reconciler.core.outcome import Outcome, Report, State
from reconciler.core.plan import OPEN, FindingShape, Plan, PlanShape, plain_finding
from reconciler.diagnostic import Diagnostic, Severity


@with_config(OPEN)
class ViolationShape(TypedDict):
    """Why a plan is refused."""

    code: Annotated[str, Field(description="The guard.", examples=["blast-radius"])]
    target: Annotated[str, Field(description="A cluster, or `cluster/node`.")]
    message: Annotated[str, Field(description="Target, number, limit and reason.")]
    remedy: Annotated[str, Field(description="What a person can do.")]
    hold: Annotated[
        bool, Field(description="Whether it says when, not whether: it ends by itself or by a word.")
    ]


@with_config(OPEN)
class OverriddenShape(ViolationShape):
    """A violation that an override of the fleet file sets aside."""

    until: Annotated[str, Field(description="The last day of the override.", examples=["2026-12-01"])]
    reason: Annotated[str, Field(description="Why it was overridden.")]


@with_config(OPEN)
class PositionShape(TypedDict):
    """A place in a file."""

    file: Annotated[str, Field(description="Which file.")]
    line: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]
    column: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]


@with_config(OPEN)
class ProblemShape(TypedDict):
    """Something about the files of the desired state."""

    file: Annotated[str, Field(description="Which file.")]
    line: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]
    column: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]
    pointer: Annotated[str, Field(description="JSON pointer within the file.")]
    severity: Annotated[Severity, Field(description="How much it weighs.")]
    code: Annotated[str, Field(description="What `reconcile explain` explains.")]
    message: Annotated[str, Field(description="What is wrong.")]
    remedy: Annotated[str, Field(description="What would be right; may be empty.")]
    related: NotRequired[
        Annotated[
            list[PositionShape],
            Field(description="Further places that the message speaks of; missing where there are none."),
        ]
    ]


@with_config(OPEN)
class OutcomeShape(TypedDict):
    """What became of a step."""

    step: Annotated[str, Field(description="Id of the step.")]
    state: Annotated[State, Field(description="How it ended.")]
    reason: Annotated[str, Field(description="Why, where it did not succeed.")]
    seconds: Annotated[Number, Field(description="How long it took.")]
    waiting_for_restart: Annotated[
        list[str], Field(description="Fields that wait for a restart of the node.")
    ]


@with_config(OPEN)
class ReportShape(TypedDict):
    """What became of a run."""

    run: Annotated[
        str, Field(description="What `reconcile history` knows it by; empty where nothing was to do.")
    ]
    succeeded: Annotated[bool, Field(description="Whether every step has its effect.")]
    exit_status: Annotated[Whole, Field(description="What the command ended with.", examples=[0, 5])]
    outcomes: Annotated[list[OutcomeShape], Field(description="One for each step.")]
    findings: Annotated[list[FindingShape], Field(description="What a person should know of the run.")]


@with_config(OPEN)
class Output(TypedDict):
    """What `--format json` prints."""

    digest: Annotated[
        str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the plan's canonical bytes.")
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


PLAN: Final = Title(
    "plan",
    "Plan as JSON",
    "What `reconcile --dry-run --format json` prints, and with a report what a run does.",
)


def plan_schema() -> Schema:
    """The schema of what `--format json` prints."""
    return schema_of(Output, PLAN)


def render_plan(view: View) -> str:
    """`plan`, its `digest`, the guards' `violations`, those `overridden`, and the files' `warnings`."""
    return written(plan_plain(view))


def render_run(view: View, report: Report, remaining: Plan | None, *, status: int) -> str:
    """What `render_plan` gives, with the `report` and what a second look would still plan.

    Args:
        view: the plan and what is said of it.
        report: what became of it.
        remaining: what a second look would still plan; None where there was none.
        status: what the command ends with, which a second look may make worse than the report's own.
    """
    rest = None if remaining is None else remaining.plain()
    return written({**plan_plain(view), "report": report_plain(report, status=status), "remaining": rest})


def plan_plain(view: View) -> Output:
    """A plan and what is said of it, as plain JSON."""
    return {
        "digest": view.plan.digest,
        "plan": view.plan.plain(),
        "violations": [_violation(item) for item in view.violations],
        "overridden": [
            {**_violation(item), "until": override.until.isoformat(), "reason": override.reason}
            for item, override in view.overridden
        ],
        "warnings": [problem_plain(problem) for problem in view.warnings],
    }


def problem_plain(problem: Diagnostic) -> ProblemShape:
    """A problem of a file, flat; lines and columns count from 1, 0 means the file as a whole."""
    found: ProblemShape = {
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "pointer": problem.pointer,
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "remedy": problem.remedy,
    }
    return {**found, "related": related_plain(problem)} if problem.related else found


def related_plain(problem: Diagnostic) -> list[PositionShape]:
    """The further places that a problem speaks of."""
    return [{"file": one.file, "line": one.line, "column": one.column} for one in problem.related]


def report_plain(report: Report, *, status: int) -> ReportShape:
    """A run's outcomes; steps are named by their id and stand in full in the plan."""
    return {
        "run": report.run,
        "succeeded": report.succeeded,
        "exit_status": status,
        "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        "findings": [plain_finding(finding) for finding in report.findings],
    }


def written(value: object) -> str:
    """A plain value as indented JSON with sorted keys, ending in a line break."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _violation(item: Diagnostic) -> ViolationShape:
    return {
        "code": item.code,
        "target": item.target,
        "message": item.message,
        "remedy": item.remedy,
        "hold": item.hold,
    }


def _outcome(outcome: Outcome) -> OutcomeShape:
    return {
        "step": outcome.step.id,
        "state": outcome.state,
        "reason": outcome.reason,
        "seconds": round(outcome.seconds, 3),
        "waiting_for_restart": list(outcome.waiting_for_restart),
    }
