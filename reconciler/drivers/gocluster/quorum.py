"""The quorum of the Go `cluster` package, in the view of one node; pure.

The one place of this arithmetic: planner, guards, judge, checker, simulator and oracle all ask here.
"""

from __future__ import annotations

from typing import Final

ALWAYS: Final = 1
"""Up to this many configured peers, a node has a quorum whatever it sees: so in a cluster of two."""


def has_quorum(configured: int, connected: int) -> bool:
    """Whether a node has the quorum in its own view.

    The library compares `(n + 1) / 2 < c + 1`: strictly more than half of all members, itself among them.

    Args:
        configured: its peers, without itself.
        connected: peers that it is connected to.
    """
    return configured <= ALWAYS or configured + 1 < 2 * (connected + 1)


def count_needed(configured: int) -> int:
    """How many connected peers a node needs for its quorum."""
    return 0 if configured <= ALWAYS else (configured + 1) // 2


def describe_quorum(configured: int, connected: int) -> str:
    """The numbers of one view, for people."""
    if configured <= ALWAYS:
        return f"a node with {configured} peers always has a quorum"
    return (
        f"connected to {connected} of {configured} peers, at least {count_needed(configured)} of them needed"
    )
