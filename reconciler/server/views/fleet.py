"""The fleet at a glance: the source, every cluster, and how many nodes are in which state (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from reconciler.core.outcome import State
from reconciler.descriptions.pins import describe_pin
from reconciler.planning.node_conditions import NodeCondition
from reconciler.server.pass_result import PassResult
from reconciler.server.run_progress import MOST_RUNNING, RunProgress
from reconciler.server.views.lists import SIGNAL_ORDER, ListPage, ListQuery, Signal, take_page
from reconciler.server.views.problems import MOST_PROBLEMS, ShownProblem
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchState
from reconciler.text.node_names import format_node_names
from reconciler.text.one_line import clean_line

NODE_SIGNALS: Final = {
    NodeCondition.AS_DESIRED: Signal.GOOD,
    NodeCondition.DIFFERS: Signal.ACTIVE,
    NodeCondition.OFFERED: Signal.ACTIVE,
    NodeCondition.WAITS: Signal.ACTIVE,
    NodeCondition.DRIFTED: Signal.ATTENTION,
    NodeCondition.HELD: Signal.ATTENTION,
    NodeCondition.RESTART: Signal.ATTENTION,
    NodeCondition.OPERATOR: Signal.ATTENTION,
    NodeCondition.DOUBTFUL: Signal.ATTENTION,
    NodeCondition.OVERDUE: Signal.ATTENTION,
    NodeCondition.STALE: Signal.ATTENTION,
    NodeCondition.STALLED: Signal.PROBLEM,
    NodeCondition.UNREACHABLE: Signal.PROBLEM,
    NodeCondition.UNIDENTIFIED: Signal.PROBLEM,
    NodeCondition.UNAUTHORIZED: Signal.PROBLEM,
}

_RESULTS: Final = {
    PassResult.CONVERGED: (Signal.GOOD, "as desired"),
    PassResult.INCOMPLETE: (Signal.PROBLEM, "not fully known"),
    PassResult.HELD: (Signal.ATTENTION, "nodes held"),
    PassResult.RESTART: (Signal.ATTENTION, "waits for a restart"),
    PassResult.DOUBTFUL: (Signal.ATTENTION, "in doubt"),
    PassResult.STALLED: (Signal.PROBLEM, "stalled"),
    PassResult.DRIFT: (Signal.ACTIVE, "changes pending"),
    PassResult.REFUSED: (Signal.PROBLEM, "refused"),
    PassResult.APPLIED: (Signal.ACTIVE, "applied, being checked"),
    PassResult.PARTIAL: (Signal.PROBLEM, "applied in part"),
    PassResult.FAILED: (Signal.PROBLEM, "failed"),
    PassResult.CHANGED: (Signal.ACTIVE, "nodes changed, planned again"),
    PassResult.WAITING: (Signal.ACTIVE, "waiting for nodes"),
    PassResult.STOPPED: (Signal.ACTIVE, "stopped"),
    PassResult.INVALID: (Signal.PROBLEM, "cannot be planned"),
    PassResult.BUSY: (Signal.ACTIVE, "another run is at work"),
    PassResult.DEFECT: (Signal.PROBLEM, "internal error"),
}
"""Result of a pass -> its signal and its words."""

_SOURCES: Final = {
    SourceState.UNREAD: (Signal.UNKNOWN, "not read yet"),
    SourceState.GOOD: (Signal.GOOD, "in use"),
    SourceState.INVALID: (Signal.PROBLEM, "the newest revision cannot be used"),
    SourceState.UNREACHABLE: (Signal.PROBLEM, "does not answer"),
}


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many nodes are in a state."""

    state: str
    signal: Signal
    count: int


