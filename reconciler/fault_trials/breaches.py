"""Judges a trial: the history of the reconciler against the records of the simulated nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.outcome import State
from reconciler.fault_trials.recorder import TrialRecorder
from reconciler.fault_trials.scenario import (
    CONVERGED,
    HISTORY_TRUE,
    IN_ORDER,
    MANAGEABLE,
    NOTHING_LOST,
    ONCE,
    Invariant,
)
from reconciler.ports.store import JournalEntry, RunRecord
from reconciler.simulation.faults import FaultKind

_SLACK: Final = timedelta(milliseconds=1)
"""Timestamps have milliseconds, so an end may have an earlier one than the event before it."""

_UNSENT: Final = frozenset({State.CHANGED, State.WAITING, State.SKIPPED})


@dataclass(frozen=True, slots=True)
class InvariantBreach:
    """A violated invariant, and how it was violated."""

    invariant: str
    words: str

    def __str__(self) -> str:
        return f"{self.words} [{self.invariant}]"


@dataclass(frozen=True, slots=True)
class TrialEvidence:
    """Everything that a trial is judged by.

    Args:
        history: every run, oldest first.
        end: when the trial ended.
        crashes: unexpected exceptions of the reconciler.
    """

    recorder: TrialRecorder
    history: Sequence[RunRecord]
    end: datetime
    crashes: Sequence[str] = ()


def find_breaches(evidence: TrialEvidence) -> list[InvariantBreach]:
    """All breaches, in the order of `Invariant`."""
    found = [*_check_requests(evidence), *_check_steps(evidence), *_check_end(evidence)]
    found += _check_offers(evidence)
    failed = (f"the reconciler itself failed: {one}" for one in evidence.crashes)
    found += [InvariantBreach(NOTHING_LOST, words) for words in failed]
    order = [str(invariant) for invariant in Invariant]
    return sorted(found, key=lambda breach: order.index(breach.invariant))


def _check_requests(evidence: TrialEvidence) -> Iterator[InvariantBreach]:
    """Compare the requests that the nodes received with the intents of the history."""
    recorder = evidence.recorder
    intents = [
        (entry.intended, entry)
        for record in evidence.history
        for entry in record.entries
        if entry.intended is not None
    ]
    sent: Counter[tuple[int, str]] = Counter()
    for number, asked in enumerate(recorder.asked):
        if not asked.call.change:
            continue
        if asked.broke[0]:
            yield InvariantBreach(*asked.broke)
        if asked.repeated and not _was_misled(recorder, number):
            words = f"{asked.about} was asked for a change that was already done: {asked.call.asked}"
            yield InvariantBreach(ONCE, words)
        inside = [
            index
            for index, (since, entry) in enumerate(intents)
            if (asked.cluster, asked.about) == (entry.step.cluster, entry.step.node)
            and since <= asked.at <= (entry.ended or evidence.end) + _SLACK
        ]
        if inside:  # a step that is rolled back has a second intent, which is the later one
            sent[max(inside, key=lambda index: intents[index][0]), asked.call.asked] += 1
        else:
            words = f"{asked.call.asked} reached {asked.node}, but the history has no intent for it"
            yield InvariantBreach(NOTHING_LOST, words)
    for (index, call), count in sorted(sent.items()):  # a step may have several calls, such as an upgrade
        if count > 1:
            step = intents[index][1].step
            yield InvariantBreach(ONCE, f"{step.id} was sent {count} times for one intent: {call}")


def _check_offers(evidence: TrialEvidence) -> Iterator[InvariantBreach]:
    """Compare what nodes were offered with the intents of the history, and with each other."""
    intended = {
        (record.summary.id, entry.step.id)
        for record in evidence.history
        for entry in record.entries
        if entry.intended is not None
    }
    for one in evidence.recorder.served:
        if one.before is not None and one.date <= one.before:
            yield InvariantBreach(
                IN_ORDER, f"{one.node} is offered something of {one.date} after {one.before}"
            )
        if (one.run, one.step) not in intended:
            words = f"{one.node} is offered {one.step} of run {one.run}, but the history has no intent for it"
            yield InvariantBreach(IN_ORDER, words)


def _was_misled(recorder: TrialRecorder, number: int) -> bool:
    """Whether the nodes showed stale answers between the effect of a change and its repetition."""
    # The reconciler decides by what nodes show: after a stale answer, the second request was correct.
    repeated = recorder.asked[number]
    for asked in reversed(recorder.asked[:number]):
        if asked.cluster == repeated.cluster:
            if asked.call.fault == FaultKind.STALE:
                return True
            if asked.took and asked.about == repeated.about:
                return False
    return False


def _check_steps(evidence: TrialEvidence) -> Iterator[InvariantBreach]:
    """Compare the history of each step with the nodes' own states."""
    # If the nodes did not become as desired, a step may stay unknown: the nodes show neither the state before
    # it nor its effect.
    calm = not any(one.list_differences() for one in evidence.recorder.witnesses.values())
    for record in evidence.history:
        if record.summary.finished is None:
            yield InvariantBreach(NOTHING_LOST, f"run {record.summary.id} has no end in the history")
        for entry in record.entries:
            subject = f"{entry.step.id} of run {record.summary.id}"
            if words := _describe_open_step(entry, record, evidence.history, calm=calm):
                yield InvariantBreach(NOTHING_LOST, f"{subject} {words}")
            elif words := _describe_untrue_outcome(evidence, entry, record):
                yield InvariantBreach(HISTORY_TRUE, f"{subject}: {words}")


