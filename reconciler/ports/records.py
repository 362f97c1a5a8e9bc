"""What is written down and read back: the rows of the store as typed, frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Step
from reconciler.text.one_line import sentence


@dataclass(frozen=True, slots=True)
class Opening:
    """The beginning of a run.

    Args:
        trigger: what asked for it: `command`, `webhook`, `interval` …
        plan: what it is going to do.
    """

    trigger: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Letter:
    """A message about one outcome, on its way to the sink.

    Args:
        id: the same in every delivery of the same message.
        body: the JSON that is sent.
        wanted: whether there is a sink; without one the message is for the history alone.
        number: its place in the outbox, given by the store.
    """

    id: str
    body: bytes
    wanted: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """An outcome with all that is to be recorded in the same moment.

    Args:
        answer: the node's own words, which nobody believes.
        facts: what was learnt of the step's node, for later runs of the same fleet; an empty value forgets.
        spent: the words of the fleet file that the step used up; remembered whatever the fleet.
        facts: what was learnt of the step's node; an empty value forgets the fact.
        until: until when the call may still be under way; none where it is not.
    """

    outcome: Outcome
    answer: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)
    until: datetime | None = None
    letter: Letter | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", sentence(self.answer))


@dataclass(frozen=True, slots=True)
class Entry:
    """One step in the journal.

    Args:
        intended: when the intent was written; none where nothing was sent.
        ended: when the outcome was written; none where the run was killed, or still goes on.
        reason: why the step ended as it did.
        answer: the node's own words.
        until: until when its call may still be under way; none where it is not.
    """

    step: Step
    intended: datetime | None = None
    ended: datetime | None = None
    state: State | None = None
    reason: str = ""
    seconds: float = 0.0
    answer: str = ""
    waiting_for_restart: tuple[str, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the history; `attempts` counts the tries to deliver it."""

    id: str
    step: str
    created: datetime
    body: str
    wanted: bool
    delivered: datetime | None
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run, as a line of the history.

    Args:
        note: why it ended as it did, where its steps do not tell: the verdicts of a refusal.
        counts: state -> number of steps; steps without outcome count as `open`.
        finished: none where the run was killed, or still goes on.
    """

    id: str
    trigger: str
    source: str
    revision: str
    short: str
    title: str
    program: str
    digest: str
    started: datetime
    finished: datetime | None
    exit_status: int | None
    note: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run with everything that is known of it, steps in the plan's order."""

    line: RunLine
    plan: Plan
    entries: tuple[Entry, ...]
    messages: tuple[Message, ...] = ()
