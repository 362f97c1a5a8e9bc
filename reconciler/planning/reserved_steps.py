"""Which steps of a plan reservations hold back, for planner and executor alike; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.entries import ClusterEntry
from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.policy import Policy
from reconciler.core.reservations import Reservation, StopQuestion, is_held_by_reservation
from reconciler.ports.driver import Driver


def describe_reserved(reserved: Mapping[str, Reservation]) -> dict[str, str]:
    """Reserved node -> why it counts as away; made once for all steps, which are as many."""
    return {node: f"is {one.description}" for node, one in reserved.items()}


def find_reservation_hold(
    step: Step,
    reserved: Mapping[str, str],
    driver: Driver[Any, Any],
    *,
    entry: ClusterEntry,
    desired: Any,
    observed: Observed[Any],
    policy: Policy,
) -> str:
    """Why a step must not be sent while some nodes are reserved; empty if it may.

    Args:
        step: of a plan, or about to be performed.
        reserved: of `describe_reserved`.
        driver: the product.
        entry: of the cluster.
        desired: its desired state.
        observed: what the plan was made from.
        policy: of the cluster.
    """
    if not reserved:
        return ""
    if step.node in reserved and is_held_by_reservation(step):
        return f"it {reserved[step.node]}"
    away = reserved
    if step.node in reserved:
        away = {node: why for node, why in reserved.items() if node != step.node}
    why = driver.find_reservation_conflict(
        step, StopQuestion(step.node, entry, desired, observed, policy, away)
    )
    return f"it must stay available now: {why}" if why else ""
