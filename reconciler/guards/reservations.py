"""The guard of reservations and holds: nothing is begun on a node that a person works on or may stop."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.reservations import HELD, RESERVED
from reconciler.diagnostic import Diagnostic, Severity


@guard(RESERVED, HELD)
def refuse_steps_on_reserved_nodes(context: GuardContext) -> Iterator[Diagnostic]:
    """No step is begun on a node that is reserved, or back after its time, nor anything on a held node."""
    # The plan is made without such steps. This finds those of a plan file, and of a planner that errs.
    reserved = context.reserved.nodes
    touched = {
        name
        for step in context.plan.steps
        for name in step.nodes
        if name in reserved and reserved[name].blocks(step) and (name == step.node or reserved[name].is_hold)
    }
    for node, reservation in sorted(reserved.items()):
        if node in touched:
            yield Diagnostic(
                Severity.ERROR,
                reservation.code,
                f"{node} is {reservation.description}, so nothing is begun on it",
                f"wait, or: {reservation.remedy}",
                target=f"{context.plan.cluster}/{node}",
                hold=True,
            )


GUARDS: tuple[Guard, ...] = (refuse_steps_on_reserved_nodes,)
"""Applied to every cluster."""
