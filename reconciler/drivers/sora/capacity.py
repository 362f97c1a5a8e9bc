"""How many connections a cluster's licences allow, now and after one more failure; pure arithmetic.

What is documented is the failure of one regular node where all limits are equal: each of the n survivors,
temporary ones included, takes ceil(c / n) more. The failure of a temporary node is not compensated. Of
several failures at once, and of unequal limits, nothing is known; then no compensation is counted (facts:
sora.md, "State machine", licence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.drivers.sora.cluster_state import State, find_leading_group
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.membership import NodeNumbers


@dataclass(frozen=True, slots=True)
class LicensedMember:
    """A connected member that carries connections; `limit` is that of its licence, None if unknown."""

    name: str
    limit: int | None
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is left after the worst single failure.

    Args:
        connections: that the survivors may carry, as far as their licences are known.
        without: the node whose failure that is; empty where no node is left to fail.
        unknown_limits: the survivors whose licence is not known; they count as carrying nothing.
    """

    connections: int
    without: str = ""
    unknown_limits: tuple[str, ...] = ()


def compute_capacity_after_failure(carriers: Sequence[LicensedMember], *, is_compensated: bool) -> Capacity:
    """What the members may carry once any one of them has failed, whichever leaves the least.

    Args:
        carriers: the connected members.
        is_compensated: whether the failure of one of them is compensated: not if another member is away.
    """
    found = [_compute_without(carriers, failed, is_compensated=is_compensated) for failed in carriers]
    return min(found, key=lambda one: (one.connections, one.without), default=Capacity(0))


def compute_capacity_left(state: State, node_numbers: NodeNumbers, cluster_view: ClusterView) -> Capacity:
    """What the connected members of a state may carry after one more failure; reserved ones count as away."""
    group = find_leading_group(state)
    if group is None:
        return Capacity(0)
    limits, temporary = cluster_view.limits, node_numbers.list_names(group.log.temporary)
    carriers = [
        LicensedMember(name, limits.get(name), name in temporary)
        for name in node_numbers.list_names(group.nodes & group.log.listed)
        if name not in cluster_view.observed.reserved
    ]
    is_whole = not group.log.regular & ~group.nodes
    return compute_capacity_after_failure(carriers, is_compensated=is_whole)


def _compute_without(
    carriers: Sequence[LicensedMember], failed: LicensedMember, *, is_compensated: bool
) -> Capacity:
    left = [one for one in carriers if one is not failed]
    limits = [one.limit for one in left if one.limit is not None]
    unknown_limits = tuple(one.name for one in left if one.limit is None)
    # A survivor with an unknown or another limit is outside of what is documented: nothing is compensated.
    equal = failed.limit is not None and not unknown_limits and set(limits) <= {failed.limit}
    more = 0
    if is_compensated and equal and left and not failed.temporary and failed.limit is not None:
        more = len(left) * -(-failed.limit // len(left))
    return Capacity(sum(limits) + more, failed.name, unknown_limits)
