"""Runs the model checker on a plan: every possible execution of each cluster's plan, within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.core.polled_model import PolledSetup
from reconciler.core.product_model import ModelSetup, Weigh
from reconciler.core.waves import assign_waves
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.change_control import PROOF_MISSING
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import Exploration, explore_states
from reconciler.modelcheck.offer_model import OfferModel
from reconciler.modelcheck.offer_state import OfferRules
from reconciler.modelcheck.state_table import StateTable
from reconciler.planning.plan_pass import Drivers, PlanResult, check_guards


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result for one cluster.

    Args:
        explored: the exploration; None if there was none.
        reason: why there was none, without a final stop; empty if there was one.
        words: which nodes represent which; empty if the whole cluster was explored.
        findings: of a plan without steps: the errors that left it empty.
    """

    cluster: str
    explored: Exploration | None = None
    reason: str = ""
    words: str = ""
    findings: tuple[Diagnostic, ...] = ()


USUAL: Final = 5
"""Nodes of a cluster up to which a state counts as one, if states are weighted by the size of the cluster."""


def check_plans(
    plan_result: PlanResult, drivers: Drivers, *, faults: int, most: int, weighs: bool = False
) -> tuple[CheckResult, ...]:
    """Explore every cluster's plan, in the plan's order; pure.

    Args:
        plan_result: a refused plan is not explored, because it is never applied.
        drivers: kind -> product.
        faults: how many faults may happen in all: nodes that fail, are cut off or changed, calls that fail.
        most: bound on the states of one cluster.
        weighs: whether a state of a large cluster counts for several: it has more nodes, and so more
            transitions.
    """
    refused = plan_result.refused_clusters
    reason = "a guard refused the plan, so it is never applied"
    return tuple(
        CheckResult(context.plan.cluster, reason=reason)
        if plan_result.is_refused or context.plan.cluster in refused
        else _check_cluster(
            plan_result, context, drivers, faults, most // _compute_weight(context) if weighs else most
        )
        for context in plan_result.guard_contexts
    )


def _compute_weight(context: GuardContext) -> int:
    # Squared: with the number of nodes grows the size of a world, and the number of transitions from it.
    return max(1, (len(context.entry.members()) // USUAL) ** 2)


def _check_cluster(
    plan_result: PlanResult, context: GuardContext, drivers: Drivers, faults: int, most: int
) -> CheckResult:
    cluster, driver = context.plan.cluster, drivers[context.plan.kind]
    steps = tuple(step for step in context.plan.steps if step.id not in plan_result.stale)
    context = replace(context, plan=replace(context.plan, steps=steps))
    if not context.plan.steps:
        errors = tuple(one for one in context.plan.findings if one.severity is Severity.ERROR)
        return CheckResult(cluster, reason=_explain_empty_plan(context.plan), findings=errors)
    stages = driver.list_model_setups(context.desired, context.observed, context.plan)
    if isinstance(stages, str):
        return CheckResult(cluster, reason=stages)
    found: list[Exploration] = []
    for stage in stages:
        rest = most - sum(one.states for one in found)
        if isinstance(stage, PolledSetup):
            found += _explore_offers(stage, context, faults, rest)
            if found[-1].broken or not found[-1].complete:
                break
            continue
        if stage.words:
            weigh = _judge_part(plan_result, context, stage, drivers)
        else:
            weigh = _judge_whole(plan_result, context, drivers)
        model = ExecutorModel(StateTable(stage.model, weigh, single_node=driver.capabilities.single_node))
        starts = [model.under(stage.plan, model.begin(world, faults=faults)) for world in stage.worlds]
        found.append(explore_states(starts, model.moves, most=rest))
        if found[-1].broken or not found[-1].complete:
            break
    return CheckResult(cluster, _merge(found), words=stages[0].words)


def _explain_empty_plan(plan: ClusterPlan) -> str:
    if plan.nodes and plan.unchanged == plan.nodes:
        return f"nothing is planned, all {plan.nodes:,} nodes are as desired"
    return f"nothing is planned, and {plan.unchanged:,} of {plan.nodes:,} nodes are as desired"


def _explore_offers(
    setup: PolledSetup, context: GuardContext, faults: int, most: int
) -> Iterator[Exploration]:
    """Every execution of the offers of a plan, in parts that keep the number of states small.

    Calls of nodes in the middle of a pass are explored for one node; of two nodes, passes are not interrupted
    by calls: nodes influence each other by waves only, and a wave is judged by whole passes.
    """
    rollout = context.change_rules.rollout
    waves = len({step.wave for step in context.plan.steps})
    nodes = len(setup.model.names)
    sizes = () if rollout is None else (1,) if waves > 1 else (nodes,)
    rules = OfferRules(
        sizes,
        rollout.max_unknown if rollout else "0",
        returns=rollout is not None and rollout.on_failure == "return",
    )
    left = most
    for number, interleaves, bounds in (
        (nodes, False, {"faults": 0, "kills": 0, "commits": 0, "suspensions": 0}),
        (1, True, {"faults": 0, "kills": 1, "commits": 1, "suspensions": 0}),
        (1, False, {"faults": faults, "kills": 1, "commits": 0, "suspensions": 1}),
    ):
        model = OfferModel(setup.model, replace(rules, interleaves=interleaves))
        found = explore_states([model.begin(nodes=number, **bounds)], model.moves, most=left)
        left -= found.states
        yield found
        if found.broken or not found.complete:
            return


def _merge(found: Sequence[Exploration]) -> Exploration:
    """Several explorations as one; the last one decides the result."""
    return replace(
        found[-1],
        states=sum(one.states for one in found),
        moves=sum(one.moves for one in found),
        depth=max(one.depth for one in found),
    )


def _judge_whole(plan_result: PlanResult, context: GuardContext, drivers: Drivers) -> Weigh:
    """All guards, with the fleet file's policy and overrides, on the plan of a further pass."""

    def weigh(plan: ClusterPlan, observed: Observed[Any]) -> bool:
        own = assign_waves(plan, context.entry, context.change_rules.rollout)
        # The plan's own approval is for one run, so that it says nothing of a further one.
        further = replace(context, plan=own, observed=observed, digest="")
        in_force = check_guards(plan_result.fleet, [further], drivers).in_force
        # A hold passes: it ends by itself or by an operator's entry. One for a missing proof does not: only
        # that entry would say that the step was never done before.
        return all(violation.hold and violation.code != PROOF_MISSING for violation in in_force)

    return weigh


def _judge_part(
    plan_result: PlanResult, context: GuardContext, stage: ModelSetup[Any], drivers: Drivers
) -> Weigh:
    """The product's guards alone: limits over all nodes mean nothing for the few that represent them."""

    def weigh(plan: ClusterPlan, observed: Observed[Any]) -> bool:
        driver, desired = drivers[plan.kind], stage.desired
        further = GuardContext(plan, desired.entry, desired, observed, policy=driver.policy.unlimited())
        found = run_guards(further, driver.guards)
        if context.now is None:
            return not found
        return not apply_overrides(found, plan_result.fleet.overrides, context.now.date()).in_force

    return weigh
