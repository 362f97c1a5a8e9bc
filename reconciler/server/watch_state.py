"""What is known at this moment: the source, the clusters, and whether each loop is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic
from reconciler.server.log_writer import LogState
from reconciler.server.pass_result import PassSummary


class SourceState(StrEnum):
    """How the last look at the source went."""

    UNREAD = "unread"
    """Nobody has looked yet."""

    GOOD = "good"
    """Read, and its newest revision is the one in use."""

    INVALID = "invalid"
    """Read, but its newest revision cannot be used; the one before stays."""

    UNREACHABLE = "unreachable"
    """Not read; the last good revision stays."""


@dataclass(frozen=True, slots=True)
class WatchedSource:
    """The source of desired state.

    Args:
        revision: the one in use; None before the first good one.
        message: what is wrong, empty where nothing is.
        problems: the first of what is wrong in its files; none where something else is wrong.
        rejected: id of the newest revision where it cannot be used.
        looked: when it was last asked, seconds since 1970; 0 for never.
        since: when it came to be in this state, seconds since 1970.
    """

    state: SourceState = SourceState.UNREAD
    revision: Revision | None = None
    message: str = ""
    problems: tuple[Diagnostic, ...] = ()
    rejected: str = ""
    looked: float = 0.0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class WatchedCluster:
    """One cluster under watch; times in seconds since 1970, 0 for never.

    Args:
        target: the newest revision, which the next pass, or the one under way, works towards.
        revision: what the last pass worked towards; None before the first.
        doing: what happens now: `idle`, `observing`, `planned`, or the id of the running step.
        pass_summary: how the last pass ended; None before the first.
        ended: when it ended.
        success: when a pass last found or made everything as desired.
        tries: passes in a row that did not settle.
        due: when the next pass is due.
        answers: how many nodes gave each kind of answer in the last pass.
    """

    name: str
    target: Revision
    revision: Revision | None = None
    doing: str = "idle"
    pass_summary: PassSummary | None = None
    ended: float = 0.0
    success: float = 0.0
    tries: int = 0
    due: float = 0.0
    answers: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class WatchState:
    """The one place where loops write down how they are; the endpoints only read it.

    Args:
        heartbeats: loop -> the moment, on the monotonic clock, by which it should show life again.
        outbox: messages of feedback that wait to be delivered.
        store: why the store cannot be written, empty where it can.
        log: how the log fares.
        stopping: whether the watch was told to stop.
    """

    source: WatchedSource = field(default_factory=WatchedSource)
    clusters: dict[str, WatchedCluster] = field(default_factory=dict)
    heartbeats: dict[str, float] = field(default_factory=dict)
    outbox: int = 0
    store: str = ""
    log: LogState = field(default_factory=LogState)
    stopping: bool = False

    def note(self, name: str, **changes: object) -> None:
        """Change some fields of a cluster's status; a cluster that left is passed over."""
        if name in self.clusters:
            self.clusters[name] = replace(self.clusters[name], **changes)  # type: ignore[arg-type]
