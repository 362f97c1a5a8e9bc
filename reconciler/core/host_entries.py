"""Entries of the host configuration that a fleet file names, and which of them a host has; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any, Final, get_args

from pydantic import BaseModel

from reconciler.core.bus_channels import BusChannel, BusId, is_valid_name


class EntryKind(StrEnum):
    """The part of the host configuration that has an entry."""

    AUTHORITIES = "authorities"
    SSH = "ssh"
    FILES = "files"
    COMMANDS = "commands"
    KAFKA = "kafka"
    FIRESTORE = "firestore"


CHANNEL_KEYS: Final[Mapping[EntryKind, str]] = {EntryKind.KAFKA: "topics", EntryKind.FIRESTORE: "paths"}
"""Part of the host configuration -> the key of its entries with the topics or paths that may be named."""


@dataclass(frozen=True, slots=True)
class NamesEntry:
    """Mark of a field's type whose text is the name of an entry."""

    kind: EntryKind


@dataclass(frozen=True, slots=True)
class OnlyReads:
    """Mark of a field's type whose command must be one that only reads."""


ONLY_READS: Final = OnlyReads()


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """An entry as a fleet file names it.

    Args:
        pointer: of the name, within the part of the file that the model reads.
        must_read: whether it is a command that must be marked as one that only reads.
    """

    kind: EntryKind
    name: str
    pointer: str
    must_read: bool = False


@dataclass(frozen=True, slots=True)
class AllowedBus:
    """A message bus that a host may use.

    Args:
        places: brokers or projects that settings may name.
        channels: patterns of the topics or paths that they may name; empty for all.
        group: the consumer group of the host itself, for Kafka.
    """

    id: BusId
    places: frozenset[str]
    channels: tuple[str, ...] = ()
    group: str = ""

    def allows(self, channel: BusChannel) -> bool:
        """Whether every place of a channel is one of this bus, and its name is allowed."""
        # Every one: a node uses any broker of its list, and one of another cluster would part it from here.
        is_here = self.id.kind is channel.kind and bool(channel.places) and self.places >= {*channel.places}
        return is_here and self.allows_name(channel.name)

    def allows_name(self, name: str) -> bool:
        """Whether a topic or path of this bus may be used."""
        if not is_valid_name(self.id.kind, name):
            return False
        return not self.channels or any(map(partial(fnmatchcase, name), self.channels))


def is_channel_allowed(buses: Iterable[AllowedBus], entry: NamedEntry, channel: str) -> bool:
    """Whether the entry of a bus allows a topic or path; True if no bus has that entry."""
    own = (bus for bus in buses if (bus.id.kind.value, bus.id.name) == (entry.kind.value, entry.name))
    return all(bus.allows_name(channel) for bus in own)


@dataclass(frozen=True, slots=True)
class HostEntries:
    """The entries that a host has.

    Args:
        ssh: all ways.
        buses: message buses.
        fixed: those of one machine each, which can lead to others.
        reading: commands that only read.
    """

    authorities: frozenset[str] = frozenset()
    ssh: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    reading: frozenset[str] = frozenset()
    firestore: frozenset[str] = frozenset()
    kafka: frozenset[str] = frozenset()
    buses: tuple[AllowedBus, ...] = ()

    def names(self, kind: EntryKind) -> frozenset[str]:
        """The names of one part."""
        found: frozenset[str] = getattr(self, kind)
        return found


def find_named_entries(model: BaseModel) -> Iterator[NamedEntry]:
    """The entries that a part of a fleet file names, by the marks of the model's fields."""
    yield from _walk(model, "", must_read=False)


def _walk(value: Any, pointer: str, *, must_read: bool) -> Iterator[NamedEntry]:
    if isinstance(value, BaseModel):
        for field in _list_fields(type(value)):
            found = getattr(value, field.name)
            if found is None or (isinstance(found, str) and not field.kinds):  # almost all
                continue
            place = f"{pointer}/{field.key}"
            if isinstance(found, str):
                for kind in field.kinds:
                    yield NamedEntry(kind, found, place, must_read)
            else:
                yield from _walk(found, place, must_read=field.must_read)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _walk(one, f"{pointer}/{key}", must_read=must_read)
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _walk(one, f"{pointer}/{index}", must_read=must_read)


@dataclass(frozen=True, slots=True)
class _MarkedField:
    """A field of a model.

    Args:
        key: its name in the file.
        kinds: of entries that its text names.
        must_read: whether what is named below it must only read.
    """

    name: str
    key: str
    kinds: tuple[EntryKind, ...]
    must_read: bool


@cache
def _list_fields(model: type[BaseModel]) -> tuple[_MarkedField, ...]:
    found = []
    for name, field in model.model_fields.items():
        marks = tuple(_find_marks(field.annotation, field.metadata))
        kinds = tuple(mark.kind for mark in marks if isinstance(mark, NamesEntry))
        must_read = any(isinstance(mark, OnlyReads) for mark in marks)
        found.append(_MarkedField(name, field.alias or name, kinds, must_read))
    return tuple(found)


def _find_marks(annotation: Any, metadata: Any) -> Iterator[Any]:
    """The marks of a type, also of one that may be absent."""
    yield from metadata
    for one in get_args(annotation):
        yield from _find_marks(one, getattr(one, "__metadata__", ()))
