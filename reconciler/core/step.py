"""What a fresh look says about one step: the one judgement that apply, resume and the checker share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StepStatus(StrEnum):
    """How a step stands against the world."""

    READY = "ready"
    """What the step needs is true and its effect does not show: it may be performed."""

    DONE = "done"
    """The effect shows, whoever brought it about: nothing is to be performed."""

    CHANGED = "changed"
    """The world is neither as planned from nor as planned for: plan again."""

    UNKNOWN = "unknown"
    """The nodes' answers do not tell: do nothing, say so."""


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """A standing with its reason, a sentence that can be read aloud."""

    status: StepStatus
    reason: str = ""
