"""What a node's answer can be: six types, so that no failure is ever read as "not there"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """What the node shows, fresh enough to plan on.

    Args:
        value: what it said.
        age: seconds since it said so; 0 for an answer given just now. Two readings that say the same are
            the same, however old.
    """

    value: T
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Absent:
    """The node answered just now that it has nothing.

    Args:
        evidence: quotes the answers that show it.
        base: URL at which the product showed it; empty where a person's word stands for that.
    """

    evidence: str
    base: str = ""


class Liveness(StrEnum):
    """What an attempt without a whole answer still tells of its address."""

    SILENT = "silent"
    """No connection came about: nothing seems to run there."""

    ALIVE = "alive"
    """Something took the connection, and perhaps answered, though not as the product does."""

    UNASKED = "unasked"
    """The address could not be asked at all: its name does not resolve, or no route leads there."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No whole answer came, or none that the program can read; nothing is known about the node.

    Args:
        reason: why.
        sign: what the attempt tells of the address.
        defect: whether the program failed at it; then nothing on the node's side helps.
    """

    reason: str
    sign: Liveness = Liveness.SILENT
    defect: bool = False


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The node answered that this host may not ask."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unidentified:
    """Something answered, and nothing shows that it is the node; nothing may be sent there.

    Args:
        reason: what was asked and what came.
        vacant: whether the node, if it is there, would have answered just so before its first setting.
    """

    reason: str
    vacant: bool = False


@dataclass(frozen=True, slots=True)
class Stale(Generic[T]):
    """What the node said is known to be behind: a view from outside the majority, or too old a report.

    Args:
        value: what it said.
        reason: why nothing may be planned on it.
        age: seconds since it said so; 0 for an answer given just now.
    """

    value: T
    reason: str
    age: float = field(default=0.0, compare=False)


def classify_by_age(value: T, age: float, limit: float) -> Present[T] | Stale[T]:
    """A reading that was not given just now: fresh up to a limit, then stale: nothing is planned on it.

    Args:
        value: what the node said.
        age: seconds since it said so.
        limit: seconds up to which that counts as what it shows now.
    """
    if age <= limit:
        return Present(value, age)
    return Stale(value, f"its last report is {age:.0f} s old, and {limit:.0f} s count as fresh", age)


KINDS: Final = (Present, Absent, Unreachable, Unidentified, Unauthorized, Stale)
"""The types of answers; whoever counts or writes them down takes them from here."""

Observation: TypeAlias = Present[T] | Absent | Unreachable | Unidentified | Unauthorized | Stale[T]


@dataclass(frozen=True, slots=True)
class Observed(Generic[T]):
    """The answers of one cluster's nodes, by node name.

    Args:
        nodes: node -> its answer, at the address that the desired state names where it names one.
        elsewhere: node -> address -> the answer there, of further addresses known for the node.
    """

    nodes: Mapping[str, Observation[T]]
    elsewhere: Mapping[str, Mapping[str, Observation[T]]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every node gave a fresh answer; what is not complete forbids removal."""
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
    """What one node said of itself.

    Args:
        version: of the setting that it has; None where it does not say.
        status: of a feedback: `ok`, or why the change failed.
    """

    node: str
    kind: ReportKind
    version: Any = None
    status: str = ""
