"""What became of a plan's steps, and the exit status that says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.plan import Plan, Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import bound_sentence, list_first_names


class State(StrEnum):
    """How a step ended."""

    DONE = "done"
    """Performed, and the effect shows in the nodes' own answers."""

    FOUND = "found"
    """Not performed: the effect was already there."""

    FAILED = "failed"
    """Performed or refused by the node, and the effect does not show."""

    UNKNOWN = "unknown"
    """Performed, but the nodes' answers do not tell yet, or it may still be under way; the next run settles
    it by reading."""

    OFFERED = "offered"
    """Lies ready for the node to take when it next asks; a later run settles it by reading."""

    UNDONE = "undone"
    """Performed, and taken back because its wave failed."""

    CHANGED = "changed"
    """Not performed: the world is no longer as it was when planned."""

    WAITING = "waiting"
    """Waits for a person."""

    SKIPPED = "skipped"
    """Not performed: because of an earlier step, because the run was stopped, or because the nodes'
    answers do not tell whether it may be."""


SUCCESSES = frozenset({State.DONE, State.FOUND})

OPEN = frozenset({State.UNKNOWN, State.OFFERED})
"""States that a later run settles by reading; until then nothing is sent in the place of the step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one step.

    Args:
        seconds: from intent to read-back.
        waiting_for_restart: fields a node asked to restart for, as JSON pointers or the node's names: the
            first ones, and behind them how many more there are.
        sent: whether a request may have reached the node in this run.
        refused: whether it was definitely refused, so that it had no effect and a second try is of no use.
        killed: whether the run that sent it was killed before it read the effect: no fault of the node.
    """

    step: Step
    state: State
    reason: str = ""
    seconds: float = 0.0
    waiting_for_restart: tuple[str, ...] = ()
    sent: bool = False
    refused: bool = False
    killed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", bound_sentence(self.reason))
        object.__setattr__(self, "waiting_for_restart", list_first_names(self.waiting_for_restart))


@dataclass(frozen=True, slots=True)
class RunReport:
    """All outcomes of one run, in the plan's order.

    Args:
        run: the id that `reconcile history show` knows; empty where there was nothing to do.
        findings: what a person should know of the run itself, such as messages not delivered; an error
            among them means that the run did not succeed.
    """

    run: str
    plan: Plan
    outcomes: tuple[Outcome, ...] = field(default=())
    findings: tuple[Diagnostic, ...] = field(default=())

    @property
    def succeeded(self) -> bool:
        """Whether every step has its effect, and nothing spoke against it afterwards."""
        return not self._spoilt and all(outcome.state in SUCCESSES for outcome in self.outcomes)

    @property
    def exit_status(self) -> int:
        """0 done; 4 nothing done because the world changed; 5 applied in part; 1 nothing done."""
        states = {outcome.state for outcome in self.outcomes}
        if states <= SUCCESSES:
            return 5 if self._spoilt else 0
        if states & (SUCCESSES | OPEN | {State.WAITING}):
            return 5
        return 4 if State.CHANGED in states and State.UNDONE not in states else 1

    @property
    def _spoilt(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)
