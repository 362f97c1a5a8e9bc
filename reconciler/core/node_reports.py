"""What a node says of itself without being asked: heartbeats and feedbacks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ReportKind(StrEnum):
    """What a report is about."""

    HEARTBEAT = "heartbeat"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node said of itself.

    Args:
        version: of the setting that it has; None where it does not say.
        status: of a feedback: `ok`, or why the change failed.
    """

    node: str
    kind: ReportKind
    version: Any = None
    status: str = ""
