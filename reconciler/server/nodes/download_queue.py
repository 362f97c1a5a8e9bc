"""Downloads at the same time, bounded by queueing, with a fair turn for each node."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

SLOTS_PER_NODE = 2
"""Downloads of one node at the same time: one more than it needs, for one whose other end has gone."""


class DownloadQueue:
    """Gives a limited number of slots, in turn by node: many requests of one node delay its own only.

    Args:
        slots: downloads at the same time.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._active: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @property
    def active(self) -> int:
        """Slots in use."""
        return self._active.total()

    @property
    def waiting(self) -> int:
        """Downloads that wait for a slot."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def slot(self, node: Hashable) -> AsyncIterator[None]:
        """Wait for a slot, and keep it while the context lasts.

        Args:
            node: whose download it is.
        """
        await self._take(node)
        try:
            yield
        finally:
            self._release(node)

    async def _take(self, node: Hashable) -> None:
        if not self._waiting.get(node) and self._has_room(node):
            self._active[node] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(node, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(node)  # the slot came together with the cancellation
            elif (waiting := self._waiting.get(node)) is not None:
                waiting.remove(turn)
                if not waiting:
                    del self._waiting[node]
            raise

    def _has_room(self, node: Hashable) -> bool:
        return self.active < self._slots and self._active[node] < SLOTS_PER_NODE

    def _release(self, node: Hashable) -> None:
        self._active[node] -= 1
        if not self._active[node]:
            del self._active[node]
        for other in list(self._waiting):
            if self.active >= self._slots:
                return
            if self._has_room(other):
                waiting = self._waiting.pop(other)
                self._active[other] += 1
                waiting.popleft().set_result(None)
                if waiting:
                    self._waiting[other] = waiting  # behind the other nodes
