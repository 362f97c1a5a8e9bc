"""How runs and their steps ended, in words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.core.outcome import SUCCESSES, State
from reconciler.core.timestamps import format_second
from reconciler.descriptions.changes import SHOWN_CHANGES, format_changes
from reconciler.descriptions.phrases import STATES
from reconciler.descriptions.values import format_count
from reconciler.exit_status import ExitStatus
from reconciler.ports.store import JournalEntry, RunSummary
from reconciler.text.node_names import generalise_sentence, group_by_key
from reconciler.text.one_line import clean_line

_OPEN = "open"
_TRIED = {state.value for state in (State.FAILED, State.UNKNOWN, State.SUPERSEDED, State.UNDONE)} | {_OPEN}
_ENDINGS: dict[int, str] = {
    ExitStatus.DONE: "done",
    ExitStatus.ERROR: "failed",
    ExitStatus.REFUSED: "refused",
    ExitStatus.CHANGED: "node changed",
    ExitStatus.IN_PART: "applied in part",
}


def describe_run_result(run: RunSummary) -> str:
    """The result of a run: `applied in part: 38 done, 3 failed`."""
    if run.finished is None or run.exit_status is None:
        return f"not finished: {_format_counts(run.counts)}" if run.counts else "not finished"
    word = _ENDINGS.get(run.exit_status, f"exit {run.exit_status}")
    if not run.counts:
        return f"{word}: {textwrap.shorten(clean_line(run.note), 80, placeholder=' …')}" if run.note else word
    if run.counts.keys() <= SUCCESSES:
        if not run.note:  # a later run has found out that the steps of unknown result succeeded
            word = _ENDINGS[ExitStatus.DONE]
        return f"{word}: {format_count(sum(run.counts.values()), 'change')}"
    if run.exit_status == ExitStatus.ERROR and not _TRIED & run.counts.keys():
        return _format_counts(run.counts)  # stopped or on hold before anything was sent: nothing failed
    return f"{word}: {_format_counts(run.counts)}"


def _format_counts(counts: Mapping[str, int]) -> str:
    words = {**{state.value: word for state, word in STATES.items()}, _OPEN: "open"}
    return ", ".join(f"{counts[state]:,} {word}" for state, word in words.items() if counts.get(state))


def describe_duration(run: RunSummary) -> str:
    """How long a run took: `took 2.1 s`."""
    if run.finished is None:
        return "still running or killed"
    seconds = (run.finished - run.started).total_seconds()
    if seconds < 0:
        return f"ended {format_second(run.finished)} UTC by a clock that was put back meanwhile"
    return f"took {seconds:.1f} s"


def describe_entry(entry: JournalEntry) -> str:
    """The state of a step in its run: `done`, `started` or `open`."""
    if entry.state is not None:
        return STATES[entry.state]
    return "started" if entry.intended else _OPEN


def group_entries(entries: Sequence[JournalEntry]) -> list[tuple[JournalEntry, ...]]:
    """Equal steps on several nodes together, in the order of the first of them."""

    def make_key(entry: JournalEntry) -> tuple[Any, ...]:
        node = entry.step.node
        sentences = (entry.step.reason, entry.reason, entry.answer)
        return (
            describe_entry(entry),
            entry.step.action,
            entry.waiting_for_restart,
            format_changes(entry.step.changes, SHOWN_CHANGES),  # as text: values may be lists, without a hash
            *(generalise_sentence(text, node) for text in sentences),
        )

    return group_by_key(entries, make_key)
