"""The current state of the source, of the clusters and of each loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic
from reconciler.ports.notification_store import AddressState
from reconciler.server.log_writer import LogState
from reconciler.server.nodes.node_server import NodeServerStatus
from reconciler.server.pass_reading import PassReading
from reconciler.server.pass_result import PassSummary
from reconciler.server.run_progress import ChangeFeed, RunProgress


class SourceState(StrEnum):
    """Result of the last read of the source."""

    UNREAD = "unread"
    """Not read yet."""

    GOOD = "good"
    """Read; its newest revision is in use."""

    INVALID = "invalid"
    """Read, but its newest revision cannot be used; the previous one stays in use."""

    UNREACHABLE = "unreachable"
    """Not read; the last good revision stays in use."""


@dataclass(frozen=True, slots=True)
class WatchedSource:
    """The source of desired state.

    Args:
        revision: in use; None before the first good one.
        message: what is wrong; empty if nothing is.
        problems: the first problems in its files; empty if the files are not the cause.
        rejected: id of the newest revision if it cannot be used.
        read_at: time of the last read, seconds since 1970; 0 for never.
        since: start of this state, seconds since 1970.
    """

    state: SourceState = SourceState.UNREAD
    revision: Revision | None = None
    message: str = ""
    problems: tuple[Diagnostic, ...] = ()
    rejected: str = ""
    read_at: float = 0.0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class WatchedCluster:
    """One cluster; times in seconds since 1970, 0 for never.

    Args:
        target: the newest revision, for the current or the next pass.
        revision: of the last pass; None before the first.
        is_outdated: whether the target changes what a pass takes from the files, and no pass has used it yet.
        doing: current activity: `idle`, `observing`, `planning`, or the ids of the running steps.
        pass_summary: result of the last pass; None before the first.
        ended: end of the last pass.
        success: end of the last pass that left everything as desired.
        tries: passes in a row that need a retry.
        due: time of the next pass.
        answers: number of nodes by kind of observation in the last pass.
        since: start of the present result.
        reading: of the last pass of this host that got so far as to read the nodes; None before the first.
        read_at: when the last pass that got so far read the nodes, on whichever host.
        conditions: number of nodes by condition, as read then.
        is_unread: whether the last pass did not get so far as to read the nodes.
        progress: of the current run, or of the last one of this process; None before the first.
        host: that runs or has run the last pass; empty if only this one can.
    """

    name: str
    target: Revision
    revision: Revision | None = None
    is_outdated: bool = False
    doing: str = "idle"
    pass_summary: PassSummary | None = None
    ended: float = 0.0
    success: float = 0.0
    tries: int = 0
    due: float = 0.0
    answers: Mapping[str, int] = field(default_factory=dict)
    since: float = 0.0
    reading: PassReading | None = field(default=None, repr=False, compare=False)
    progress: RunProgress | None = None
    host: str = ""
    read_at: float = 0.0
    conditions: Mapping[str, int] = field(default_factory=dict)
    is_unread: bool = False

    @property
    def reader(self) -> str:
        """The other host that read the nodes after this one; empty if this host knows the newest reading."""
        own = self.reading.at.timestamp() if self.reading and self.reading.at else 0.0
        return self.host if own < self.read_at else ""

    def add_reading(self, reading: PassReading | None) -> WatchedCluster:
        """The same with what a pass of this host has read; None for a pass that did not get so far."""
        if reading is None:
            # The last reading stays, and shows its age.
            return replace(self, is_unread=True)
        conditions = Counter(node.state.value for node in reading.status.nodes)
        at = reading.at.timestamp() if reading.at else 0.0
        return replace(self, reading=reading, read_at=at, conditions=dict(conditions), is_unread=False)


@dataclass(slots=True)
class WatchState:
    """The state that loops write and endpoints read.

    Args:
        heartbeats: loop -> the monotonic time by which it must report again.
        outbox: number of feedback messages that wait for delivery.
        addresses: where people are told -> what waits there; empty without notifications.
        operations: (cluster, kind, state) -> number of nodes in operations that have not ended.
        store: why the store cannot be written; empty if it can.
        no_passes: why this host takes no pass of those that hosts share; empty if it does.
        log: whether the log can be written, and how many lines were lost.
        stopping: whether the watch is stopping.
        node_server: of nodes that poll; None without one.
        fleet: of the revision in use; None before the first good one.
        changes: tells those who look on that something has changed.
    """

    source: WatchedSource = field(default_factory=WatchedSource)
    clusters: dict[str, WatchedCluster] = field(default_factory=dict)
    heartbeats: dict[str, float] = field(default_factory=dict)
    outbox: int = 0
    addresses: Mapping[str, AddressState] = field(default_factory=dict)
    operations: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    store: str = ""
    no_passes: str = ""
    log: LogState = field(default_factory=LogState)
    stopping: bool = False
    node_server: NodeServerStatus | None = None
    fleet: Fleet | None = field(default=None, repr=False)
    changes: ChangeFeed = field(default_factory=ChangeFeed, repr=False)

    def note(self, name: str, **changes: object) -> None:
        """Change some fields of a cluster's status; does nothing if the cluster has left the fleet."""
        if name in self.clusters:
            self.clusters[name] = replace(self.clusters[name], **changes)  # type: ignore[arg-type]
            self.changes.announce(name)
