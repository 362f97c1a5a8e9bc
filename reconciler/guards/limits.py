"""Guards that hold for every product: how much of a cluster one run, or one day, may touch."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import Risk, Step
from reconciler.core.policy import resolve_amount
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards import failure_domains


@guard("blast-radius", "blast-radius-risky")
def refuse_blast_radius(case: GuardContext) -> Iterator[Diagnostic]:
    """One run may touch so many nodes, and fewer by steps that are risky or take a node away."""
    cluster, total = case.plan.cluster, max(case.plan.nodes, len(case.observed.nodes))
    touched = _nodes(case.plan.steps)
    limit = resolve_amount(case.policy.max_changed, total)
    if len(touched) > limit:
        yield Diagnostic(
            Severity.ERROR,
            "blast-radius",
            f"{cluster}: {len(touched)} of {total} nodes would be changed in one run, the limit is {limit}",
            f"{case.in_parts}, or raise policy.max_changed in the fleet file",
            target=cluster,
        )
    risky = _nodes(step for step in case.plan.steps if step.risk is Risk.HIGH)
    limit = resolve_amount(case.policy.max_risky, total)
    if len(risky) > limit:
        yield Diagnostic(
            Severity.ERROR,
            "blast-radius-risky",
            f"{cluster}: {len(risky)} of {total} nodes would be changed by steps of high risk, "
            f"the limit is {limit} ({', '.join(risky[:5])}{' …' if len(risky) > 5 else ''})",  # noqa: PLR2004
            f"{case.in_parts}, or set an override with an expiry in the fleet file",
            target=cluster,
        )


@guard("desired-shrank")
def refuse_shrink(case: GuardContext) -> Iterator[Diagnostic]:
    """A source that suddenly lets many nodes go, or all, is more often a mistake than a wish.

    What counts is which nodes go, by name: others in their place make up for nothing, because the old ones
    are left alone or removed all the same. A person's word that all of them are gone for good is enough.
    """
    if any(step.is_anew for step in case.plan.steps):
        return
    before, now = case.cluster_memory.nodes, case.plan.nodes
    names = {node.name for node in case.entry.members()}
    gone = sorted(case.cluster_memory.names - names - case.uncounted) if case.cluster_memory.names else []
    count = len(gone) if case.cluster_memory.names else before - now - len(case.uncounted - names)
    limit = resolve_amount(case.policy.max_shrink, before) if before else 0
    whole = count >= before
    if before and count and (whole or count > limit):
        listed = f" ({', '.join(gone[:5])}{' …' if len(gone) > 5 else ''})" if gone else ""  # noqa: PLR2004
        yield Diagnostic(
            Severity.ERROR,
            "desired-shrank",
            f"{case.plan.cluster}: {count} of the {before} nodes that stood in the fleet file before are no "
            f"longer named{listed}; at most {limit} may go at once{', and never all' if whole else ''}",
            "if that is meant, remove them in several commits, or set an override in the fleet file",
            target=case.plan.cluster,
        )


@guard("budget")
def refuse_over_budget(case: GuardContext) -> Iterator[Diagnostic]:
    """Changes of all runs within the window, together with this plan, stay within the budget."""
    allowed = case.policy.budget
    if allowed is None:
        return
    limit = resolve_amount(allowed.nodes, case.plan.nodes)
    recent = {node for node, hours in case.cluster_memory.changed if hours <= allowed.hours}
    planned = set(_nodes(case.plan.steps))
    if planned and len(recent | planned) > limit:
        yield Diagnostic(
            Severity.ERROR,
            "budget",
            f"{case.plan.cluster}: {len(recent)} nodes were changed in the last {allowed.hours:g} hours and "
            f"{len(planned - recent)} more would be, the budget is {limit}",
            "wait until the window has moved on, or raise policy.budget in the fleet file",
            target=case.plan.cluster,
        )


GUARDS: tuple[Guard, ...] = (refuse_blast_radius, refuse_shrink, refuse_over_budget, *failure_domains.GUARDS)
"""Applied to every cluster, before the guards of its product."""


def _nodes(steps: Iterator[Step] | tuple[Step, ...]) -> list[str]:
    return sorted({step.node for step in steps if not step.waits_for_person})
