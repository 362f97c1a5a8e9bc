"""Errors as text: what is wrong, where, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.finding_groups import group_findings
from reconciler.descriptions.values import format_count
from reconciler.diagnostic import Severity
from reconciler.errors import GuardRefusal, InputError, ReconcilerError
from reconciler.text.one_line import clean_line


def render_error(error: ReconcilerError) -> str:
    """An error as lines: `error: what and where`, details, and `→ what to do`."""
    if isinstance(error, InputError) and error.problems:
        lines = [
            line
            for problem in error.problems
            for line in _format(
                problem.severity, f"{problem.where}: {problem.message} [{problem.code}]", problem.remedy
            )
        ]
        if len(error.problems) > 1:
            errors = sum(problem.severity is Severity.ERROR for problem in error.problems)
            files = len({problem.position.file for problem in error.problems})
            lines.append(
                f"{format_count(errors, 'error')} in {format_count(files, 'file')}; nothing was done."
            )
    elif isinstance(error, GuardRefusal) and error.violations:
        lines = [
            line
            for group in group_findings(error.violations)
            for line in _format("refused", f"{group.text} [{group.finding.code}]", group.finding.remedy)
        ]
    else:
        lines = list(_format("error", error.message, error.remedy))
    return "\n".join(lines) + "\n"


def _format(head: str, message: str, remedy: str) -> Iterator[str]:
    first, *rest = message.splitlines() or [""]
    yield f"{head}: {clean_line(first)}"
    yield from (f"  {clean_line(line)}" for line in rest if line.strip())
    if remedy:
        yield f"  → {clean_line(remedy)}"
