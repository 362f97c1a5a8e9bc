"""Problems in files: as text, as JSON, and as commands for GitHub's workflow log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.cli.render.json import format_json
from reconciler.core.diagnostic_json import to_plain_related
from reconciler.descriptions.values import format_count
from reconciler.desired.validation import ValidationResult
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.json_pointer import format_pointer
from reconciler.text.one_line import clean_line

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render_problems_text(found: ValidationResult) -> str:
    """Two or three lines for each problem, then a summary."""
    lines: list[str] = []
    for problem in found.problems:
        message = clean_line(problem.message)
        lines.append(f"{clean_line(problem.where)}: {problem.severity}: {message} [{problem.code}]")
        if problem.pointer:
            lines.append(f"  at {clean_line(format_pointer(problem.pointer))}")
        if problem.remedy:
            lines.append(f"  → {clean_line(problem.remedy)}")
    hint = " `reconcile explain CODE` explains a code in brackets." if found.problems else ""
    lines += [*([""] if found.problems else []), f"{summarise_problems(found)}{hint}"]
    return "\n".join(lines) + "\n"


def render_problems_json(problems: Sequence[Diagnostic]) -> str:
    """A list of objects; lines and columns count from 1, 0 means the file as a whole."""
    return format_json([_to_plain_problem(problem) for problem in problems])


def render_problems_github(found: ValidationResult, prefix: str = "") -> str:
    """One workflow command for each problem, which GitHub shows at its line, and a last line for the log.

    Args:
        found: the problems.
        prefix: the folder of the files within the repository, ending in `/`; empty for its top.
    """
    lines = [_format_github_command(problem, prefix) for problem in found.problems]
    return "\n".join([*lines, summarise_problems(found)]) + "\n"


def summarise_problems(found: ValidationResult) -> str:
    """The summary in one sentence."""
    errors, warnings = found.count(Severity.ERROR), found.count(Severity.WARNING)
    seen = f"{format_count(found.clusters, 'cluster')} with {format_count(found.nodes, 'node')}"
    if not found.problems:
        return f"No problems in {seen}."
    doubts = f" and {format_count(warnings, 'warning')}" if warnings else ""
    if not errors:
        return f"No errors{doubts} in {seen}."
    files = len({problem.position.file for problem in found.problems})
    return f"{format_count(errors, 'error')}{doubts} in {format_count(files, 'file')}."


def format_problem(problem: Diagnostic) -> str:
    """Message and remedy in one line, without a final stop."""
    return "; ".join(filter(None, (clean_line(problem.message), clean_line(problem.remedy))))


def _to_plain_problem(problem: Diagnostic) -> dict[str, Any]:
    return {
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "pointer": problem.pointer,
        "severity": problem.severity,
        "code": problem.code,
        "message": format_problem(problem),
        **({"related": to_plain_related(problem)} if problem.related else {}),
    }


def _format_github_command(problem: Diagnostic, prefix: str) -> str:
    """`::error file=…,line=…,col=…,title=…::…`, escaped as GitHub's runner reads it."""
    position = problem.position
    properties = {"file": _escape_property(prefix + position.file)} if position.file else {}
    if position.line:
        properties |= {"line": str(position.line), "col": str(position.column)}
    properties["title"] = _escape_property(problem.code)
    listed = ",".join(f"{name}={value}" for name, value in properties.items())
    return f"::{_COMMANDS[problem.severity]} {listed}::{_escape_data(format_problem(problem))}"


def _escape_data(text: str) -> str:
    # The percent sign first, or it would be replaced in the other escapes, too.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
