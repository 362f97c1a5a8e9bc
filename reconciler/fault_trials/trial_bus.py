"""The message bus of a trial, in memory: messages are late, come twice, overtake each other, are poisoned.

It keeps what a bus promises: nothing that it acknowledged is lost. The rules are those of the node server
(`begin_publishing`, publish, `end_publishing`; record, then acknowledge), by the clock of the trial.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from reconciler.core.bus_channels import BusChannel, BusKind
from reconciler.core.firestore_paths import is_collection
from reconciler.ports.simulator import BusSubscription, NodeActivity
from reconciler.simulation.faults import FaultKind
from reconciler.simulation.node_host import Simulation

POISON: Final = b'{"messageVer":"1","node":'
"""A message that is none."""

_AGAIN: Final = frozenset({FaultKind.LOST, FaultKind.HALF, FaultKind.DUPLICATE})
_LATER: Final = frozenset({FaultKind.SLOW, FaultKind.WORKS, FaultKind.STALE})


@dataclass(frozen=True, slots=True)
class TrialReport:
    """A report on its way.

    Args:
        offset: in its channel.
    """

    node: str
    url: str
    offset: int
    at: datetime
    body: bytes


@dataclass(slots=True)
class TrialBus:
    """All channels of a trial, by their URLs."""

    channels: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    _positions: dict[tuple[str, str], int] = field(default_factory=dict)
    _offsets: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _reports: list[TrialReport] = field(default_factory=list)
    _late: list[TrialReport] = field(default_factory=list)

    def publish(self, channel: BusChannel, body: bytes) -> None:
        """Put a message into a channel; in a document of Firestore, it takes the place of those before."""
        messages = self.channels[f"{channel.kind}://{','.join(channel.places)}/{channel.name}"]
        if channel.kind is BusKind.FIRESTORE and not is_collection(channel.name):
            messages[:] = [b""] * len(messages)
        messages.append(body)

    def deliver(self, simulation: Simulation) -> list[NodeActivity]:
        """What nodes do with messages that have come; a faulty one gets them later, or again."""
        found: list[NodeActivity] = []
        for subscription in simulation.list_subscriptions():
            key = (subscription.url, subscription.group)
            while self._positions.get(key, 0) < len(self.channels[subscription.url]):
                position = self._positions.get(key, 0)
                fault = simulation.take_fault(subscription.node, outgoing=True)
                if fault is not None and fault.kind not in _AGAIN:
                    break  # it does not read now
                found += self._hand_over(simulation, subscription, position, again=fault is not None)
                self._positions[key] = position + 1
        return found

    def _hand_over(
        self, simulation: Simulation, subscription: BusSubscription, position: int, *, again: bool
    ) -> list[NodeActivity]:
        body = self.channels[subscription.url][position]
        if not body:
            return []  # another one has taken its place
        times = 2 if again else 1
        return [one for _ in range(times) for one in simulation.receive_message(subscription, body)]

    def report(self, node: str, url: str, body: bytes, at: datetime, fault: FaultKind | None) -> bool:
        """A node publishes a report; gives whether it learns that the bus has it."""
        if fault is not None and fault not in _AGAIN | _LATER | {FaultKind.GARBAGE}:
            return False
        bodies = [POISON, body] if fault is FaultKind.GARBAGE else [body] * (1 + (fault in _AGAIN))
        for one in bodies:
            made = TrialReport(node, url, self._offsets[url], at, one)
            self._offsets[url] += 1
            (self._late if fault in _LATER else self._reports).append(made)
        return fault not in {FaultKind.LOST, FaultKind.HALF}

    def take_reports(self) -> Sequence[TrialReport]:
        """The reports that have come; those that are late come after the next ones."""
        found, self._reports, self._late = self._reports, self._late, []
        return found
