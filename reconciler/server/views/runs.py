"""The history: runs in a list, one run with its steps, and the orders of people (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.core.outcome import SUCCESSES, State
from reconciler.descriptions.changes import SHOWN_CHANGES, DiffLine, format_changes
from reconciler.descriptions.run_results import (
    describe_duration,
    describe_entry,
    describe_run_result,
    group_entries,
)
from reconciler.exit_status import ExitStatus
from reconciler.ports.store import JournalEntry, OrderRecord, RunRecord, RunSummary
from reconciler.server.views.fleet import ShownProgress, make_shown_progress
from reconciler.server.views.lists import Signal
from reconciler.server.watch_state import WatchState
from reconciler.text.node_names import format_node_names, generalise_sentence
from reconciler.text.one_line import SHORT_ID, clean_line

MOST_ENTRIES: Final = 300
"""Groups of equal steps of a run that are shown."""

_CALM: Final = {State.WAITING, State.OFFERED, State.SUPERSEDED, State.SKIPPED}


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in a line.

    Args:
        result: in words.
        who: who started it; may be empty.
        why: the reason that they gave.
    """

    id: str
    signal: Signal
    result: str
    trigger: str
    revision: str
    title: str
    started: datetime
    finished: datetime | None
    duration: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of the history.

    Args:
        runs: newest first.
        older: id of the run from which the next page goes on; empty if there is none.
    """

    runs: tuple[RunLine, ...]
    older: str


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """A step of a run, or equal ones on several nodes."""

    state: str
    signal: Signal
    action: str
    nodes: str
    seconds: float
    reason: str
    result: str
    answer: str
    waits_for_restart: tuple[str, ...]
    changes: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """What a run did in one cluster."""

    cluster: str
    plan: str
    entries: tuple[ShownEntry, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run.

    Args:
        notes: reasons of its result that its steps do not show.
        progress: of the clusters in which it runs now.
        messages: feedback messages of the run; with those that wait for delivery.
    """

    line: RunLine
    program: str
    source: str
    notes: tuple[str, ...]
    progress: tuple[ShownProgress, ...]
    clusters: tuple[ClusterRun, ...]
    messages: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class OrderLine:
    """An order of a person in the history."""

    kind: str
    target: str
    at: datetime
    until: datetime | None
    who: str
    why: str


def make_run_line(run: RunSummary) -> RunLine:
    """One run in a line."""
    if run.finished is None or run.exit_status is None:
        signal = Signal.ACTIVE
    elif run.exit_status == ExitStatus.DONE or (run.counts and run.counts.keys() <= SUCCESSES):
        signal = Signal.GOOD
    else:
        is_refused = run.exit_status in {ExitStatus.REFUSED, ExitStatus.CHANGED}
        signal = Signal.ATTENTION if is_refused else Signal.PROBLEM
    return RunLine(
        run.id,
        signal,
        clean_line(describe_run_result(run)),
        clean_line(run.trigger),
        clean_line(run.short or run.revision[:SHORT_ID]),
        clean_line(run.title),
        run.started,
        run.finished,
        describe_duration(run),
        clean_line(run.actor.description),
        clean_line(run.actor.why),
    )


def make_run_page(runs: Sequence[RunSummary], older: str) -> RunPage:
    """One page of the history, as `HistoryFilter.read_page` gives it."""
    return RunPage(tuple(map(make_run_line, runs)), older)


def make_run_detail(record: RunRecord, watch_state: WatchState) -> RunDetail:
    """One run, with its progress while it runs in this watch."""
    by_cluster: dict[str, list[JournalEntry]] = {}
    for entry in record.entries:
        by_cluster.setdefault(entry.step.cluster, []).append(entry)
    ids = record.plan.ids
    progress = [
        make_shown_progress(one.progress)
        for one in watch_state.clusters.values()
        if one.progress is not None and one.progress.run == record.summary.id
    ]
    return RunDetail(
        make_run_line(record.summary),
        clean_line(record.summary.program),
        clean_line(record.summary.source),
        tuple(clean_line(line) for line in record.summary.note.splitlines()[:100]),
        tuple(one for one in progress if one is not None and not one.is_over),
        tuple(
            _show_cluster(name, ids.get(entries[0].step.id.partition("/")[0], ""), entries)
            for name, entries in by_cluster.items()
        ),
        len(record.messages),
        sum(one.wanted and one.delivered is None for one in record.messages),
    )


def _show_cluster(name: str, plan: str, entries: Sequence[JournalEntry]) -> ClusterRun:
    groups = group_entries(entries)
    shown = tuple(_show_entries(group) for group in groups[:MOST_ENTRIES])
    return ClusterRun(clean_line(name), plan[:SHORT_ID], shown, len(groups) - len(shown))


def _show_entries(group: tuple[JournalEntry, ...]) -> ShownEntry:
    first, node = group[0], group[0].step.node

    def describe(text: str) -> str:
        return generalise_sentence(text, node) if len(group) > 1 else clean_line(text)

    return ShownEntry(
        describe_entry(first),
        choose_entry_signal(first),
        clean_line(first.step.action),
        format_node_names([entry.step.node for entry in group]),
        round(max(entry.seconds for entry in group), 1),
        describe(first.step.reason),
        describe(first.reason),
        describe(first.answer),
        tuple(map(clean_line, first.waiting_for_restart)),
        format_changes(first.step.changes, SHOWN_CHANGES),
    )


def choose_entry_signal(entry: JournalEntry) -> Signal:
    """How urgent the result of a step is."""
    if entry.state is None:
        return Signal.ACTIVE if entry.intended else Signal.UNKNOWN
    if entry.state in SUCCESSES:
        return Signal.GOOD
    return Signal.UNKNOWN if entry.state in _CALM else Signal.PROBLEM


def make_order_line(order: OrderRecord) -> OrderLine:
    """An order of a person."""
    target = f"plan {order.digest[:SHORT_ID]}" if order.digest else clean_line(order.cluster)
    if order.node:
        target = f"{target}/{clean_line(order.node)}"
    return OrderLine(
        order.kind,
        target or "all clusters",
        order.at,
        order.until,
        clean_line(order.actor.description),
        clean_line(order.actor.why),
    )
