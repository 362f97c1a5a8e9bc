"""Collects reasons for a pass until the loop that waits takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reconciler.server.supervision import is_set_within
from reconciler.server.timing import compute_debounce


class Trigger:
    """A set of reasons. Firing twice causes one pass; firing while nobody waits is not lost.

    Args:
        window: seconds without a reason that end a burst; 0 ends it at once.
        limit: longest duration of a burst in seconds.
        clock: monotonic seconds; None for the clock of the running event loop.
    """

    def __init__(
        self, *, window: float = 0.0, limit: float = 0.0, clock: Callable[[], float] | None = None
    ) -> None:
        self._window, self._limit, self._clock = window, limit, clock
        self._fired = asyncio.Event()
        self._reasons: set[str] = set()
        self._ends_now = False
        self._first = self._last = 0.0

    def fire(self, reason: str, *, at_once: bool = False) -> None:
        """Add a reason; `at_once` ends the burst immediately."""
        now = self._read_clock()
        if not self._reasons:
            self._first = now
        self._last = now
        self._reasons.add(reason)
        self._ends_now = self._ends_now or at_once
        self._fired.set()

    async def wait(self, within: float) -> frozenset[str]:
        """The collected reasons when the burst is over; empty if there is none for `within` seconds."""
        if not await is_set_within(self._fired, max(within, 0.0)):
            return frozenset()
        while not self._ends_now:
            end = compute_debounce(self._first, self._last, window=self._window, limit=self._limit)
            if (left := end - self._read_clock()) <= 0:
                break
            self._fired.clear()
            if not await is_set_within(self._fired, left):
                break
        # No `await` between reading and clearing: a reason that fires meanwhile would be lost.
        reasons = frozenset(self._reasons)
        self._reasons.clear()
        self._fired.clear()
        self._ends_now = False
        return reasons

    def _read_clock(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
