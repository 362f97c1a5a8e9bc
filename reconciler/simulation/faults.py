"""Faults a simulated node can have, as data: what they are, how they are written, whose turn it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.errors import UsageError


class FaultKind(StrEnum):
    """What goes wrong."""

    SLOW = "slow"
    WORKS = "works"
    CUT = "cut"
    RESET = "reset"
    HALF = "half"
    ERROR = "error"
    GARBAGE = "garbage"
    SILENT = "silent"
    REFUSE = "refuse"
    LOST = "lost"
    STALE = "stale"
    DUPLICATE = "duplicate"
    KILLED = "killed"
    STARTED = "started"
    RESTARTED = "restarted"
    ISOLATED = "isolated"
    REJOINED = "rejoined"
    HALFWAY = "halfway"


MEANING: Final = {
    FaultKind.SLOW: "does what it is asked, and answers after ARGUMENT seconds (1)",
    FaultKind.WORKS: "works ARGUMENT seconds (1) on a change, whether or not the caller waits, then answers",
    FaultKind.CUT: "takes the request, does nothing, and closes the connection",
    FaultKind.RESET: "the same, with a TCP reset",
    FaultKind.HALF: "does what it is asked, and closes in the middle of the answer's body",
    FaultKind.ERROR: "does nothing, and answers the status ARGUMENT (500)",
    FaultKind.GARBAGE: "does nothing, and answers 200 with a web page",
    FaultKind.SILENT: "does nothing, and never answers",
    FaultKind.REFUSE: "refuses a change in the product's own words",
    FaultKind.LOST: "does a change, and closes the connection instead of answering",
    FaultKind.STALE: "answers a read as it answered the same read before",
    FaultKind.DUPLICATE: "gets a change twice, as from a proxy that repeats it",
    FaultKind.KILLED: "goes down at once: connections are refused",
    FaultKind.STARTED: "comes up again at once",
    FaultKind.RESTARTED: "goes down at once and comes up after ARGUMENT seconds (0)",
    FaultKind.ISOLATED: "is cut off from the other nodes at once; this host still reaches it",
    FaultKind.REJOINED: "reaches the other nodes again at once",
    FaultKind.HALFWAY: "fails halfway: its cluster's next registration lists the node and leaves it out",
}
"""Every fault in one line, for the help."""

AMONG_NODES: Final = frozenset({FaultKind.ISOLATED, FaultKind.REJOINED, FaultKind.HALFWAY})
"""Faults between the nodes of a cluster, of products whose nodes talk to each other."""

AT_ONCE: Final = AMONG_NODES | {FaultKind.KILLED, FaultKind.STARTED, FaultKind.RESTARTED}
"""Faults that happen when they are asked for; the others wait for a request."""

_DEFAULT_ARGUMENT: Final = {FaultKind.SLOW: 1.0, FaultKind.WORKS: 1.0, FaultKind.ERROR: 500.0}
_CHANGES_ONLY: Final = frozenset({FaultKind.REFUSE, FaultKind.LOST, FaultKind.DUPLICATE, FaultKind.WORKS})


class FaultScope(StrEnum):
    """Which requests a fault waits for."""

    ANY = "any"
    READS = "reads"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        argument: seconds or a status, as `MEANING` says.
        count: for how many requests; None: until the faults are cleared.
        on: which requests count; those of which only a change or only a read makes sense need no telling.
    """

    kind: FaultKind
    argument: float = 0.0
    count: int | None = None
    on: FaultScope = FaultScope.ANY

    def __str__(self) -> str:
        argument = f":{self.argument:g}" if self.argument else ""
        on = "" if self.on is FaultScope.ANY else f"@{self.on}"
        return f"{self.kind}{argument}{on}" + (f"*{self.count}" if self.count is not None else "")


def make_fault(
    kind: str, argument: float | None = None, *, count: int | None = None, on: str | None = None
) -> Fault:
    """A fault from its parts, with the defaults of its kind.

    Raises:
        UsageError: there is no such fault, or a part makes no sense.
    """
    if kind not in set(FaultKind):
        raise UsageError(f"there is no fault {kind!r}", remedy=f"one of {', '.join(FaultKind)}")
    known = FaultKind(kind)
    if on is not None and on not in set(FaultScope):
        raise UsageError(f"a fault cannot be on {on!r}", remedy=f"one of {', '.join(FaultScope)}")
    if count is not None and count < 1:
        raise UsageError("a fault's count is at least 1")
    if argument is None:
        argument = _DEFAULT_ARGUMENT.get(known, 0.0)
    if argument < 0 or (known is FaultKind.ERROR and not 400 <= argument <= 599):  # noqa: PLR2004
        raise UsageError(
            f"{argument:g} makes no sense for the fault {kind}", remedy=f"{kind}: {MEANING[known]}"
        )
    default = (
        FaultScope.CHANGES
        if known in _CHANGES_ONLY
        else FaultScope.READS
        if known is FaultKind.STALE
        else FaultScope.ANY
    )
    return Fault(known, argument, count, FaultScope(on) if on else default)


def parse_fault(text: str) -> tuple[str, Fault]:
    """A node or cluster and its fault, written `NAME=KIND[:ARGUMENT][@any|@reads|@changes][*COUNT]`.

    Raises:
        UsageError: it is not written so.
    """
    match = re.fullmatch(r"([^=]+)=(\w+)(?::(\d+(?:\.\d+)?))?(?:@(\w+))?(?:\*(\d+))?", text)
    if not match:
        raise UsageError(
            f"the fault {text!r} is not of the form NAME=KIND[:ARGUMENT][@ON][*COUNT]",
            remedy="for example edge-01=slow:0.5*3, or node-01@127.0.0.1=lost*1",
        )
    name, kind, argument, on, count = match.groups()
    return name, make_fault(
        kind, float(argument) if argument else None, count=int(count) if count else None, on=on
    )


class PendingFaults:
    """The faults of one node that still wait for requests, in the order they were asked for."""

    def __init__(self) -> None:
        self._faults: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """One more fault."""
        self._faults.append((fault, fault.count))

    def clear(self) -> None:
        """None any more."""
        self._faults.clear()

    def take(self, *, change: bool) -> Fault | None:
        """The fault that a request meets, used up by one.

        Args:
            change: whether the request changes something.
        """
        missed = FaultScope.READS if change else FaultScope.CHANGES
        for index, (fault, left) in enumerate(self._faults):
            if fault.on is missed:
                continue
            if left == 1:
                del self._faults[index]
            elif left is not None:
                self._faults[index] = (fault, left - 1)
            return fault
        return None

    def texts(self) -> list[str]:
        """What still waits, as `parse_fault` reads it."""
        return [str(Fault(fault.kind, fault.argument, left, fault.on)) for fault, left in self._faults]
