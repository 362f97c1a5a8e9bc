"""Why a change must not be started on a cluster as it stands now, in words with numbers; "" where it may."""

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
"""Failures that the majority should survive while a live node is stopped: one may happen right then."""


def describe_numbers(state: State) -> str:
    """R, A and the majority of a state, for messages."""
    total, up = get_registered(state).bit_count(), get_alive(state).bit_count()
    return f"{up} of {total} regular nodes connected, majority {compute_quorum(total)}"


def find_register_obstacle(state: State, node: int, contact: int) -> str:
    """Registering is safe only if the majority stands even after a call that failed halfway.

    Such a call raises R alone, so that a regular node needs A >= floor((R + 1) / 2) + 1.
    """
    # The worst that the call can leave behind is judged, not what it should bring: an answer can be lost.
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
    """Whether the purge right after a stop gives back what the stop took of the majority's reserve.

    Between the two, no further failure is to spare: three nodes of four are all that a majority of four
    needs. In a cluster of three or four it is not to be had otherwise (arithmetic of the majority), so that a
    plan may do it where the window is short, and only there.
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
    # A cluster that has no node to spare already must not be refused a step that costs nothing more.
    if compute_margin(after) < min(spare, compute_margin(state)):
        return f"one more failure would then lose the majority ({describe_numbers(after)})"
    return ""
