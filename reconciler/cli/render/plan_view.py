"""All that a rendering of a plan is made from."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.plan import Plan
from reconciler.core.policy import Override
from reconciler.diagnostic import Diagnostic
from reconciler.planning.model_check import CheckResult


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan and what is said of it.

    Args:
        violations: why it is refused, or what holds up which cluster; empty where it may be applied.
        overridden: violations that an override of the fleet file sets aside, each with that override.
        warnings: what is doubtful in the files.
        findings: what is to be said of the run itself, such as messages not delivered.
        checked: what the model checker found; empty where it was not asked.
        faults: how many faults it allowed.
    """

    plan: Plan
    violations: tuple[Diagnostic, ...] = ()
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    checked: tuple[CheckResult, ...] = ()
    faults: int = 1

    @property
    def refused(self) -> bool:
        """Whether the plan as a whole must not be applied."""
        return any(not violation.hold for violation in self.violations)
