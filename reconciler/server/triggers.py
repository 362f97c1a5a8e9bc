"""A bell that anything may ring: reasons gather until the one who waits comes for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reconciler.server.timing import compute_debounce


class Trigger:
    """Level, not edge: ringing twice asks once, and ringing while nobody waits is not lost.

    Args:
        window: seconds of silence that end a burst; 0 answers at once.
        limit: seconds after which a burst that does not end is answered all the same.
        clock: monotonic seconds; the running loop's clock where it is left out.
    """

    def __init__(
        self, *, window: float = 0.0, limit: float = 0.0, clock: Callable[[], float] | None = None
    ) -> None:
        self._window, self._limit, self._clock = window, limit, clock
        self._fired = asyncio.Event()
        self._reasons: set[str] = set()
        self._hurry = False
        self._first = self._last = 0.0

    def fire(self, reason: str, *, at_once: bool = False) -> None:
        """Ask for attention; `at_once` ends a burst without waiting for silence."""
        now = self._read_clock()
        if not self._reasons:
            self._first = now
        self._last = now
        self._reasons.add(reason)
        self._hurry = self._hurry or at_once
        self._fired.set()

    async def wait(self, within: float) -> frozenset[str]:
        """The reasons gathered, once the burst is over; none where nobody rang for `within` seconds."""
        try:
            async with asyncio.timeout(max(within, 0.0)):
                await self._fired.wait()
        except TimeoutError:
            return frozenset()
        while not self._hurry and (left := self._left()) > 0:
            self._fired.clear()
            try:
                async with asyncio.timeout(left):
                    await self._fired.wait()
            except TimeoutError:
                break
        return self._taken()

    def _left(self) -> float:
        return (
            compute_debounce(self._first, self._last, window=self._window, limit=self._limit)
            - self._read_clock()
        )

    def _taken(self) -> frozenset[str]:
        reasons = frozenset(self._reasons)
        self._reasons.clear()
        self._fired.clear()
        self._hurry = False
        return reasons

    def _read_clock(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
