"""The exit statuses of the command line: their numbers, what they mean, and which one counts first."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitStatus(IntEnum):
    """How a command ended. Statuses of signals are 128 and the number of the signal."""

    DONE = 0
    ERROR = 1
    PENDING = 2
    REFUSED = 3
    CHANGED = 4
    IN_PART = 5
    NOT_ALLOWED = 6
    UNDECIDED = 7


MEANINGS: Final = {
    ExitStatus.DONE: "done, or nothing to do",
    ExitStatus.ERROR: "an error; also a node that could not be read, a stalled node, or a plan that was not "
    "confirmed",
    ExitStatus.PENDING: "changes are pending, or nodes wait for a restart, whether or not all nodes could "
    "be read (only with --detailed-exitcode)",
    ExitStatus.REFUSED: "a guard refused the plan, or the plans of some clusters: nothing was done there; or "
    "the revision lacks a required signature",
    ExitStatus.CHANGED: "the nodes or the source changed since the plan was made: nothing was done",
    ExitStatus.IN_PART: "applied in part: the report says what was not done and why",
    ExitStatus.NOT_ALLOWED: "the node must not be stopped (only allow-stop)",
    ExitStatus.UNDECIDED: "it could not be found out whether the node may be stopped (only allow-stop)",
}
"""Each status and its meaning, for help and documents."""

SIGNALS: Final = {130: "128+N: stopped by signal N (130 Ctrl-C, 143 SIGTERM)"}
"""Statuses after a signal, by an example."""
