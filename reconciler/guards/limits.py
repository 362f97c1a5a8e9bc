"""Guards of all products: how many nodes one run, or all runs in a time window, may change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.core.fields import resolve_amount
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import Risk, Step
from reconciler.diagnostic import Diagnostic
from reconciler.guards import failure_domains
from reconciler.text.one_line import join_some

_NAMED = 5


@guard("blast-radius", "blast-radius-risky")
def refuse_blast_radius(context: GuardContext) -> Iterator[Diagnostic]:
    """Limits on the nodes that one run changes, and on those that steps of high risk change."""
    # Nodes that leave are no longer desired, and maybe only others show them: they belong to the cluster that
    # can be harmed.
    touched = _list_changed_nodes(context.plan.steps)
    names = {node.name for node in context.entry.members()}
    total = max(context.plan.nodes, len(context.observed.nodes), len(names | set(touched)))
    limit = resolve_amount(context.policy.max_changed, total)
    if len(touched) > limit:
        yield context.violation(
            "blast-radius",
            f"{len(touched)} of {total} nodes would be changed in one run, the limit is {limit}",
            f"{context.partial_apply_hint}, or raise policy.max_changed in the fleet file",
        )
    risky = _list_changed_nodes(step for step in context.plan.steps if step.risk is Risk.HIGH)
    limit = resolve_amount(context.policy.max_risky, total)
    if len(risky) > limit:
        yield context.violation(
            "blast-radius-risky",
            f"{len(risky)} of {total} nodes would be changed by steps of high risk, "
            f"the limit is {limit} ({join_some(risky, _NAMED)})",
            "set policy.max_risky to 100% for this change, which is one of all nodes"
            if any(step.arguments.outage or step.arguments.ends_outage for step in context.plan.steps)
            else f"{context.partial_apply_hint}, or set an override with an expiry in the fleet file",
        )


@guard("desired-shrank")
def refuse_shrink(context: GuardContext) -> Iterator[Diagnostic]:
    """A fleet file that suddenly lacks many nodes, or all of them, is more often a mistake than a wish."""
    # An operator has confirmed that the old nodes are permanently lost; the cluster is made again.
    if any(step.arguments.assumes_nodes_lost for step in context.plan.steps):
        return
    before, now = context.cluster_memory.nodes, context.plan.nodes
    # By name: new nodes do not make up for missing ones, which are abandoned or removed all the same. Only
    # memory of older versions has a number without names.
    names = {node.name for node in context.entry.members()}
    gone = (
        sorted(context.cluster_memory.names - names - context.uncounted_nodes)
        if context.cluster_memory.names
        else []
    )
    count = len(gone) if context.cluster_memory.names else before - now - len(context.uncounted_nodes - names)
    limit = resolve_amount(context.policy.max_shrink, before) if before else 0
    whole = count >= before
    if before and count and (whole or count > limit):
        listed = f" ({join_some(gone, _NAMED)})" if gone else ""
        where = "listed by the fleet file or its inventory" if context.has_inventory else "in the fleet file"
        yield context.violation(
            "desired-shrank",
            f"{count} of {before} nodes are no longer {where}{listed}; the "
            f"limit for one run is {limit}{', and never all nodes' if whole else ''}",
            "put them back, or remove them in several commits, or set an override in the fleet file"
            if not context.has_inventory
            else "look at the tags, states and permissions in the cloud; if they are gone on purpose, set an "
            "override in the fleet file",
        )


@guard("budget")
def refuse_over_budget(context: GuardContext) -> Iterator[Diagnostic]:
    """The nodes that all runs in the time window changed, together with this plan, stay within the budget."""
    allowed = context.policy.budget
    if allowed is None:
        return
    limit = resolve_amount(allowed.nodes, context.plan.nodes)
    changes = context.cluster_memory.recent_changes
    recent = {node for node, hours in changes if hours <= allowed.hours}
    ahead = {node for node, hours in changes if hours < 0}
    dated = (
        f" ({len(ahead)} of them dated later than now: the clock of this host was ahead, or is behind)"
        if ahead
        else ""
    )
    planned = set(_list_changed_nodes(context.plan.steps))
    if planned and len(recent | planned) > limit:
        yield context.violation(
            "budget",
            f"this plan would change {len(planned - recent)} more nodes; {len(recent)} "
            f"{'was' if len(recent) == 1 else 'were'} changed in the last "
            f"{_format_hours(allowed.hours)}{dated}, and the budget is {limit}",
            f"{context.partial_apply_hint}, wait until earlier changes are {allowed.hours:g} h old, or "
            "raise policy.budget in the fleet file",
        )


GUARDS: tuple[Guard, ...] = (refuse_blast_radius, refuse_shrink, refuse_over_budget, *failure_domains.GUARDS)
"""Applied to every cluster, before the guards of its product."""


def _list_changed_nodes(steps: Iterable[Step]) -> list[str]:
    # A manual step only waits: the operator changes the node, not this run.
    return sorted({step.node for step in steps if not step.is_manual})


def _format_hours(hours: float) -> str:
    return "hour" if hours == 1 else f"{hours:g} hours"
