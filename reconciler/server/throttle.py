"""Limits log lines that outsiders can cause: a few per minute are written, the others are counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BURST = 10
"""Lines of one kind that are written within one `PERIOD`."""

PERIOD = 60.0
"""Seconds over which lines of one kind are counted."""

KINDS = 200
"""Kinds with their own count; all others share one. Without a bound, callers could fill the memory."""


@dataclass(slots=True)
class _Count:
    since: float
    seen: int = 0


class Throttle:
    """Decides which of many equal events are logged.

    Args:
        clock: monotonic seconds.
        burst: events of one kind that are logged within one `period`.
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

    def admit(self, kind: str) -> dict[str, Any] | None:
        """Fields to add to the event's line; None if the event is only counted.

        Args:
            kind: what makes events equal; must not contain text from outside.

        Returns:
            `{"not_logged": n}` for the first event after a period in which n events were not logged, else
            an empty dict.
        """
        now = self._clock()
        # Kinds beyond the limit share one count: an attacker who varies a message fills neither log nor
        # memory.
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
