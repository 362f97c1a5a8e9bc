"""The model checker over a survey: every course that a cluster's concrete plan can take, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.core.policy import Override
from reconciler.core.product_model import ModelSetup, Weigh
from reconciler.core.waves import assign_waves
from reconciler.guards.change_control import PROOF_MISSING
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import Exploration, explore_states
from reconciler.modelcheck.state_table import StateTable
from reconciler.planning.plan_pass import Drivers, PlanResult, judge_plans


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What became of one cluster.

    Args:
        explored: what was seen; none where nothing could be explored.
        reason: why nothing was, without a final stop; empty where something was.
        words: which nodes stand for which; empty where the whole cluster was explored.
    """

    cluster: str
    explored: Exploration | None = None
    reason: str = ""
    words: str = ""


USUAL: Final = 5
"""Nodes of a cluster whose states count as one each, where they are weighed."""


def check_plans(
    seen: PlanResult, drivers: Drivers, *, faults: int, most: int, weighs: bool = False
) -> tuple[CheckResult, ...]:
    """Explore every cluster's plan, in the plan's order; pure.

    Args:
        seen: a survey; the plan of a refused one is not explored, for it is never applied.
        drivers: kind -> product.
        faults: how many nodes may fail, be cut off or be changed, and calls go wrong, in all.
        most: bound on the states of one cluster.
        weighs: whether a state of a large cluster counts for several: it has more nodes, and as many more
            moves lead on from it.
    """
    if seen.refused:
        words = "a guard refused the plan, so that it is never applied"
        return tuple(CheckResult(case.plan.cluster, reason=words) for case in seen.cases)
    return tuple(
        _checked(seen, case, drivers, faults, most // _weight(case) if weighs else most)
        for case in seen.cases
    )


def _weight(case: GuardContext) -> int:
    return max(1, (len(case.entry.members()) // USUAL) ** 2)


def _checked(seen: PlanResult, case: GuardContext, drivers: Drivers, faults: int, most: int) -> CheckResult:
    cluster, driver = case.plan.cluster, drivers[case.plan.kind]
    case = replace(case, plan=_fresh(case.plan, seen))
    if not case.plan.steps:
        return CheckResult(cluster, reason="nothing is planned")
    stages = driver.stages(case.desired, case.observed, case.plan)
    if isinstance(stages, str):
        return CheckResult(cluster, reason=stages)
    found: list[Exploration] = []
    for stage in stages:
        rest = most - sum(one.states for one in found)
        weigh = _few(seen, case, stage, drivers) if stage.words else _whole(seen, case, drivers)
        found.append(_explored(stage, weigh, faults, rest, single_node=driver.capabilities.single_node))
        if found[-1].broken or not found[-1].complete:
            break
    return CheckResult(cluster, _together(found), words=stages[0].words)


def _fresh(plan: ClusterPlan, seen: PlanResult) -> ClusterPlan:
    """The plan without the steps of a plan file that must not be performed any more."""
    return replace(plan, steps=tuple(step for step in plan.steps if step.id not in seen.stale))


def _explored(
    stage: ModelSetup[Any], weigh: Weigh, faults: int, most: int, *, single_node: bool
) -> Exploration:
    rehearsal = ExecutorModel(StateTable(stage.model, weigh, single_node=single_node))
    starts = [rehearsal.under(stage.plan, rehearsal.begin(world, faults=faults)) for world in stage.worlds]
    return explore_states(starts, rehearsal.moves, most=most)


def _together(found: Sequence[Exploration]) -> Exploration:
    """Several explorations as one; the last is the one that ended them."""
    return replace(
        found[-1],
        states=sum(one.states for one in found),
        moves=sum(one.moves for one in found),
        depth=max(one.depth for one in found),
    )


def _whole(seen: PlanResult, case: GuardContext, drivers: Drivers) -> Weigh:
    """All guards, with the fleet file's policy and overrides, on the plan of a further pass.

    What only holds a plan up does not count: it ends by itself or by somebody's word. Where nothing proves
    that a step was never done before, that word is not taken for granted, because all rests on it.
    """

    def weigh(plan: ClusterPlan, observed: Observed[Any]) -> bool:
        own = assign_waves(plan, case.entry, case.change_rules.rollout)
        # The plan's own approval is for one run, so that it says nothing of a further one.
        judged_anew = judge_plans(
            seen.fleet, [replace(case, plan=own, observed=observed, digest="")], drivers
        )
        return all(violation.hold and violation.code != PROOF_MISSING for violation in judged_anew.in_force)

    return weigh


def _few(seen: PlanResult, case: GuardContext, stage: ModelSetup[Any], drivers: Drivers) -> Weigh:
    """The product's guards alone: what is counted over all nodes cannot be counted over a few."""
    overrides: Sequence[Override] = seen.fleet.overrides

    def weigh(plan: ClusterPlan, observed: Observed[Any]) -> bool:
        again = GuardContext(
            plan, stage.desired.entry, stage.desired, observed, policy=drivers[plan.kind].policy.unlimited()
        )
        found = run_guards(again, drivers[plan.kind].guards)
        return not (apply_overrides(found, overrides, case.at.date()).in_force if case.at else found)

    return weigh
