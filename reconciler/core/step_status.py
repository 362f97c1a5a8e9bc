"""The status of a step by a fresh reading: executor, recovery and model checker share this judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.arguments import NO_FEEDBACK, StepFeedback


class StepStatus(StrEnum):
    """The status of a step by the nodes' answers."""

    READY = "ready"
    """Its preconditions hold and its effect is not visible: it may be performed."""

    DONE = "done"
    """Its effect is visible, whoever caused it: nothing is to be performed."""

    CHANGED = "changed"
    """The nodes show neither the state before the step nor its effect: plan again."""

    UNKNOWN = "unknown"
    """The nodes' answers are not conclusive: nothing is performed."""


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """A status with its reason, one sentence.

    Args:
        is_final: whether the node reported that it failed to do this very step: no effect will come, so
            nothing more is waited for, and the same content is not sent again.
        accepts_answer: whether the nodes do not show this effect at all, so that the answer to the call is
            the only evidence of it that there can be.
        feedback: what the node says of itself, for messages.
    """

    status: StepStatus
    reason: str = ""
    is_final: bool = False
    accepts_answer: bool = False
    feedback: StepFeedback = field(default=NO_FEEDBACK, compare=False)


def make_done(why: str) -> StepVerdict:
    """The effect of a step is visible."""
    return StepVerdict(StepStatus.DONE, why)


def make_changed(why: str) -> StepVerdict:
    """The nodes are neither as before a step nor as after it."""
    return StepVerdict(StepStatus.CHANGED, why)


def make_unknown(why: str) -> StepVerdict:
    """The status of a step is not known."""
    return StepVerdict(StepStatus.UNKNOWN, why)
