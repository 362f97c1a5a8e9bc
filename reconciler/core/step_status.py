"""The status of a step by a fresh reading: executor, recovery and model checker share this judgement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    """A status with its reason, one sentence."""

    status: StepStatus
    reason: str = ""
