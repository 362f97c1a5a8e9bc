"""The model checker over a survey: every course that a cluster's concrete plan can take, within bounds."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.explore import Explored, explore
from reconciler.core.guard import Case
from reconciler.core.ports import Rehearses
from reconciler.core.rehearsal import Moment, Rehearsal
from reconciler.engine.survey import Drivers, Survey


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one cluster.

    Args:
        explored: what was seen; none where nothing could be explored.
        reason: why nothing was, without a final stop; empty where something was.
    """

    cluster: str
    explored: Explored | None = None
    reason: str = ""


def check(seen: Survey, drivers: Drivers, *, faults: int, most: int) -> tuple[Checked, ...]:
    """Explore every cluster's plan, in the plan's order; pure.

    Args:
        seen: a survey; the plan of a refused one is not explored, for it is never applied.
        drivers: kind -> product.
        faults: how many nodes may fail or be cut off, and calls go wrong, in all.
        most: bound on the states of one cluster.
    """
    if seen.refused:
        words = "a guard refused the plan, so that it is never applied"
        return tuple(Checked(case.plan.cluster, reason=words) for case in seen.cases)
    return tuple(_checked(case, drivers, faults, most) for case in seen.cases)


def _checked(case: Case, drivers: Drivers, faults: int, most: int) -> Checked:
    cluster, driver = case.plan.cluster, drivers[case.plan.kind]
    if not case.plan.steps:
        return Checked(cluster, reason="nothing is planned")
    if not isinstance(driver, Rehearses):
        return Checked(cluster, reason=f"there is no model of {case.plan.kind} to explore")
    begun = driver.play(case.desired, case.observed)
    if begun is None:
        return Checked(cluster, reason="the nodes' answers do not show one whole cluster")
    play, world = begun
    rehearsal = Rehearsal(play)
    start = rehearsal.under(case.plan, Moment(world, faults=faults))
    return Checked(cluster, explore([start], rehearsal.moves, most=most))
