"""Which steps of a plan reservations and holds keep back, for planner and executor alike; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.core.entries import ClusterEntry
from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.policy import Policy
from reconciler.core.reservations import Reservation, StopQuestion
from reconciler.ports.driver import Driver


@dataclass(frozen=True, slots=True)
class StepHold:
    """Why a step is not sent now.

    Args:
        why: for people.
        reservation: of a node that the step is about; None if it would interrupt a node that must stay
            available while others count as away.
        only_holds: whether all of these others are held, and none is reserved.
    """

    why: str
    reservation: Reservation | None = None
    only_holds: bool = False

    @property
    def is_hold(self) -> bool:
        """Whether a person ordered that nothing is sent to the node."""
        return self.reservation is not None and self.reservation.is_hold


def describe_reserved(reserved: Mapping[str, Reservation]) -> dict[str, str]:
    """Reserved or held node -> why it counts as away; made once for all steps, which are as many."""
    return {node: f"is {one.description}" for node, one in reserved.items()}


def find_reservation_hold(
    step: Step,
    reserved: Mapping[str, Reservation],
    reasons: Mapping[str, str],
    driver: Driver[Any, Any],
    *,
    entry: ClusterEntry,
    desired: Any,
    observed: Observed[Any],
    policy: Policy,
) -> StepHold | None:
    """What keeps a step from being sent while some nodes count as away; None if it may be sent.

    Args:
        step: of a plan, or about to be performed.
        reserved: node -> why it counts as away.
        reasons: of `describe_reserved`.
        driver: the product.
        entry: of the cluster.
        desired: its desired state.
        observed: what the plan was made from.
        policy: of the cluster.
    """
    if not reserved:
        return None
    own = reserved.get(step.node)
    if own is not None and own.blocks(step):
        return StepHold(f"it {reasons[step.node]}", own)
    # Such as the cluster that is made of it: the node would be drawn into what is done to another one.
    held = next((reserved[name] for name in step.nodes if name in reserved and reserved[name].is_hold), None)
    if held is not None:
        return StepHold(f"it is about {held.node}, too, which {reasons[held.node]}", held)
    away = reasons
    if own is not None:
        away = {node: why for node, why in reasons.items() if node != step.node}
    why = driver.find_reservation_conflict(
        step, StopQuestion(step.node, entry, desired, observed, policy, away)
    )
    only_holds = all(reserved[node].is_hold for node in away)
    return StepHold(f"it must stay available now: {why}", only_holds=only_holds) if why else None
