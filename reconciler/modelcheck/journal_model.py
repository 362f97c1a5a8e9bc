"""The journal of an execution of the model: what is written, called and announced, in this order.

It is derived from the states of a trace and is not part of them, so that there are fewer states to explore:
the journal decides nothing that the executor does next, except what a new pass settles, and that is the same
in every journal that leads to a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from reconciler.core.outcome import State
from reconciler.core.step_status import StepStatus
from reconciler.modelcheck.executor_model import ModelState, StepPhase
from reconciler.modelcheck.state_table import StateTable


class EventKind(StrEnum):
    """What the executor does, as visible from outside."""

    BEGIN = "begin"
    """A run is journalled with all its steps open."""

    INTEND = "intend"
    """The intent of a step is journalled."""

    CALL = "call"
    """A node is called."""

    CONCLUDE = "conclude"
    """The outcome of a step is journalled."""

    ANNOUNCE = "announce"
    """An outcome is announced to listeners."""

    FINISH = "finish"
    """The end of a run is journalled."""


class JournalEvent(NamedTuple):
    """One event.

    Args:
        run: counted from 0, over all passes of a trace.
        step: its id; of a beginning, the ids of all steps, sorted; empty where the run itself ends.
        state: the outcome's.
    """

    kind: EventKind
    run: int
    step: str | tuple[str, ...] = ""
    state: State | None = None


@dataclass(frozen=True, slots=True)
class ModelStep:
    """One step in the journal.

    Args:
        number: of the step, in the state table.
        state: None while its outcome is not known; `UNKNOWN` may still be settled.
        pending: whether its call may be in flight, by the journal.
        lost: whether the call was not answered; the journal has it with the outcome.
    """

    number: int
    intended: bool = False
    state: State | None = None
    pending: bool = False
    lost: bool = False

    @property
    def open(self) -> bool:
        """Whether a further pass settles it by reading."""
        return self.state is None or (self.state is State.UNKNOWN and self.intended)


@dataclass(frozen=True, slots=True)
class ModelRun:
    """One run in the journal; its steps by their place in the plan."""

    lines: tuple[ModelStep, ...]
    finished: bool = False


ModelJournal = tuple[ModelRun, ...]

EMPTY: Final[ModelJournal] = ()

_UNPERFORMED: Final = {
    StepStatus.CHANGED: State.CHANGED,
    StepStatus.UNKNOWN: State.SKIPPED,
    StepStatus.READY: State.WAITING,  # a step that waits for an operator: every other one would be performed
}


@dataclass(slots=True)
class _JournalWriter:
    """A journal that grows by the events of one move."""

    state_table: StateTable[Any]
    runs: list[ModelRun]
    events: list[JournalEvent] = field(default_factory=list)

    def begin(self, plan: int) -> None:
        first, steps = self.state_table.first[plan], self.state_table.plans[plan].steps
        self.runs.append(ModelRun(tuple(ModelStep(first + place) for place in range(len(steps)))))
        self.events.append(
            JournalEvent(EventKind.BEGIN, len(self.runs) - 1, tuple(sorted(step.id for step in steps)))
        )

    def put(self, run: int, place: int, line: ModelStep, kind: EventKind) -> None:
        lines = self.runs[run].lines
        self.runs[run] = replace(self.runs[run], lines=(*lines[:place], line, *lines[place + 1 :]))
        state = line.state if kind in {EventKind.CONCLUDE, EventKind.ANNOUNCE} else None
        self.events.append(JournalEvent(kind, run, self.state_table.steps[line.number].id, state))

    def conclude(self, places: Sequence[tuple[int, State]]) -> None:
        """Journal outcomes of the current run: all are written before the first is announced."""
        run, written = len(self.runs) - 1, []
        for place, state in places:
            line = self.runs[run].lines[place]
            pending = line.lost and state is State.UNKNOWN
            written.append((place, replace(line, state=state, pending=pending)))
        # A listener must never hear of an outcome that a kill could still erase.
        for kind in (EventKind.CONCLUDE, EventKind.ANNOUNCE):
            for place, line in written:
                self.put(run, place, line, kind)

    def finish(self, run: int) -> None:
        self.runs[run] = replace(self.runs[run], finished=True)
        self.events.append(JournalEvent(EventKind.FINISH, run))

    def settle(self, world: int, *, is_over: bool) -> None:
        """Journal for every open step what a reading shows now.

        Args:
            world: what is read.
            is_over: whether the time is over in which a call may be in flight.
        """
        for index, run in enumerate(self.runs):
            for place, line in enumerate(run.lines):
                if line.open and (state := self._judge_open_step(world, line, is_over)) is not line.state:
                    pending = line.pending and state is State.UNKNOWN
                    self.put(index, place, replace(line, state=state, pending=pending), EventKind.CONCLUDE)
        for index, run in enumerate(self.runs):
            if not run.finished and all(line.state for line in run.lines):
                self.finish(index)

    def _judge_open_step(self, world: int, line: ModelStep, is_over: bool) -> State:  # noqa: FBT001  (see `settle`)
        if not line.intended:
            return State.SKIPPED
        status = self.state_table.status(world, line.number)
        if status is StepStatus.DONE:
            return State.DONE
        # No visible effect proves nothing while the call may still be in flight.
        return State.FAILED if status is StepStatus.READY and (is_over or not line.pending) else State.UNKNOWN


def follow_move(
    state_table: StateTable[Any], journal: ModelJournal, before: ModelState, after: ModelState
) -> tuple[ModelJournal, tuple[JournalEvent, ...]]:
    """The journal after one transition, and the events of it, in order.

    Args:
        state_table: of the two states.
        journal: before the transition.
        before: the state before it.
        after: the state after it.
    """
    writer = _JournalWriter(state_table, list(journal))
    if after.plan != before.plan or after.running != before.running:
        _follow_pass(writer, before, after)
    elif after.phases != before.phases:
        _follow_step(writer, before, after)
    return tuple(writer.runs), tuple(writer.events)


def _follow_pass(writer: _JournalWriter, before: ModelState, after: ModelState) -> None:
    """A run ends, the executor is killed or started again, or a pass begins."""
    if not after.running:
        return
    if after.plan < 0 and before.running:
        writer.finish(len(writer.runs) - 1)
        return
    writer.settle(before.world, is_over=not (before.late or after.held))
    if after.plan >= 0:
        writer.begin(after.plan)


def _follow_step(writer: _JournalWriter, before: ModelState, after: ModelState) -> None:
    """One step goes on; those that come after one without success are skipped in the same move."""
    moved = [
        place
        for place, (old, new) in enumerate(zip(before.phases, after.phases, strict=True))
        if old is not new
    ]
    place = moved[0]
    run = len(writer.runs) - 1
    line = writer.runs[run].lines[place]
    match before.phases[place], after.phases[place]:
        case StepPhase.PENDING, StepPhase.INTENT:
            writer.put(run, place, replace(line, intended=True, pending=True), EventKind.INTEND)
        case _, StepPhase.SENT:
            writer.put(run, place, replace(line, lost=after.late != before.late), EventKind.CALL)
        case _:
            writer.conclude([(place, _judge_outcome(writer.state_table, line, before, after.phases[place]))])
            if skipped := [(one, State.SKIPPED) for one in moved[1:]]:
                writer.conclude(skipped)


def _judge_outcome(
    state_table: StateTable[Any], line: ModelStep, before: ModelState, phase: StepPhase
) -> State:
    status = state_table.status(before.world, line.number)
    if not line.intended:
        return State.FOUND if phase is StepPhase.SUCCEEDED else _UNPERFORMED[status]
    if phase is StepPhase.SUCCEEDED:
        return State.DONE
    return State.UNKNOWN if line.lost or status is StepStatus.UNKNOWN else State.FAILED
