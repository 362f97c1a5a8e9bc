"""Operations: what an operator asks for beside desired state, such as a purge; followed to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import chain, repeat
from typing import Any, Final

from reconciler.core.actor import Actor
from reconciler.core.canonical import fingerprint
from reconciler.core.fields import resolve_amount
from reconciler.core.rollout_rules import Rollout
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.text.one_line import bound_sentence


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

    SKIPPED = "skipped"
    """Nothing more is sent to it: it left the fleet, or an earlier wave failed."""


OPEN_STATES: Final = frozenset({OperationState.PENDING, OperationState.OFFERED, OperationState.SENT})
"""States that wait for the node or for this program."""

QUEUED: Final = "queued"
"""Total: calls that a node has queued, so that their counts are not known until it reports them."""

LARGEST_TOTAL: Final = 2.0**63
"""A total of one node that is as large as this, or no number, does not count."""

FIRST_WAVE: Final = "1"
"""Nodes of the first wave of an operation of high risk, unless the fleet file names a canary."""

NEXT_WAVES: Final = "25%"
"""Nodes of each further wave, unless the fleet file divides rollouts into waves."""


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

    def __post_init__(self) -> None:
        # A node reports what it likes: any amount of text, and numbers that JSON cannot write.
        object.__setattr__(self, "reason", bound_sentence(self.reason))
        finite = {name: value for name, value in self.totals.items() if abs(value) < LARGEST_TOTAL}
        object.__setattr__(self, "totals", finite)


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

    def plain(self) -> dict[str, Any]:
        """As plain JSON; `load_operation` reads it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "cluster": self.cluster,
            "targets": list(self.targets),
            "actor": asdict(self.actor),
            "at": format_timestamp(self.at),
            "deadline": format_timestamp(self.deadline),
            "direct": self.direct,
            "waves": [list(wave) for wave in self.waves],
            "results": [
                {
                    "node": one.node,
                    "state": one.state.value,
                    "reason": one.reason,
                    "totals": dict(one.totals),
                    "at": format_timestamp(one.at) if one.at else None,
                }
                for one in (self.result(node) for node in self.nodes)
            ],
        }

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
        return OPEN_STATES.isdisjoint(self.count_states())

    def result(self, node: str) -> OperationResult:
        """The result of a node; pending if there is none."""
        return self.results.get(node) or OperationResult(node, OperationState.PENDING)

    @property
    def next_wave(self) -> tuple[str, ...]:
        """The nodes of the first wave that has not ended; empty if all have."""
        waves = (wave for wave in self.waves if any(self.result(node).state in OPEN_STATES for node in wave))
        return next(waves, ())

    @property
    def digest(self) -> str:
        """Fingerprint of what it does, which an approval is bound to; equal for the same request."""
        return fingerprint([self.kind, self.cluster, self.targets, self.direct, self.waves])


def load_operation(plain: Mapping[str, Any]) -> Operation:
    """The operation that `Operation.plain` gave."""
    results = {
        one["node"]: OperationResult(
            one["node"],
            OperationState(one["state"]),
            one["reason"],
            one["totals"],
            parse_timestamp(one["at"]) if one["at"] else None,
        )
        for one in plain["results"]
    }
    return Operation(
        id=plain["id"],
        kind=plain["kind"],
        cluster=plain["cluster"],
        targets=tuple(plain["targets"]),
        actor=Actor(**plain["actor"]),
        at=parse_timestamp(plain["at"]),
        deadline=parse_timestamp(plain["deadline"]),
        direct=plain["direct"],
        waves=tuple(tuple(wave) for wave in plain["waves"]),
        results=results,
    )


def divide_into_waves(
    nodes: Sequence[str], rollout: Rollout | None, *, is_high_risk: bool
) -> tuple[tuple[str, ...], ...]:
    """The nodes of an operation in waves: one for a low risk, else sizes as for a rollout of the cluster."""
    if not is_high_risk:
        return (tuple(nodes),) if nodes else ()
    canary = rollout.canary if rollout and rollout.canary else FIRST_WAVE
    sizes = rollout.waves if rollout and rollout.waves != ("100%",) else (NEXT_WAVES,)
    waves: list[tuple[str, ...]] = []
    rest = tuple(nodes)
    for amount in chain((canary, *sizes), repeat(sizes[-1])):
        if not rest:
            break
        size = max(1, resolve_amount(amount, len(nodes)))
        waves.append(rest[:size])
        rest = rest[size:]
    return tuple(waves)