def _describe_open_step(
    entry: JournalEntry, record: RunRecord, history: Sequence[RunRecord], *, calm: bool
) -> str:
    """What is missing in the history of a step; a step that a later run took up may stay unknown."""
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


def _describe_untrue_outcome(evidence: TrialEvidence, entry: JournalEntry, record: RunRecord) -> str:
    """How the history of a step contradicts the nodes; empty if it does not."""
    recorder, step = evidence.recorder, entry.step
    since, until = entry.intended or record.summary.started, entry.ended or evidence.end
    oracle = recorder.witnesses[step.cluster]
    shown = [
        oracle.is_effective(step, state) for state in recorder.states(step.cluster, since, until + _SLACK)
    ]
    if entry.state in {State.DONE, State.FOUND} and not any(shown):
        return f"the history says {entry.state}, but the nodes never had its effect"
    if entry.state is State.FAILED and entry.intended and _had_visible_effect(recorder, entry, shown, until):
        return "the history says failed, but the nodes had its effect and showed it"
    # An offer that was withdrawn, or closed, before its node took it was not performed.
    served = {(one.run, one.step) for one in recorder.served}
    is_untaken = step.cluster in recorder.polled and (record.summary.id, step.id) not in served
    if entry.state in _UNSENT and entry.intended and not is_untaken:
        return f"the history says {entry.state}, but an intent was written"
    return ""


def _had_visible_effect(
    recorder: TrialRecorder, entry: JournalEntry, shown: Sequence[bool], until: datetime
) -> bool:
    """Whether a step with the outcome failed had a lasting effect that the reconciler could read."""
    assert entry.intended is not None
    if not shown[-1]:
        return False
    # A fault in any reading may have hidden the effect. Without a reading, the reconciler could not see it.
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
    """Check the final state of the nodes, after the faults."""
    peers: Iterable[str] = sorted({asked.peer for asked in evidence.recorder.asked}) or ["127.0.0.1"]
    # From every address that was used in the trial: an allow list may name only one of them.
    for _, oracle in sorted(evidence.recorder.witnesses.items()):
        for peer in peers:
            for node in oracle.list_unmanageable_nodes(peer):
                yield InvariantBreach(MANAGEABLE, f"{node} no longer lets {peer} manage it")
        for words in oracle.list_differences():
            yield InvariantBreach(CONVERGED, words)
