"""Channels of message buses: where a node listens for its offers, and where it reports; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, TypeVar

from reconciler.core.firestore_paths import find_collection, find_path_problem

_TOPIC: Final = re.compile(r"[A-Za-z0-9._\-]{1,249}")
"""The name of a topic; the libraries of Kafka take others for patterns of topics, such as `^.*`."""

N = TypeVar("N", bound=Hashable)
"""What a listener is called: its name, or cluster and node."""

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
    """One channel as a setting names it.

    Args:
        places: sorted: the brokers of Kafka as `host:port`, or the project of Firestore.
        name: the topic of Kafka, or the path of a document or collection of Firestore.
    """

    kind: BusKind
    places: tuple[str, ...]
    name: str

    @property
    def label(self) -> str:
        """For messages: such as `Kafka topic prd.m2.event.changed of kafka-1:9092`."""
        what = "Kafka topic" if self.kind is BusKind.KAFKA else "Firestore path"
        return f"{what} {self.name} of {self.places[0] if self.places else 'nowhere'}"

    @property
    def meeting(self) -> tuple[str, ...]:
        """What two channels have in common where a message to the one may arrive at who listens to the other.

        Of Kafka the topic alone: brokers that differ may be those of one cluster, under other names too.
        """
        return (self.kind, self.name) if self.kind is BusKind.KAFKA else (self.kind, self.name, *self.places)

    def meets(self, other: BusChannel) -> bool:
        """Whether a message that is sent to the one may arrive at who listens to the other."""
        if self.kind is not other.kind or self.kind is BusKind.KAFKA:
            return self.meeting == other.meeting
        # Who listens to a collection gets what is written into each of its documents.
        names = {self.name, other.name}
        is_within = bool(names & {find_collection(one) for one in names})
        return self.places == other.places and (self.name == other.name or is_within)

    def encode(self) -> str:
        """As one text, for the store and for the arguments of steps; see `read_channel`."""
        return json.dumps([self.kind, list(self.places), self.name], ensure_ascii=False)


class ChannelIndex(Generic[N]):
    """Who listens on which channels: finds all who get a message without a look at all listeners.

    Args:
        listeners: each listener with a channel on which it listens; one may have several.
    """

    def __init__(self, listeners: Iterable[tuple[N, BusChannel]] = ()) -> None:
        self.listeners = tuple(listeners)
        self._at: dict[tuple[str, ...], list[N]] = {}
        self._in_collection: dict[tuple[str, ...], list[N]] = {}
        self._answers: dict[tuple[str, ...], tuple[N, ...]] = {}
        for name, channel in self.listeners:
            self._at.setdefault(channel.meeting, []).append(name)
            if collection := _find_collection_key(channel):
                self._in_collection.setdefault(collection, []).append(name)

    def find(self, channel: BusChannel) -> tuple[N, ...]:
        """All who listen on a channel that `meets` this one, each once."""
        key = channel.meeting
        if key not in self._answers:
            places = (
                self._at.get(key, ()),
                self._in_collection.get(key, ()),
                self._at.get(_find_collection_key(channel), ()),
            )
            self._answers[key] = tuple(dict.fromkeys(name for names in places for name in names))
        return self._answers[key]


def _find_collection_key(channel: BusChannel) -> tuple[str, ...]:
    """The `meeting` of the collection that a document of Firestore is in; empty for any other channel."""
    if channel.kind is not BusKind.FIRESTORE or not (name := find_collection(channel.name)):
        return ()
    return replace(channel, name=name).meeting


def is_valid_name(kind: BusKind, name: str) -> bool:
    """Whether a topic or path is one that a bus can have."""
    if kind is BusKind.FIRESTORE:
        return not find_path_problem(name)
    return _TOPIC.fullmatch(name) is not None and name not in {".", ".."}


def read_channel(text: str) -> BusChannel | None:
    """The channel that `BusChannel.write` wrote; None for an empty text.

    Raises:
        ValueError: it is no such text.
    """
    if not text:
        return None
    kind, places, name = json.loads(text)
    return BusChannel(BusKind(kind), tuple(map(str, places)), str(name))


@dataclass(frozen=True, slots=True)
class NodeBusUse:
    """What one node does with message buses by a setting.

    Args:
        feeds: channels on which it listens for offers.
        reports: channels on which it reports.
    """

    feeds: frozenset[BusChannel] = frozenset()
    reports: frozenset[BusChannel] = frozenset()
