"""Keeps what anybody outside can cause from filling the log: a few lines a minute, the rest is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 10
"""Lines of one kind within `PERIOD` that are written as they come."""

PERIOD = 60.0
"""Seconds over which lines of one kind are counted."""

KINDS = 200
"""Kinds that are told apart; all others share one count."""


@dataclass(slots=True)
class _Count:
    since: float
    seen: int = 0


class Throttle:
    """Decides which of many equal events are written.

    Args:
        clock: monotonic seconds.
        burst: events of one kind that pass within one `period`.
        period: seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        burst: int = BURST,
        period: float = PERIOD,
    ) -> None:
        self._clock, self._burst, self._period = clock, burst, period
        self._counts: dict[str, _Count] = {}

    def admit(self, kind: str) -> dict[str, int] | None:
        """The fields to add to the event's line; None where it is only counted.

        Args:
            kind: what makes events equal; a name of ours, never a text from outside.

        Returns:
            `{"not_logged": n}` with the first line after a period in which n events were left out,
            else nothing to add.
        """
        now = self._clock()
        if kind not in self._counts and len(self._counts) >= KINDS:
            kind = "…"
        count = self._counts.setdefault(kind, _Count(now))
        more: dict[str, int] = {}
        if now - count.since >= self._period:
            if count.seen > self._burst:
                more = {"not_logged": count.seen - self._burst}
            count.since, count.seen = now, 0
        count.seen += 1
        return more if count.seen <= self._burst else None
