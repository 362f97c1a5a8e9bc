"""What becomes of the spans of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class SpanDelivery:
    """What became of the spans of this process.

    Args:
        note_change: called in another thread with why spans are not taken, and with an empty text when they
            are again.
        ended: spans that ended.
        sent: those that the collector has taken.
        problem: why the last ones were not taken; empty if they were.
        warning: what the library said last, such as why it tries again.
    """

    note_change: Callable[[str], None] = field(repr=False)
    ended: int = 0
    sent: int = 0
    problem: str = ""
    warning: str = ""

    def note_sent(self, spans: int) -> None:
        """The collector has taken so many."""
        self.sent += spans
        self._note_problem("")

    def note_refused(self, problem: str) -> None:
        """The collector has not taken them."""
        self._note_problem(problem)

    def _note_problem(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if bool(before) != bool(problem):
            self.note_change(problem)
