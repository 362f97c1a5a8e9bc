"""Problems and reasons as people see them (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from reconciler.core.finding_groups import group_findings
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.server.views.lists import Signal
from reconciler.text.one_line import clean_line

MOST_PROBLEMS: Final = 100
"""Problems of one kind that are shown; equal ones of many nodes are one."""

_SIGNALS: Final = {
    Severity.ERROR: Signal.PROBLEM,
    Severity.WARNING: Signal.ATTENTION,
    Severity.NOTE: Signal.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class ShownProblem:
    """One problem, or remark, in words.

    Args:
        label: what it is, in a word or two.
        text: what is wrong, and with what.
        rule: its code, for `reconcile explain`; empty for none.
        advice: what to do; may be empty.
    """

    signal: Signal
    label: str
    text: str
    rule: str = ""
    advice: str = ""


def show_violations(violations: Iterable[Diagnostic]) -> tuple[ShownProblem, ...]:
    """Why a plan is refused or on hold."""
    return tuple(
        ShownProblem(
            Signal.ATTENTION if one.finding.hold else Signal.PROBLEM,
            "on hold" if one.finding.hold else "refused",
            clean_line(one.text),
            one.finding.code,
            clean_line(one.finding.remedy),
        )
        for one in group_findings(violations)[:MOST_PROBLEMS]
    )


def show_findings(findings: Iterable[Diagnostic]) -> tuple[ShownProblem, ...]:
    """Errors, warnings and notes."""
    return tuple(
        ShownProblem(
            _SIGNALS[one.finding.severity],
            one.finding.severity.value,
            clean_line(one.text),
            one.finding.code,
            clean_line(one.finding.remedy),
        )
        for one in group_findings(findings)[:MOST_PROBLEMS]
    )
