"""Writes that wait together share one transaction: the disk, or a server, is asked once for all of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Generic, TypeVar

from reconciler.store.sql.transaction import SqlConnection

T = TypeVar("T")

_GROUP = 100
_HOLD = 0.01
"""Writes of one transaction, and seconds after which none is added: others wait for its end."""


class GroupedWrites:
    """Runs writes on one thread, in their order, each completely or not at all.

    Args:
        thread: that has the connection.
        transact: runs a function in a transaction that is durable when it returns.
        translate: makes errors of the database those of the program.
        is_open: whether the transaction of a connection can continue after an error.
        transact_shared: as `transact`, while other hosts may do the same; None if there are none.
    """

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        transact: Callable[[Callable[[Any], int]], int],
        translate: Callable[[], AbstractContextManager[None]],
        is_open: Callable[[Any], bool],
        transact_shared: Callable[[Callable[[Any], int]], int] | None = None,
    ) -> None:
        self._thread = thread
        self._transact = transact
        self._translate = translate
        self._is_open = is_open
        self._transact_shared = transact_shared or transact
        self._pending: deque[_Pending[Any]] = deque()

    async def write(self, work: Callable[[Any], T], *, is_shared: bool = False) -> T:
        """The result of `work`, whose changes are durable when this returns, all or none.

        Args:
            work: the write.
            is_shared: whether other hosts may write at the same time.

        Raises:
            StateError: the store cannot be written; nothing of this work was.
        """
        pending: _Pending[T] = _Pending(work, is_shared=is_shared)
        self._pending.append(pending)
        # By the loop, not by the thread itself: a loop that skips waiting must know that a write is under
        # way. Its future is not awaited, since giving up would take the call away and leave the write.
        asyncio.get_running_loop().run_in_executor(self._thread, self._write_pending)
        return await asyncio.wrap_future(pending.future)

    def _write_pending(self) -> None:
        """Write what waits, in one transaction."""
        group: list[_Pending[Any]] = []
        while self._pending and len(group) < _GROUP:
            # The order of the writes stays, so that one that keeps other hosts away begins another group.
            if group and self._pending[0].is_shared != group[0].is_shared:
                break
            one = self._pending.popleft()
            if one.begin():
                group.append(one)
        if not group:  # an earlier call has written it
            return
        try:
            transact = self._transact_shared if group[0].is_shared else self._transact
            written = transact(partial(self._write_group, group))
        except BaseException as error:  # noqa: BLE001  (each caller gets it)
            for one in group:
                one.future.set_exception(error)
            return
        self._pending.extendleft(reversed(group[written:]))  # the call for each of them is still to come
        for one in group[:written]:
            one.end()

    def _write_group(self, group: Sequence[_Pending[Any]], connection: SqlConnection) -> int:
        """Write the first of these, at least one; gives how many."""
        if len(group) == 1:  # its failure is that of the transaction
            group[0].result = group[0].work(connection)
            return 1
        end = time.monotonic() + _HOLD
        written = 0
        for one in group:
            self._write_one(connection, one)
            written += 1
            if time.monotonic() >= end:
                break
        return written

    def _write_one(self, connection: SqlConnection, one: _Pending[Any]) -> None:
        """One work of a group, so that its failure undoes nothing of the others."""
        connection.execute("SAVEPOINT one")
        try:
            with self._translate():
                one.result = one.work(connection)
        except Exception as error:
            if not self._is_open(connection):  # a full disk, for example: SQLite has undone all of it
                raise
            connection.execute("ROLLBACK TO one")
            one.error = error
        connection.execute("RELEASE one")


class _Pending(Generic[T]):
    """A write that waits for its turn.

    Args:
        work: the write.
        is_shared: whether other hosts may write at the same time.
    """

    def __init__(self, work: Callable[[Any], T], *, is_shared: bool) -> None:
        self.work = work
        self.is_shared = is_shared
        self.future: Future[T] = Future()
        self.result: T
        self.error: Exception | None = None

    def begin(self) -> bool:
        """Whether the caller still waits; from now on it cannot give up."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def end(self) -> None:
        """Tell the caller how it ended, once the transaction is on disk."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)
