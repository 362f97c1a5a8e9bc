"""Guards of all products: gates that could never pass, found before the first node is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.diagnostic import Diagnostic
from reconciler.text.one_line import join_some

_NAMED: Final = 3


@guard("gate-without-reports")
def refuse_gate_without_reports(context: GuardContext) -> Iterator[Diagnostic]:
    """A gate of reports needs nodes that have a URL of this host to report to."""
    rollout = context.change_rules.rollout
    silent = sorted({step.node for step in context.plan.steps} - context.reporting)
    if rollout is not None and rollout.gates.reports is not None and silent:
        yield context.violation(
            "gate-without-reports",
            f"{join_some(silent, _NAMED)} cannot report to this host, so the gate `reports` would fail "
            "after the first wave",
            "remove rollout.gates.reports, or name the server in `reports` or `deliver: poll` of the cluster",
        )


GUARDS: Final[tuple[Guard, ...]] = (refuse_gate_without_reports,)
"""The guard of this file."""
