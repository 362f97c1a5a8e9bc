"""The store of one management host: one SQLite file, and lock files beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from reconciler.core.timestamps import Clock
from reconciler.errors import RunFenced
from reconciler.ports.store import WriteHook
from reconciler.store.sql.facts import advance_epoch, read_epoch
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.store import SqlStore
from reconciler.store.sql.transaction import Transaction
from reconciler.store.sqlite import FILE
from reconciler.store.sqlite.database import DIALECT, SqliteDatabase
from reconciler.store.sqlite.locks import (
    LOCKS,
    hold_cluster_lock,
    hold_operations_lock,
    hold_statuses_lock,
    wait_for_questions_lock,
)


class SqliteStore(SqlStore):
    """A store in one file.

    One connection on one thread serves all tasks of the process; processes share the file through the
    write-ahead log of SQLite. Every write is on disk when its call returns.

    Args:
        folder: the state folder of this host, on a local disk; created if missing.
        clock: for the times of what is written.
        name: makes the ids of runs.
        keep: runs of the history, besides those that are still needed.
        around: wraps each write that belongs to a run.

    Raises:
        StateError: the folder or the file cannot be used.
    """

    def __init__(
        self, folder: Path, *, clock: Clock, name: Callable[[], str], keep: int, around: WriteHook
    ) -> None:
        self._folder = folder
        self._database = SqliteDatabase(folder / FILE)
        self._epochs: dict[tuple[int, str], int] = {}
        super().__init__(
            self._database, DIALECT, HostKey(folder), clock=clock, name=name, keep=keep, around=around
        )

    @asynccontextmanager
    async def lock(self, cluster: str) -> AsyncIterator[None]:
        self._database.check()  # first: creating the lock file would recreate a folder that was moved away
        # The kernel releases the lock however this process ends. If somebody removes its file, a second run
        # gets a lock of its own, with a higher epoch: `_fence` then refuses this one.
        with hold_cluster_lock(self._folder / LOCKS, self._fleet, cluster):
            key = (self._fleet, cluster)
            self._epochs[key] = await self._write(advance_epoch, cluster)
            try:
                yield
            finally:
                self._epochs.pop(key, None)

    @asynccontextmanager
    async def lock_questions(self, cluster: str, seconds: float) -> AsyncIterator[None]:
        self._database.check()  # as in `lock`
        async with wait_for_questions_lock(self._folder / LOCKS, self._fleet, cluster, seconds):
            yield

    @asynccontextmanager
    async def lock_operations(self, cluster: str) -> AsyncIterator[None]:
        self._database.check()  # as in `lock`
        with hold_operations_lock(self._folder / LOCKS, self._fleet, cluster):
            yield

    @asynccontextmanager
    async def lock_statuses(self, place: str) -> AsyncIterator[None]:
        with hold_statuses_lock(self._folder / LOCKS, place):
            yield

    async def check_writable(self) -> None:
        await self._write(_rewrite_version)

    async def hold_for(self, cluster: str, seconds: float) -> None:
        """Nothing: the kernel takes a lock from no process, however long a call takes."""

    def _fence(self, cluster: str, run: str = "") -> Callable[[Transaction], None]:
        fleet = self._fleet
        epoch = self._epochs.get((fleet, cluster), 0)

        def check(tx: Transaction) -> None:
            if epoch and (latest := read_epoch(tx.for_fleet(fleet), cluster)) != epoch:
                who = f"run {run}" if run else "this run"
                raise RunFenced(
                    f"cluster {cluster}: a later run took over from {who} (epoch {latest}, {who} has "
                    f"{epoch}); {who} has stopped writing [fenced]",
                    remedy="this run needs no action; `reconcile history` shows the later one",
                )

        return check


def _rewrite_version(tx: Transaction) -> None:
    # Setting the version to itself writes the first page: the cheapest write that needs a disk.
    (version,) = tx.execute("PRAGMA user_version").fetchone()
    tx.execute(f"PRAGMA user_version = {version:d}")
