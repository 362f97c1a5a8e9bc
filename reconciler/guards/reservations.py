"""The guard of reservations: nothing is begun on a node that somebody may stop at any moment."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.reservations import RESERVED, is_held_by_reservation
from reconciler.diagnostic import Diagnostic, Severity


@guard(RESERVED)
def refuse_steps_on_reserved_nodes(context: GuardContext) -> Iterator[Diagnostic]:
    """No step is begun on a reserved node before it is released, or back after its time."""
    # The plan is made without such steps. This finds those of a plan file, and of a planner that errs.
    nodes = {step.node for step in context.plan.steps if is_held_by_reservation(step)}
    for node, reservation in sorted(context.reserved.nodes.items()):
        if node in nodes:
            yield Diagnostic(
                Severity.ERROR,
                RESERVED,
                f"{node} is {reservation.description}, so nothing is begun on it",
                f"wait, or run `reconcile allow-stop {node} --release`",
                target=f"{context.plan.cluster}/{node}",
                hold=True,
            )


GUARDS: tuple[Guard, ...] = (refuse_steps_on_reserved_nodes,)
"""Applied to every cluster."""
