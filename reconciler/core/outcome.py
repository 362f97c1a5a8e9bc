"""The outcomes of a plan's steps, and the exit status of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.arguments import NO_FEEDBACK, StepFeedback
from reconciler.core.plan import Plan, Step
from reconciler.core.wave_state import WAVE_WAITS
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.exit_status import ExitStatus
from reconciler.text.one_line import bound_sentence, list_first_names


class State(StrEnum):
    """How a step ended."""

    DONE = "done"
    """Performed, and the effect is visible in the nodes' answers."""

    FOUND = "found"
    """Not performed: the effect was visible already."""

    FAILED = "failed"
    """Performed or refused by the node, and the effect is not visible."""

    UNKNOWN = "unknown"
    """Performed, but the effect is not visible yet and the call may still take effect, or the nodes' answers
    are not conclusive; the next run settles it by reading."""

    OFFERED = "offered"
    """Ready for the node, which takes it when it next asks; a later run settles it by reading."""

    SUPERSEDED = "superseded"
    """Offered, and its effect did not show before another content took its place; nothing can settle it."""

    UNDONE = "undone"
    """Performed, and undone because its wave failed."""

    CHANGED = "changed"
    """Not performed: the nodes have changed since the plan was made."""

    WAITING = "waiting"
    """Waits for an operator."""

    SKIPPED = "skipped"
    """Not performed: an earlier step did not succeed, the run was stopped, or the nodes' answers are not
    conclusive."""


SUCCESSES = frozenset({State.DONE, State.FOUND})

OPEN = frozenset({State.UNKNOWN, State.OFFERED})
"""States that a later run settles by reading; until then the step is not sent again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one step.

    Args:
        seconds: from intent to read-back.
        waiting_for_restart: fields that need a restart, as JSON pointers or the node's names: the first ones,
            and then how many more there are.
        sent: whether a request may have reached the node in this run.
        refused: whether it was definitely refused: it had no effect, and another attempt is useless.
        killed: whether the run that sent it was killed before it read the effect: not the node's fault.
        feedback: what the node said of itself meanwhile, for messages.
    """

    step: Step
    state: State
    reason: str = ""
    seconds: float = 0.0
    waiting_for_restart: tuple[str, ...] = ()
    sent: bool = False
    refused: bool = False
    killed: bool = False
    feedback: StepFeedback = field(default=NO_FEEDBACK, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", bound_sentence(self.reason))
        object.__setattr__(self, "waiting_for_restart", list_first_names(self.waiting_for_restart))


@dataclass(frozen=True, slots=True)
class RunReport:
    """All outcomes of one run, in the plan's order.

    Args:
        run: its id in the history; empty if there was nothing to do.
        findings: about the run itself, such as messages that were not delivered; an error means failure.
    """

    run: str
    plan: Plan
    outcomes: tuple[Outcome, ...] = field(default=())
    findings: tuple[Diagnostic, ...] = field(default=())

    @property
    def is_success(self) -> bool:
        """Whether every step has its effect, and there is no error about the run."""
        return not self._has_error and all(outcome.state in SUCCESSES for outcome in self.outcomes)

    @property
    def exit_status(self) -> ExitStatus:
        """0 done; 4 nothing done because the nodes changed; 5 applied in part; 1 nothing done."""
        # An undone step is not "in part": its node has its former content back. But it was changed for a
        # while, so it rules out 4 as well.
        states = {outcome.state for outcome in self.outcomes}
        if states <= SUCCESSES:
            return ExitStatus.IN_PART if self._has_error else ExitStatus.DONE
        waits = any(finding.code == WAVE_WAITS for finding in self.findings)
        # A superseded step may have had its effect for a while.
        if waits or states & (SUCCESSES | OPEN | {State.WAITING, State.SUPERSEDED}):
            return ExitStatus.IN_PART
        is_changed = State.CHANGED in states and State.UNDONE not in states
        return ExitStatus.CHANGED if is_changed else ExitStatus.ERROR

    @property
    def _has_error(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)
