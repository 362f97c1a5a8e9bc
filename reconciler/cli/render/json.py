"""Plans and reports for programs: stable JSON with secrets masked."""

from __future__ import annotations

import json
from typing import Any

from reconciler.cli.render.view import View
from reconciler.core.outcome import Outcome, Report
from reconciler.core.plan import Plan, plain_finding
from reconciler.diagnostic import Diagnostic


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


def plan_plain(view: View) -> dict[str, Any]:
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


def problem_plain(problem: Diagnostic) -> dict[str, Any]:
    """A problem of a file, flat; lines and columns count from 1, 0 means the file as a whole."""
    return {
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "pointer": problem.pointer,
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def report_plain(report: Report, *, status: int) -> dict[str, Any]:
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


def _violation(item: Diagnostic) -> dict[str, Any]:
    return {
        "code": item.code,
        "target": item.target,
        "message": item.message,
        "remedy": item.remedy,
        "hold": item.hold,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "step": outcome.step.id,
        "state": outcome.state,
        "reason": outcome.reason,
        "seconds": round(outcome.seconds, 3),
        "waiting_for_restart": list(outcome.waiting_for_restart),
    }
