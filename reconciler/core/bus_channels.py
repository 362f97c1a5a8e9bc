"""Channels of message buses: where a node listens for its offers, and where it reports; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_CHANNEL: Final = 1_500
"""Characters of the name of a channel; the longest path of a Firestore document has about as many bytes."""


class BusKind(StrEnum):
    """A kind of message bus; also the part of the host configuration with its entries."""

    KAFKA = "kafka"
    FIRESTORE = "firestore"


@dataclass(frozen=True, slots=True, order=True)
class BusId:
    """One message bus that the host configuration allows.

    Args:
        name: of its entry there.
    """

    kind: BusKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class BusChannel:
    """One channel of a message bus.

    Args:
        name: the topic of Kafka, or the path of a document or collection of Firestore.
    """

    bus: BusId
    name: str

    def __str__(self) -> str:
        return f"{self.bus}/{self.name}"

    @property
    def label(self) -> str:
        """For messages: such as `Kafka topic prd.m2.event.changed of prod`."""
        what = "Kafka topic" if self.bus.kind is BusKind.KAFKA else "Firestore path"
        return f"{what} {self.name} of {self.bus.name}"


def read_channel(text: str) -> BusChannel | None:
    """The channel that `str` of one wrote; None for an empty text.

    Raises:
        ValueError: it is no such text.
    """
    if not text:
        return None
    kind, bus, name = text.split("/", 2)
    return BusChannel(BusId(BusKind(kind), bus), name)


@dataclass(frozen=True, slots=True)
class ReportChannels:
    """The channels of one node, by the settings that it has and is to get.

    Args:
        reports: where it reports.
        own: those of `reports` where, by the settings of all nodes, nobody else reports: what arrives there
            is from this node.
    """

    reports: frozenset[BusChannel] = frozenset()
    own: frozenset[BusChannel] = frozenset()
