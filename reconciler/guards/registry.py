"""All guards of every product, and the codes that an override may name, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reconciler.core.guard import Guard
from reconciler.guards import (
    change_control,
    cluster_order,
    foreign_changes,
    host_commands,
    limits,
    place_conflicts,
    provenance,
    removed_clusters,
    reservations,
    rollout_gates,
)

EVERYWHERE: Final[tuple[Guard, ...]] = (
    *limits.GUARDS,
    *change_control.GUARDS,
    *provenance.GUARDS,
    *place_conflicts.GUARDS,
    *rollout_gates.GUARDS,
    *reservations.GUARDS,
    *host_commands.GUARDS,
)
"""The guards of every cluster, before those of its product."""

FLEETWIDE: Final = (foreign_changes.FOREIGN, removed_clusters.CODE, cluster_order.CODE)
"""Codes that come from no guard of one plan: foreign changes, removed clusters, the order of clusters."""


def list_guard_codes(products: Iterable[Guard]) -> tuple[str, ...]:
    """The codes that an override may name, sorted.

    Args:
        products: the guards of all known products.
    """
    every = (*EVERYWHERE, *products)
    return tuple(sorted({*FLEETWIDE, *(code for guard in every for code in guard.codes)}))
