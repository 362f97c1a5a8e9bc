"""Operations: what an operator asks for beside desired state, such as a purge; followed to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.core.actor import Actor


class OperationState(StrEnum):
    """The state of an operation at one node."""

    PENDING = "pending"
    """Nothing was sent yet."""

    OFFERED = "offered"
    """It is ready for the node, which has not taken it yet."""

    SENT = "sent"
    """The node took it, or was called, and has not reported a result."""

    DONE = "done"
    """The node reported success."""

    FAILED = "failed"
    """The node reported a failure, or refused."""

    OVERDUE = "overdue"
    """The node did not report in time; it may still do it."""


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What one node reported.

    Args:
        reason: of a failure, masked; empty otherwise.
        totals: name -> number, added over the parts of the operation; such as `count` and `size` of a purge.
    """

    node: str
    state: OperationState
    reason: str = ""
    totals: Mapping[str, float] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation on one cluster.

    Args:
        id: unique; messages to nodes carry it, so that a repeated one is recognised.
        kind: such as `purge`.
        targets: what it is about, in the product's words; such as URLs.
        direct: whether nodes are called, and not offered it at their next poll.
        waves: nodes in the order in which they are reached.
        deadline: when nodes without a result are overdue.
    """

    id: str
    kind: str
    cluster: str
    targets: tuple[str, ...]
    actor: Actor
    at: datetime
    deadline: datetime
    direct: bool = False
    waves: tuple[tuple[str, ...], ...] = ()
    results: Mapping[str, OperationResult] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All its nodes, in order."""
        return tuple(node for wave in self.waves for node in wave)

    def count_states(self) -> Mapping[OperationState, int]:
        """How many nodes are in each state."""
        pending = OperationResult("", OperationState.PENDING)
        return Counter(self.results.get(node, pending).state for node in self.nodes)

    def add_totals(self) -> Mapping[str, float]:
        """The totals of all nodes, each node once."""
        total: Counter[str] = Counter()
        for result in self.results.values():
            total.update(result.totals)
        return dict(sorted(total.items()))

    @property
    def is_over(self) -> bool:
        """Whether every node has ended, or is overdue."""
        left = (OperationState.PENDING, OperationState.OFFERED, OperationState.SENT)
        states = self.count_states()
        return not any(states[state] for state in left if state in states)
