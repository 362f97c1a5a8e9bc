"""Plans and reports as stable JSON with masked secrets, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.cli.render.exit_report import ExitShape
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
from reconciler.core.timestamps import format_timestamp
from reconciler.descriptions.phrases import PlanView
from reconciler.descriptions.pins import PinShape, to_plain_pin
from reconciler.planning.inventory_report import InventoryShape


@with_config(EXTENSIBLE)
class OverriddenShape(ViolationShape):
    """A violation that an override of the fleet file allows."""

    until: Annotated[str, Field(description="The last day of the override.", examples=["2026-12-01"])]
    reason: Annotated[str, Field(description="Why it was overridden.")]


@with_config(EXTENSIBLE)
class OutcomeShape(TypedDict):
    """The outcome of a step."""

    step: Annotated[str, Field(description="Id of the step.")]
    state: Annotated[State, Field(description="How it ended.")]
    reason: Annotated[str, Field(description="Why it did not succeed; else empty.")]
    seconds: Annotated[Number, Field(description="How long it took.")]
    waiting_for_restart: Annotated[
        list[str], Field(description="Fields that wait for a restart of the node.")
    ]


@with_config(EXTENSIBLE)
class ReportShape(TypedDict):
    """The result of a run."""

    run: Annotated[
        str, Field(description="Id of the run in `reconcile history`; empty if there was nothing to do.")
    ]
    succeeded: Annotated[bool, Field(description="Whether every step has its effect.")]
    exit_status: Annotated[
        Whole, Field(description="Exit status of the command, as in `exit`.", examples=[0, 5])
    ]
    outcomes: Annotated[list[OutcomeShape], Field(description="One for each step.")]
    findings: Annotated[list[FindingShape], Field(description="Findings about the run.")]


@with_config(EXTENSIBLE)
class PlanOutput(TypedDict):
    """Output of `--format json`."""

    ids: Annotated[
        dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]],
        Field(description="Cluster -> id of its plan, for `reconcile approve`."),
    ]
    plan: Annotated[PlanShape, Field(description="The planned steps.")]
    violations: Annotated[
        list[ViolationShape], Field(description="Why it is refused or on hold; empty if it is not.")
    ]
    overridden: Annotated[list[OverriddenShape], Field(description="Violations that an override allows.")]
    warnings: Annotated[list[ProblemShape], Field(description="Warnings about the files.")]
    exit: Annotated[ExitShape, Field(description="The exit status of the command, and what it is about.")]
    pins: Annotated[list[PinShape], Field(description="Clusters that a rollback pins to a revision.")]
    inventory: NotRequired[
        Annotated[
            list[InventoryShape],
            Field(description="The lists of instances that clusters use; missing if none does."),
        ]
    ]
    report: NotRequired[
        Annotated[ReportShape | None, Field(description="The result of the run; missing in a dry run.")]
    ]
    remaining: NotRequired[
        Annotated[PlanShape | None, Field(description="The plan after the run; missing in a dry run.")]
    ]


PLAN: Final = SchemaTitle(
    "plan",
    "Plan as JSON",
    "Output of `reconcile --dry-run --format json`; with a report, the output of a run.",
)


def make_plan_schema() -> Schema:
    """The schema of the output of `--format json`."""
    return make_schema(PlanOutput, PLAN)


def render_plan_json(view: PlanView, ended: ExitShape) -> str:
    """`plan`, the `ids` of its clusters, `violations`, `overridden`, `warnings` about files, and `exit`."""
    return format_json(to_plain_output(view, ended))


def render_run_json(view: PlanView, report: RunReport, remaining: Plan | None, ended: ExitShape) -> str:
    """The result of `render_plan_json`, with `report` and `remaining`.

    Args:
        view: the plan and its violations, warnings and findings.
        report: the result of the run.
        remaining: the plan after the run; None if the nodes were not read again.
        ended: how the command ends; the second reading may make it worse than the report.
    """
    rest = None if remaining is None else remaining.plain()
    shown = to_plain_report(report, status=ended["status"])
    return format_json({**to_plain_output(view, ended), "report": shown, "remaining": rest})


def to_plain_output(view: PlanView, ended: ExitShape) -> PlanOutput:
    """A plan with its violations and warnings, as plain JSON."""
    found: PlanOutput = {
        "ids": view.plan.ids,
        "plan": view.plan.plain(),
        "violations": [to_plain_violation(item) for item in view.violations],
        "overridden": [
            {**to_plain_violation(item), "until": override.until.isoformat(), "reason": override.reason}
            for item, override in view.overridden
        ],
        "warnings": [to_plain_problem(problem) for problem in view.warnings],
        "exit": ended,
        "pins": [to_plain_pin(state) for state in view.pins],
    }
    if view.inventory:
        found["inventory"] = [use.plain() for use in view.inventory]
    return found


def to_plain_report(report: RunReport, *, status: int) -> ReportShape:
    """The outcomes of a run; steps are named by their id, the plan has their details."""
    return {
        "run": report.run,
        "succeeded": report.is_success,
        "exit_status": status,
        "outcomes": [_to_plain_outcome(outcome) for outcome in report.outcomes],
        "findings": [to_plain_finding(finding) for finding in report.findings],
    }


def format_json(value: object) -> str:
    """Data as indented JSON with sorted keys and a final line break; moments are ISO 8601 in UTC."""

    def encode(item: Any) -> Any:
        if isinstance(item, datetime):
            return format_timestamp(item)
        return dict(item) if isinstance(item, Mapping) else asdict(item)

    # ASCII only: a foreign text cannot send control characters to the terminal that shows this.
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True, default=encode) + "\n"


def _to_plain_outcome(outcome: Outcome) -> OutcomeShape:
    return {
        "step": outcome.step.id,
        "state": outcome.state,
        "reason": outcome.reason,
        "seconds": round(outcome.seconds, 3),
        "waiting_for_restart": list(outcome.waiting_for_restart),
    }
