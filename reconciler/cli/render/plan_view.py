"""All data that a rendering of a plan needs."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.plan import Plan
from reconciler.core.policy import Override
from reconciler.diagnostic import Diagnostic
from reconciler.planning.model_check import CheckResult


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan with its violations, warnings and findings.

    Args:
        violations: why it is refused, or which cluster is on hold; empty if it may be applied.
        overridden: violations that an override of the fleet file sets aside, each with that override.
        warnings: about the files.
        findings: about the run itself, such as messages that were not delivered.
        checked: results of the model checker; empty if it did not run.
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
        """Whether the whole plan is refused."""
        return any(not violation.hold for violation in self.violations)
