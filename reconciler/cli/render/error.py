"""Errors for a person: what is wrong, where, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.render.values import format_count
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import GuardRefusal, InputError, ReconcilerError
from reconciler.text.one_line import clean_line


def render_error(error: ReconcilerError) -> str:
    """An error as lines: `error: what and where`, what more there is to say, and `→ what to do`."""
    if isinstance(error, InputError) and error.problems:
        lines = list(_problems(error))
    elif isinstance(error, GuardRefusal) and error.violations:
        lines = [
            line
            for violation in error.violations
            for line in _said("refused", f"{violation.message} [{violation.code}]", violation.remedy)
        ]
    else:
        lines = list(_said("error", error.message, error.remedy))
    return "\n".join(lines) + "\n"


def _problems(error: InputError) -> Iterator[str]:
    for problem in error.problems:
        text = f"{problem.where}: {problem.message} [{problem.code}]"
        yield from _said(problem.severity, text, problem.remedy)
    if len(error.problems) > 1:
        yield _total(error.problems)


def _total(problems: tuple[Diagnostic, ...]) -> str:
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    files = len({problem.position.file for problem in problems})
    return f"{format_count(errors, 'error')} in {format_count(files, 'file')}; nothing was done."


def _said(head: str, message: str, remedy: str) -> Iterator[str]:
    first, *rest = message.splitlines() or [""]
    yield f"{head}: {clean_line(first)}"
    yield from (f"  {clean_line(line)}" for line in rest if line.strip())
    if remedy:
        yield f"  → {clean_line(remedy)}"