@dataclass(frozen=True, slots=True)
class ShownProgress:
    """How far a run has come.

    Args:
        ended: how many of its planned steps have ended.
        failed: how many of these failed, are unknown, or were undone.
        running: ids of running steps, the first ones.
        wave: the current one; 0 if there is only one.
    """

    run: str
    planned: int
    ended: int
    failed: int
    running: tuple[str, ...]
    running_in_all: int
    wave: int
    begun: datetime | None
    soaks_until: datetime | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class ClusterGlance:
    """One cluster in a line.

    Args:
        result: of its last pass, for programs; `new` before the first.
        state: in words.
        message: what is wrong or waited for; may be empty.
        revision: short id of the revision that its nodes are compared with.
        revision_id: id of the revision of the last pass; empty before the first.
        target_id: id of the newest revision.
        is_outdated: whether that changes it, and no pass has used it yet.
        newest: what the newest revision means for it, if that is another one; else empty.
        since: when it got into this state.
        ended: end of the last pass.
        success: end of the last pass that left everything as desired.
        read_at: when its nodes were read, on whichever host; None if they were not.
        own_read_at: when this host read them; None if it did not.
        reader: the other host that read them after this one; empty if none did.
        next_pass: when it is looked at again at the latest.
        counts: nodes by state, urgent ones first; empty before the first reading.
        pending: planned steps without their effect.
        waits: what holds changes back.
        pin: that it stays at an earlier revision; empty if it does not.
        approval: id of the plan that waits for an approval; empty if none does.
        is_stale: whether the last pass did not get so far as to read the nodes.
    """

    name: str
    kind: str
    result: str
    signal: Signal
    state: str
    message: str
    revision: str
    revision_id: str
    target_id: str
    is_outdated: bool
    newest: str
    since: datetime | None
    success: datetime | None
    ended: datetime | None
    read_at: datetime | None
    own_read_at: datetime | None
    reader: str
    next_pass: datetime | None
    nodes: int
    counts: tuple[StateCount, ...]
    drifted: int
    held: tuple[str, ...]
    pending: int
    waits: tuple[str, ...]
    pin: str
    approval: str
    doing: str
    run: str
    progress: ShownProgress | None
    is_stale: bool


@dataclass(frozen=True, slots=True)
class SourceLine:
    """The source of the desired state."""

    address: str
    signal: Signal
    state: str
    message: str
    problems: tuple[ShownProblem, ...]
    revision: str
    title: str
    rejected: str
    read_at: datetime | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class FleetOverview:
    """The fleet at a glance.

    Args:
        name: of the fleet; empty before its first good revision.
        is_dry_run: whether the watch only looks.
        elsewhere: clusters whose nodes another host read after this one.
        notices: what concerns the whole watch: the source, the store, the log, that it stops.
        counts: nodes of all clusters by state.
        states: clusters by state, whatever is searched for.
    """

    name: str
    is_dry_run: bool
    source: SourceLine
    notices: tuple[ShownProblem, ...]
    elsewhere: tuple[str, ...]
    nodes: int
    counts: tuple[StateCount, ...]
    states: tuple[StateCount, ...]
    clusters: ListPage[ClusterGlance]


def make_fleet_overview(
    watch_state: WatchState, query: ListQuery, *, is_dry_run: bool, approvals: frozenset[str] = frozenset()
) -> FleetOverview:
    """The fleet at a glance.

    Args:
        watch_state: the current state.
        query: which clusters are listed.
        is_dry_run: whether the watch only looks.
        approvals: ids of the plans that wait for an approval.
    """
    lines = [make_cluster_line(one, approvals) for one in watch_state.clusters.values()]
    lines.sort(key=lambda one: (SIGNAL_ORDER[one.signal], one.name))
    states = Counter((one.state, one.signal) for one in lines)
    wanted = [
        one
        for one in lines
        if query.contains(one.name, one.kind) and query.state in {"", one.state, one.signal.value}
    ]
    nodes: Counter[tuple[str, Signal]] = Counter()
    for line in lines:
        for count in line.counts:
            nodes[count.state, count.signal] += count.count
    fleet = watch_state.fleet
    return FleetOverview(
        clean_line(fleet.name) if fleet else "",
        is_dry_run,
        make_source_line(watch_state),
        tuple(list_notices(watch_state)),
        tuple(line.name for line in sorted(lines, key=lambda one: one.name) if line.reader),
        sum(line.nodes for line in lines),
        sort_counts(nodes),
        sort_counts(states),
        take_page(wanted, query),
    )


def sort_counts(counts: Counter[tuple[str, Signal]]) -> tuple[StateCount, ...]:
    """Counts by state, urgent ones first."""
    return tuple(
        StateCount(state, signal, number)
        for (state, signal), number in sorted(
            counts.items(), key=lambda one: (SIGNAL_ORDER[one[0][1]], -one[1], one[0][0])
        )
    )


