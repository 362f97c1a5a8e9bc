"""Judges a trial: the history of the reconciler against the records of the simulated nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.outcome import State
from reconciler.fault_trials.recorder import RecordedRequest, TrialRecorder
from reconciler.fault_trials.scenario import (
    CONVERGED,
    HISTORY_TRUE,
    MANAGEABLE,
    NOTHING_LOST,
    ONCE,
    Invariant,
)
from reconciler.ports.store import JournalEntry, RunRecord
from reconciler.simulation.faults import FaultKind

_SLACK: Final = timedelta(milliseconds=1)
"""Timestamps are cut to milliseconds, so an end may be stamped before the event that it followed."""

_UNSENT: Final = frozenset({State.CHANGED, State.WAITING, State.SKIPPED})


@dataclass(frozen=True, slots=True)
class InvariantBreach:
    """An invariant that did not hold, and how."""

    invariant: Invariant
    words: str

    def __str__(self) -> str:
        return f"{self.words} [{self.invariant}]"


@dataclass(frozen=True, slots=True)
class TrialEvidence:
    """All that a trial is judged by.

    Args:
        history: every run, oldest first.
        end: when it ended.
        crashes: failures of the reconciler itself.
    """

    recorder: TrialRecorder
    history: Sequence[RunRecord]
    end: datetime
    crashes: Sequence[str] = ()


def judge_trial(evidence: TrialEvidence) -> list[InvariantBreach]:
    """Every breach, in the invariants' order."""
    found = [*_check_requests(evidence), *_check_steps(evidence), *_check_end(evidence)]
    found += [
        InvariantBreach(Invariant(NOTHING_LOST), f"the reconciler itself failed: {one}")
        for one in evidence.crashes
    ]
    order = list(Invariant)
    return sorted(found, key=lambda breach: order.index(breach.invariant))


def _check_requests(evidence: TrialEvidence) -> Iterator[InvariantBreach]:
    """What the nodes were asked, against the intents of the history."""
    recorder = evidence.recorder
    windows = [
        _Window(entry, entry.intended, entry.ended or evidence.end)
        for record in evidence.history
        for entry in record.entries
        if entry.intended is not None
    ]
    sent: defaultdict[int, int] = defaultdict(int)
    for number, asked in enumerate(recorder.asked):
        if not asked.call.change:
            continue
        if asked.broke[0]:
            yield InvariantBreach(Invariant(asked.broke[0]), asked.broke[1])
        if asked.repeated and not _was_misled(recorder, number):
            yield InvariantBreach(
                Invariant(ONCE),
                f"{asked.about} was asked for a change that was already done: {asked.call.asked}",
            )
        inside = [place for place, window in enumerate(windows) if window.holds(asked)]
        if not inside:
            words = f"{asked.call.asked} reached {asked.node}, but the history has no intent for it"
            yield InvariantBreach(Invariant(NOTHING_LOST), words)
        if inside:  # a step that is rolled back has a second intent, which is the later one
            sent[max(inside, key=lambda place: windows[place].since)] += 1
    for place, count in sorted(sent.items()):
        if count > 1:
            step = windows[place].entry.step
            yield InvariantBreach(Invariant(ONCE), f"{step.id} was sent {count} times for one intent")


@dataclass(frozen=True, slots=True)
class _Window:
    """The time in which a step was under way."""

    entry: JournalEntry
    since: datetime
    until: datetime

    def holds(self, asked: RecordedRequest) -> bool:
        """Whether a request falls into it."""
        step = self.entry.step
        same = (asked.cluster, asked.about) == (step.cluster, step.node)
        return same and self.since <= asked.at <= self.until + _SLACK


def _was_misled(recorder: TrialRecorder, number: int) -> bool:
    """Whether the nodes showed stale answers between the effect of a change and its repetition."""
    repeated = recorder.asked[number]
    for asked in reversed(recorder.asked[:number]):
        if asked.cluster == repeated.cluster:
            if asked.call.fault == FaultKind.STALE:
                return True
            if asked.took and asked.about == repeated.about:
                return False
    return False


