"""Where the connections of a stopped node go, by the documents' tables and the licences; pure.

Sora documentation, "Cluster function". Its sentence about new channels has lost a particle, so that there are
two readings: to the node with the largest difference of limit and connections, which other places of the
same page say, or word for word to the one with the smallest. Whoever stops a node is shown both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush
from typing import Final

MOST_CONNECTIONS: Final = 100_000
"""Connections that are spread in an estimate: more are no figure of one node."""


class Reading(StrEnum):
    """A reading of the sentence about new channels."""

    MOST_SPARE = "if new channels go to the node with the most room"
    LEAST_SPARE = "if, word for word, to the one with the least room that is left"


@dataclass(frozen=True, slots=True)
class Carrier:
    """A member that carries connections: what its licence allows, and what it has."""

    name: str
    limit: int
    connections: int


@dataclass(frozen=True, slots=True)
class LoadEstimate:
    """Where connections go.

    Args:
        added: node -> connections more, of those that get any.
        refused: connections for which no licence has room.
    """

    added: Mapping[str, int]
    refused: int = 0

    def describe(self, carriers: Sequence[Carrier]) -> str:
        """In words, with what each node has then and what its licence allows."""
        by_name = {one.name: one for one in carriers}
        words = [
            f"{name} +{more} ({by_name[name].connections + more} of {by_name[name].limit})"
            for name, more in sorted(self.added.items())
        ]
        return ", ".join([*words, *([f"{self.refused} find no room"] if self.refused else [])])


def raise_limits(carriers: Sequence[Carrier], lost: int) -> tuple[Carrier, ...]:
    """The carriers after the failure of one regular node of limit `lost`: each takes ceil(lost / n) more.

    Documented only where all limits are equal; otherwise nothing is raised.
    """
    if not carriers or {one.limit for one in carriers} != {lost}:
        return tuple(carriers)
    more = -(-lost // len(carriers))
    return tuple(Carrier(one.name, one.limit + more, one.connections) for one in carriers)


def estimate_load(carriers: Sequence[Carrier], connections: int, reading: Reading) -> LoadEstimate:
    """Spread connections over nodes, one after the other, as new channels are."""
    sign = -1 if reading is Reading.MOST_SPARE else 1
    room = [(sign * (one.limit - one.connections), one.name) for one in carriers]
    heap = [(key, name) for key, name in room if key * sign > 0]
    heapify(heap)
    added: dict[str, int] = {}
    left = min(connections, MOST_CONNECTIONS)
    while left and heap:
        key, name = heappop(heap)
        added[name] = added.get(name, 0) + 1
        left -= 1
        if (key - sign) * sign > 0:
            heappush(heap, (key - sign, name))
    return LoadEstimate(added, left)


def describe_load(carriers: Sequence[Carrier], connections: int) -> str:
    """Both readings in words; one where they agree."""
    found = {reading: estimate_load(carriers, connections, reading).describe(carriers) for reading in Reading}
    if len(set(found.values())) == 1:
        return f"its {connections} connections go to {found[Reading.MOST_SPARE]}"
    words = "; ".join(f"{where} {reading.value}" for reading, where in found.items())
    return f"its {connections} connections go to {words}"
