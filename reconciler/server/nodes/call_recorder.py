"""Stores calls of nodes in groups: a report before it is answered, a poll without changes afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence

from reconciler.errors import StateError
from reconciler.ports.node_store import CallRecord
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.supervision import is_set_within

POLL_SECONDS = 5.0
"""Seconds after which a poll that shows nothing new is stored; a killed server forgets no more than that."""

SHORTEST_POLL_SECONDS = 0.25
"""The same, where nodes poll so often that the time would matter."""

NEWS_SECONDS = 0.1
"""Seconds after which a poll that shows something new is stored, together with all others."""

RETRY_SECONDS = 1.0
"""Seconds until the next attempt after the store failed."""

GROUP = 1_000
"""Calls in one write: a longer one would delay the writes of passes."""

MOST_WAITING = 10_000
"""Calls that wait for the store; further ones fail at once, so that a full disk does not fill the memory."""


class CallRecorder:
    """Groups the calls that arrive while the store writes the group before.

    Args:
        write: stores calls durably; gives the offers that cannot be taken any more.
        failed: called with an error of the store, and with None once it works again.
        counters: of what is stored.

    Attributes:
        poll_seconds: after which time a poll that shows nothing new is stored.
    """

    def __init__(
        self,
        write: Callable[[Sequence[CallRecord]], Awaitable[frozenset[str]]],
        failed: Callable[[StateError | None], None],
        counters: CallCounters,
    ) -> None:
        self._write, self._failed = write, failed
        self._waiting: list[tuple[CallRecord, asyncio.Future[bool]]] = []
        self._polls: dict[Hashable, Callable[[], CallRecord]] = {}
        self._changed = asyncio.Event()
        self._due = 0.0
        self.poll_seconds = SHORTEST_POLL_SECONDS
        self._counters = counters

    @property
    def waiting(self) -> int:
        """Calls that are not stored yet."""
        return len(self._waiting) + len(self._polls)

    def note_poll(self, key: Hashable, make: Callable[[], CallRecord], *, now: bool = False) -> None:
        """Store a poll soon; only the newest one of a key is stored.

        Args:
            key: node and feed.
            make: gives the record, once it is stored.
            now: whether it shows something new.
        """
        self._polls[key] = make
        if now:
            due = asyncio.get_running_loop().time() + NEWS_SECONDS
            if due < self._due:
                self._due = due
                self._changed.set()

    async def record(self, call: CallRecord) -> bool:
        """Store a call; gives whether the offer that it takes may be delivered.

        Raises:
            StateError: it is not stored.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise StateError("too many calls of nodes wait for the store")
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, stored))
        self._changed.set()
        return await stored

    async def run(self, stop: asyncio.Event) -> None:
        """Write groups until `stop` is set, then what is left."""
        clock = asyncio.get_running_loop().time
        while not (stop.is_set() and not self.waiting):
            if not stop.is_set():
                await self._wait(max(0.01, self._due - clock()))
            if await self._write_group(with_polls=clock() >= self._due or stop.is_set()):
                continue
            if stop.is_set():
                return
            await is_set_within(stop, RETRY_SECONDS)

    def set_freshness(self, seconds: float) -> None:
        """Store polls in time for what a node sent to count as fresh for so many seconds."""
        self.poll_seconds = max(SHORTEST_POLL_SECONDS, min(POLL_SECONDS, seconds / 8))

    def wake(self) -> None:
        """Look for calls, or for the stop, at once."""
        self._changed.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _write_group(self, *, with_polls: bool) -> bool:
        """Write the next group; gives whether the store works."""
        group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
        if self._waiting:
            self._changed.set()
        polls = self._take_polls(GROUP - len(group)) if with_polls else {}
        if not group and not polls:
            return True
        calls = [*(make() for make in polls.values()), *(call for call, _ in group)]
        try:
            refused = await self._write(calls)
        except Exception as error:
            failure = error if isinstance(error, StateError) else StateError("calls cannot be stored")
            self._failed(failure)
            for _, stored in group:
                if not stored.done():
                    stored.set_exception(failure)
            self._polls = {**polls, **self._polls}  # newer ones count
            if failure is not error:
                raise
            return False
        self._failed(None)
        self._counters.groups += 1
        self._counters.stored += len(calls)
        for call, stored in group:
            if not stored.done():  # its connection may have gone
                stored.set_result(not call.took or call.took not in refused)
        return True

    def _take_polls(self, most: int) -> dict[Hashable, Callable[[], CallRecord]]:
        taken = {key: self._polls.pop(key) for key in list(self._polls)[:most]}
        if not self._polls:
            self._due = asyncio.get_running_loop().time() + self.poll_seconds
        return taken
