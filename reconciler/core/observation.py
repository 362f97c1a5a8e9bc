"""Observations: the six types of a node's answer, so that a failed reading is never taken for "not there"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeAlias, TypeVar

from reconciler.core.file_state import FileState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """What the node shows, fresh enough to plan on.

    Args:
        value: its answer.
        age: seconds since it was given; 0 for an answer given just now. It does not count for equality.
    """

    value: T
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Absent:
    """The node answered just now that it has nothing.

    Args:
        evidence: quotes the answers that show it.
        base: URL of the answer; empty if an operator's confirmation takes its place.
    """

    evidence: str
    base: str = ""


class Liveness(StrEnum):
    """What a failed reading shows about the address."""

    SILENT = "silent"
    """There was no connection: nothing seems to run there."""

    ALIVE = "alive"
    """Something accepted the connection, and perhaps answered, but not as the product does."""

    UNASKED = "unasked"
    """Nothing was sent: the name does not resolve, or there is no route."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no complete answer, or none that the program can read; nothing is known about the node.

    Args:
        reason: why.
        liveness: what the failed reading shows about the address.
        defect: whether the program itself failed; then nothing on the node's side helps.
        remedy: what to do about it, if the failure itself shows that; else empty.
    """

    reason: str
    liveness: Liveness = Liveness.SILENT
    defect: bool = False
    remedy: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The node answered that this host has no permission; `remedy` as in `Unreachable`."""

    reason: str
    remedy: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Unidentified:
    """Something answered, but does not prove that it is the node; nothing may be sent there.

    Args:
        reason: the request and the answer.
        vacant: whether a node without its first setting would answer like this.
        remedy: as in `Unreachable`.
    """

    reason: str
    vacant: bool = False
    remedy: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Stale(Generic[T]):
    """The node's answer is out of date: a view from outside the majority, or a report that is too old.

    Args:
        value: its answer.
        reason: why nothing may be planned on it.
        age: seconds since it was given; 0 for an answer given just now.
    """

    value: T
    reason: str
    age: float = field(default=0.0, compare=False)


def classify_by_age(
    value: T, age: float, limit: float, *, what: str = "its last report", ahead: float = math.inf
) -> Present[T] | Stale[T]:
    """An answer given `age` seconds ago: present up to `limit` seconds, then stale.

    Args:
        value: the answer.
        age: below zero after this host's clock was set back.
        limit: seconds that count as fresh.
        what: what has this age, for messages.
        ahead: seconds below zero that count as fresh, too.
    """
    if -ahead <= age <= limit:
        return Present(value, age)
    return Stale(value, f"{what} is {age:.0f} s old, and {limit:.0f} s count as fresh", age)


KINDS: Final = (Present, Absent, Unreachable, Unidentified, Unauthorized, Stale)
"""The types of answers; whoever counts or writes them down takes them from here."""

Observation: TypeAlias = Present[T] | Absent | Unreachable | Unidentified | Unauthorized | Stale[T]

FileReading: TypeAlias = Present[FileState] | Unreachable | Unauthorized
"""A file that does not exist is a `FileState` without content; one that cannot be read is never that."""


def describe_unread(reading: Unauthorized | Unreachable) -> str:
    """Why a file could not be read and what to do, where a message has no place for a remedy."""
    return f"{reading.reason}; {reading.remedy}" if reading.remedy else reading.reason


@dataclass(frozen=True, slots=True)
class Observed(Generic[T]):
    """The answers of one cluster's nodes, by node name.

    Args:
        nodes: node -> its answer, at the address in the desired state, if there is one.
        elsewhere: node -> address -> the answer there, of further addresses known for the node.
        files: node -> entry of the host configuration -> the reading of that file.
        reserved: nodes that count as away whatever they answer, because somebody may stop them; see
            `core.reservations`.
        starts: node -> text of its last start, as a command of the host shows it: another one after each
            start. A node without a readable one is left out.
    """

    nodes: Mapping[str, Observation[T]]
    elsewhere: Mapping[str, Mapping[str, Observation[T]]] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, FileReading]] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    starts: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every node gave a fresh answer; otherwise nothing may be removed."""
        return all(isinstance(answer, Present | Absent) for answer in self.nodes.values())

    def present(self) -> dict[str, T]:
        """The fresh positive answers only."""
        return {name: answer.value for name, answer in self.nodes.items() if isinstance(answer, Present)}


class ReportKind(StrEnum):
    """What a report is about."""

    HEARTBEAT = "heartbeat"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node reported by itself.

    Args:
        version: of the setting that it has; None if it gives none.
        status: of a feedback: `ok`, or why the change failed.
    """

    node: str
    kind: ReportKind
    version: Any = None
    status: str = ""
