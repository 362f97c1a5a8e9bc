"""Why a change must not start in the present state of a cluster, with numbers; "" if it may.

Source of the arithmetic: Sora documentation, "Cluster function" (facts: sora.md, "State machine").
"""

from __future__ import annotations

from typing import Final

from reconciler.drivers.sora import machine
from reconciler.drivers.sora.cluster_state import (
    State,
    compute_margin,
    compute_quorum,
    get_alive,
    get_registered,
    has_majority,
)

SPARE: Final = 1
"""Failures that the majority should survive while a live node is stopped: one may happen at that moment."""


def describe_numbers(state: State) -> str:
    """R, A and the majority of a state, for messages."""
    total, up = get_registered(state).bit_count(), get_alive(state).bit_count()
    return f"{up} of {total} regular nodes connected, majority {compute_quorum(total)}"


def find_register_obstacle(state: State, node: int, contact: int) -> str:
    """Registering is safe only if the majority holds even after a call that failed halfway.

    Such a call raises R alone, so that a regular node needs A >= floor((R + 1) / 2) + 1.
    """
    # Judge the worst that the call can leave behind, not what it should do: the answer can be lost, and a
    # half registration raises R and with it the majority, but not A.
    half = machine.register(state, node, contact, half=True)
    if isinstance(half, machine.CallRefusal):
        return half.reason
    if has_majority(half):
        return ""
    return f"a half-finished registration would lose the majority ({describe_numbers(half)})"


def find_purge_obstacle(state: State, on: int, target: int) -> str:
    """Purging needs a stopped regular target and the majority held without it."""
    after = machine.purge(state, on, target)
    if isinstance(after, machine.CallRefusal):
        return f"{after.reason} ({describe_numbers(state)})"
    return "" if has_majority(after) else f"the majority would be lost ({describe_numbers(after)})"


def closes_window(before: State, stopped: State, purged: State) -> bool:
    """Whether the purge right after a stop gives back the reserve that the stop took.

    Between the two there is none: a majority of four registered nodes needs all three that are left. In a
    cluster of three or four nodes no other order exists (arithmetic of the majority), so a plan may do this,
    but only if the window between stop and purge is short.
    """
    return has_majority(stopped) and compute_margin(purged) >= min(SPARE, compute_margin(before))


def find_stop_obstacle(state: State, node: int, *, spare: int = 0) -> str:
    """Stopping a live regular node is safe only if A - 1 - spare >= floor(R / 2) + 1.

    `spare` is how many further failures the majority has to survive after it; a node that is cut off
    costs none.
    """
    if not has_majority(state):
        return f"the cluster has lost its majority ({describe_numbers(state)})"
    after = machine.stop(state, node)
    if not has_majority(after):
        return f"the majority would be lost ({describe_numbers(after)})"
    # A cluster that has no reserve already must not be refused a step that costs none.
    if compute_margin(after) < min(spare, compute_margin(state)):
        return f"one more failure would then lose the majority ({describe_numbers(after)})"
    return ""