def _check_steps(evidence: TrialEvidence) -> Iterator[InvariantBreach]:
    """What the history says of each step, against the nodes' own states.

    If the nodes did not become as desired, a step may stay unknown: the nodes show neither the state before
    it nor its effect.
    """
    calm = not any(one.unlike() for one in evidence.recorder.witnesses.values())
    for record in evidence.history:
        if record.line.finished is None:
            yield InvariantBreach(Invariant(NOTHING_LOST), f"run {record.line.id} has no end in the history")
        for entry in record.entries:
            if words := _describe_open_step(entry, record, evidence.history, calm=calm):
                yield InvariantBreach(
                    Invariant(NOTHING_LOST), f"{entry.step.id} of run {record.line.id} {words}"
                )
            elif said := _describe_untrue_outcome(evidence, entry, record.line.started):
                yield InvariantBreach(
                    Invariant(HISTORY_TRUE), f"{entry.step.id} of run {record.line.id}: {said}"
                )


def _describe_open_step(
    entry: JournalEntry, record: RunRecord, history: Sequence[RunRecord], *, calm: bool
) -> str:
    """What the history does not tell of a step; a step that a later run took up may stay unknown."""
    if entry.state is None:
        return "has no outcome in the history"
    if entry.state is not State.UNKNOWN or not calm:
        return ""
    step = entry.step
    later = history[history.index(record) + 1 :]
    taken_up = any(
        (one.step.cluster, one.step.node) == (step.cluster, step.node)
        and (one.intended or one.state is State.FOUND)
        for other in later
        for one in other.entries
    )
    return "" if taken_up else "is still unknown, though all nodes are as desired"


def _describe_untrue_outcome(evidence: TrialEvidence, entry: JournalEntry, started: datetime) -> str:
    """What the history says that was not so; empty where all of it was."""
    recorder, step = evidence.recorder, entry.step
    since, until = entry.intended or started, entry.ended or evidence.end
    oracle = recorder.witnesses[step.cluster]
    shown = [oracle.effective(step, state) for state in recorder.states(step.cluster, since, until + _SLACK)]
    if entry.state in {State.DONE, State.FOUND} and not any(shown):
        return f"the history says {entry.state}, but the nodes never had its effect"
    if entry.state is State.FAILED and entry.intended and _had_visible_effect(recorder, entry, shown, until):
        return "the history says failed, but the nodes had its effect and showed it"
    if entry.state in _UNSENT and entry.intended:
        return f"the history says {entry.state}, but an intent was written"
    return ""


def _had_visible_effect(
    recorder: TrialRecorder, entry: JournalEntry, shown: Sequence[bool], until: datetime
) -> bool:
    """Whether a step that is said to have failed had its effect at the end, with nothing to hide it."""
    assert entry.intended is not None
    if not shown[-1]:
        return False
    reads = [
        asked
        for asked in recorder.asked
        if asked.cluster == entry.step.cluster
        and entry.intended <= asked.at <= until
        and not asked.call.change
    ]
    first = list(shown).index(True)
    lasting = all(shown[first:])
    return lasting and bool(reads) and not any(asked.call.fault for asked in reads)


def _check_end(evidence: TrialEvidence) -> Iterator[InvariantBreach]:
    """How the nodes are when the faults are over."""
    peers: Iterable[str] = sorted({asked.peer for asked in evidence.recorder.asked}) or ["127.0.0.1"]
    for _, oracle in sorted(evidence.recorder.witnesses.items()):
        for peer in peers:
            for node in oracle.unmanageable(peer):
                yield InvariantBreach(Invariant(MANAGEABLE), f"{node} no longer lets {peer} manage it")
        for words in oracle.unlike():
            yield InvariantBreach(Invariant(CONVERGED), words)