def make_cluster_line(status: WatchedCluster, approvals: frozenset[str] = frozenset()) -> ClusterGlance:
    """One cluster in a line."""
    summary, reading = status.pass_summary, status.reading
    signal, state = _RESULTS[summary.result] if summary else (Signal.UNKNOWN, "not looked at yet")
    if summary and summary.result is PassResult.REFUSED and all(one.hold for one in summary.violations):
        signal, state = Signal.ATTENTION, "on hold"
    counts = Counter(
        {
            (condition.value, NODE_SIGNALS[condition]): status.conditions[condition.value]
            for condition in NodeCondition
            if condition.value in status.conditions
        }
    )
    pin = summary.pin if summary else None
    return ClusterGlance(
        status.name,
        reading.plan.kind if reading else "",
        summary.result.value if summary else "new",
        signal,
        state,
        clean_line(summary.message) if summary else "",
        clean_line((status.revision or status.target).short),
        status.revision.id if status.revision else "",
        status.target.id,
        status.is_outdated,
        describe_newest(status),
        to_moment(status.since),
        to_moment(status.success),
        to_moment(status.ended),
        to_moment(status.read_at),
        reading.at if reading else None,
        clean_line(status.reader),
        to_moment(status.due),
        counts.total(),
        sort_counts(counts),
        sum(one.drift is not None for one in reading.status.nodes) if reading else 0,
        summary.held_nodes[:MOST_PROBLEMS] if summary else (),
        summary.pending if summary else 0,
        tuple(clean_line(one.message) for one in reading.status.holds[:MOST_PROBLEMS]) if reading else (),
        clean_line(describe_pin(pin, status.revision or status.target)[0]) if pin else "",
        reading.digest if reading and reading.digest in approvals else "",
        describe_activity(status),
        summary.run if summary else "",
        make_shown_progress(status.progress),
        status.is_unread and reading is not None,
    )


def describe_newest(status: WatchedCluster) -> str:
    """What the newest revision means for a cluster; empty if its last pass has used it, or there was none."""
    if status.revision is None or status.revision.id == status.target.id:
        return ""
    newest = clean_line(status.target.short)
    return f"{newest} changes it and is used next" if status.is_outdated else f"not changed by {newest}"


def describe_activity(status: WatchedCluster) -> str:
    """What the loop of a cluster does now; empty while it waits."""
    return "" if status.doing == "idle" else clean_line(status.doing)[:500]


def make_shown_progress(progress: RunProgress | None) -> ShownProgress | None:
    """How far a run has come."""
    if progress is None:
        return None
    tried = {State.FAILED, State.UNKNOWN, State.UNDONE}
    return ShownProgress(
        progress.run,
        progress.planned,
        sum(progress.ended.values()),
        sum(number for state, number in progress.ended.items() if state in tried),
        tuple(list(progress.running)[:MOST_RUNNING]),
        len(progress.running),
        progress.wave,
        progress.begun,
        progress.soaks_until,
        progress.is_over,
    )


def make_source_line(watch_state: WatchState) -> SourceLine:
    """The source of the desired state."""
    source = watch_state.source
    signal, state = _SOURCES[source.state]
    revision = source.revision
    return SourceLine(
        clean_line(revision.source) if revision else "",
        signal,
        state,
        clean_line(source.message),
        tuple(
            ShownProblem(Signal.PROBLEM, one.severity.value, clean_line(one.located), one.code, one.remedy)
            for one in source.problems[:MOST_PROBLEMS]
        ),
        clean_line(revision.short) if revision else "",
        clean_line(revision.title) if revision else "",
        clean_line(source.rejected)[:12],
        to_moment(source.read_at),
        to_moment(source.since),
    )


def list_notices(watch_state: WatchState) -> Iterator[ShownProblem]:
    """What concerns the whole watch."""
    if watch_state.stopping:
        yield ShownProblem(
            Signal.ATTENTION,
            "stopping",
            "The watch is stopping: running steps are completed, no other begins.",
        )
    source = make_source_line(watch_state)
    if source.signal is Signal.PROBLEM:
        kept = f"; revision {source.revision} stays in use" if source.revision else ""
        is_invalid = watch_state.source.state is SourceState.INVALID
        what = "The newest revision cannot be used" if is_invalid else f"The source {source.state}"
        yield ShownProblem(Signal.PROBLEM, "source", f"{what}{kept}: {source.message}")
    if watch_state.store:
        yield ShownProblem(
            Signal.PROBLEM,
            "store",
            f"The store cannot be written: {clean_line(watch_state.store)}",
            advice="nothing is applied until it can be written; check the disk and the state folder",
        )
    if watch_state.log.problem:
        yield ShownProblem(
            Signal.ATTENTION, "log", f"The log cannot be written: {clean_line(watch_state.log.problem)}"
        )
    if watch_state.node_server is not None and watch_state.node_server.problem:
        problem = clean_line(watch_state.node_server.problem)
        yield ShownProblem(Signal.PROBLEM, "node server", f"Nodes that poll are not answered: {problem}")
    if watch_state.outbox:
        count = f"{watch_state.outbox:,}"
        yield ShownProblem(Signal.UNKNOWN, "feedback", f"Messages that wait for delivery: {count}")


def name_nodes(names: Iterable[str]) -> str:
    """Names of many nodes in a sentence; empty for none."""
    found = list(names)
    return format_node_names(found) if found else ""


def to_moment(seconds: float) -> datetime | None:
    """A time in seconds since 1970; None for never."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
