"""Faults of simulated nodes as data: their kinds, their notation, and which one applies next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.errors import UsageError
from reconciler.ports.simulator import RequestWay


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
    FULL = "full"
    TORN = "torn"
    DOWN = "down"
    EDITED = "edited"


MEANING: Final = {
    FaultKind.SLOW: "performs the request and answers after ARGUMENT seconds (1)",
    FaultKind.WORKS: "works on a change for ARGUMENT seconds (1), even if the caller leaves, then answers",
    FaultKind.CUT: "reads the request, does nothing and closes the connection",
    FaultKind.RESET: "the same as cut, with a TCP reset",
    FaultKind.HALF: "performs the request and closes the connection in the middle of the answer",
    FaultKind.ERROR: "does nothing and answers with status ARGUMENT (500)",
    FaultKind.GARBAGE: "does nothing and answers 200 with a web page",
    FaultKind.SILENT: "does nothing and never answers",
    FaultKind.REFUSE: "refuses a change as the product does",
    FaultKind.LOST: "performs a change and closes the connection without an answer",
    FaultKind.STALE: "repeats its previous answer to the same read",
    FaultKind.DUPLICATE: "performs a change twice, as if a proxy repeated it",
    FaultKind.KILLED: "goes down at once; connections are refused",
    FaultKind.STARTED: "comes up again at once",
    FaultKind.RESTARTED: "goes down at once and comes up after ARGUMENT seconds (0)",
    FaultKind.ISOLATED: "loses the connection to the other nodes at once; this host still reaches it",
    FaultKind.REJOINED: "reaches the other nodes again at once",
    FaultKind.HALFWAY: "the next node that registers is listed as a member but does not join",
    FaultKind.FULL: "has no room for a file that is written",
    FaultKind.TORN: "loses the connection after ARGUMENT bytes of a file that is written (0)",
    FaultKind.DOWN: "runs a command of the host, and is down after it",
    FaultKind.EDITED: "somebody adds a comment, or a key that is not ours, to each of its files",
}
"""Every fault in one line, for the help."""

AMONG_NODES: Final = frozenset({FaultKind.ISOLATED, FaultKind.REJOINED, FaultKind.HALFWAY})
"""Faults between the nodes of a cluster, of products whose nodes talk to each other."""

ON_FILES: Final = frozenset({FaultKind.FULL, FaultKind.TORN, FaultKind.EDITED})
"""Faults of files, of products whose nodes have some."""

ON_MACHINES: Final = ON_FILES | {FaultKind.DOWN}
"""Faults of files and of commands of the host."""

NEEDS_NO_WAIT: Final = AMONG_NODES | {FaultKind.EDITED}
"""Faults that happen at once, and need no waiting."""

AT_ONCE: Final = NEEDS_NO_WAIT | {FaultKind.KILLED, FaultKind.STARTED, FaultKind.RESTARTED}
"""Faults that happen at once; the others wait for a request."""

_DEFAULT_ARGUMENT: Final = {FaultKind.SLOW: 1.0, FaultKind.WORKS: 1.0, FaultKind.ERROR: 500.0}
_CHANGES_ONLY: Final = frozenset({FaultKind.REFUSE, FaultKind.LOST, FaultKind.DUPLICATE, FaultKind.WORKS})


class FaultScope(StrEnum):
    """The requests that a fault applies to."""

    ANY = "any"
    READS = "reads"
    CHANGES = "changes"
    CALLS = "calls"
    """Calls that the node makes by itself: polls, downloads, reports."""
    FILES = "files"
    """Changes of its files."""
    COMMANDS = "commands"
    """Commands of the host that may change it."""


_SCOPES: Final = {
    FaultKind.FULL: FaultScope.FILES,
    FaultKind.TORN: FaultScope.FILES,
    FaultKind.DOWN: FaultScope.COMMANDS,
}
"""The only scope of some kinds."""

_OF_WAY: Final = {RequestWay.FILE: FaultScope.FILES, RequestWay.COMMAND: FaultScope.COMMANDS}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        argument: seconds or a status, as `MEANING` says.
        count: number of requests; None: until the faults are cleared.
        on: requests that it applies to.
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
        UsageError: unknown fault or invalid part.
    """
    if kind not in set(FaultKind):
        raise UsageError(f"unknown fault {kind!r}", remedy=f"one of {', '.join(FaultKind)}")
    known = FaultKind(kind)
    if on is not None and on not in set(FaultScope):
        raise UsageError(f"unknown scope {on!r} of a fault", remedy=f"one of {', '.join(FaultScope)}")
    if count is not None and count < 1:
        raise UsageError("the count of a fault must be at least 1")
    if argument is None:
        argument = _DEFAULT_ARGUMENT.get(known, 0.0)
    if argument < 0 or (known is FaultKind.ERROR and not 400 <= argument <= 599):  # noqa: PLR2004
        raise UsageError(
            f"invalid argument {argument:g} of the fault {kind}", remedy=f"{kind}: {MEANING[known]}"
        )
    if known in _SCOPES and on not in {None, _SCOPES[known]}:
        raise UsageError(f"the fault {kind} cannot be only for {on}", remedy=f"{kind}: {MEANING[known]}")
    default = FaultScope.CHANGES if known in _CHANGES_ONLY else _SCOPES.get(known, FaultScope.ANY)
    if known is FaultKind.STALE:
        default = FaultScope.READS
    return Fault(known, argument, count, FaultScope(on) if on else default)


def parse_fault(text: str) -> tuple[str, Fault]:
    """A node or cluster and its fault, from `NAME=KIND[:ARGUMENT][@ON][*COUNT]`.

    Raises:
        UsageError: it has another form.
    """
    match = re.fullmatch(r"([^=]+)=(\w+)(?::(\d+(?:\.\d+)?))?(?:@(\w+))?(?:\*(\d+))?", text)
    if not match:
        raise UsageError(
            f"invalid fault {text!r}: expected NAME=KIND[:ARGUMENT][@ON][*COUNT]",
            remedy="for example edge-01=slow:0.5*3, or node-01@127.0.0.1=lost*1",
        )
    name, kind, argument, on, count = match.groups()
    return name, make_fault(
        kind, float(argument) if argument else None, count=int(count) if count else None, on=on
    )


class PendingFaults:
    """The pending faults of one node, in the order of their creation."""

    def __init__(self) -> None:
        self._faults: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self._faults.append((fault, fault.count))

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take(
        self, *, change: bool = False, outgoing: bool = False, way: RequestWay = RequestWay.HTTP
    ) -> Fault | None:
        """The fault that applies to a request; its count goes down by one.

        Args:
            change: whether the request changes something.
            outgoing: whether the node sends it.
            way: how the request reaches the node.
        """
        if not self._faults:
            return None
        matching = {FaultScope.ANY, FaultScope.CHANGES if change else FaultScope.READS}
        if change and way in _OF_WAY:
            matching.add(_OF_WAY[way])
        if outgoing:
            matching = {FaultScope.CALLS}
        for index, (fault, left) in enumerate(self._faults):
            if fault.on not in matching:
                continue
            if left == 1:
                del self._faults[index]
            elif left is not None:
                self._faults[index] = (fault, left - 1)
            return fault
        return None

    def texts(self) -> list[str]:
        """The pending faults in the notation of `parse_fault`."""
        return [str(Fault(fault.kind, fault.argument, left, fault.on)) for fault, left in self._faults]
