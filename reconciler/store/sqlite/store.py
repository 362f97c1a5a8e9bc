"""The store of one management host: journal, history, facts and outbox in one SQLite file."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.core.history import Applied, Claim, Memory
from reconciler.core.plan import Step
from reconciler.core.retention import KEPT_RUNS
from reconciler.core.timestamps import Clock
from reconciler.host.clock import utc_now
from reconciler.ports.records import Ending, Letter, Opening, RunLine, RunRecord
from reconciler.store.sqlite import facts, history, journalling, outbox
from reconciler.store.sqlite.database import Database
from reconciler.store.sqlite.locks import holding
from reconciler.store.sqlite.orders import Orders, orders

FILE = "state.sqlite"
"""The store's file in the state folder."""

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter is taken for another one when read aloud."""


def run_id(clock: Clock = utc_now) -> str:
    """A run's name: its second in UTC and four random letters, such as `20261121-034455-k7fm`."""
    return f"{clock():%Y%m%d-%H%M%S}-" + "".join(secrets.choice(_LETTERS) for _ in range(4))


class Store:
    """Implements `reconciler.ports.store.Journal`, and keeps the history and the facts.

    One connection on one thread serves all tasks of the process; processes share the file through
    SQLite's write-ahead log. Every write is on disk when its call returns.
    """

    def __init__(self, folder: Path, clock: Clock, name: Callable[[], str], keep: int) -> None:
        self._folder = folder
        self._clock = clock
        self._name = name
        self._keep = keep
        self._database = Database(folder / FILE)
        self._epochs: dict[str, int] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        clock: Clock = utc_now,
        name: Callable[[], str] | None = None,
        keep: int = KEPT_RUNS,
    ) -> Self:
        """The store in a folder; both are made where they are missing. Close it after use (`with`).

        Args:
            folder: the state folder of this management host, on a local disk.
            clock: stamps what is written.
            name: makes the ids of runs.
            keep: how many runs the history keeps, beside those that are still needed.

        Raises:
            StateError: the folder or the file cannot be used; says what to do.
        """
        return cls(folder, clock, name or partial(run_id, clock), keep)

    def close(self) -> None:
        """Finish what was asked for and close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @asynccontextmanager
    async def lock(self, cluster: str) -> AsyncIterator[None]:
        """Hold a cluster against every other run; the kernel releases it however this process ends.

        Each holder has an epoch of its own, the highest so far. Should a lock file be removed under a
        holder, the next one is later, and `intend` refuses the earlier one.

        Raises:
            ClusterBusy: another run holds it.
        """
        self._database.check()  # first: a lock file would make the folder anew where it was moved away
        with holding(self._folder / "locks", cluster):
            self._epochs[cluster] = await self._database.write(facts.next_epoch, cluster, self._clock())
            try:
                yield
            finally:
                self._epochs.pop(cluster, None)

    async def begin(self, opening: Opening) -> str:
        """Write down a run with all its steps open; gives its id."""
        return await self._database.write(
            journalling.begin, opening, self._name, self._clock(), keep=self._keep
        )

    async def refuse(self, opening: Opening, note: str) -> str:
        """Write down a run that guards refused, with their verdicts; gives its id."""
        return await self._database.write(
            journalling.refuse, opening, note, self._name, self._clock(), keep=self._keep
        )

    async def intend(self, run: str, step: Step, learnt: Mapping[str, str] | None = None) -> None:
        """Write down that a step is about to be performed, with facts of its node that hold from then on.

        Raises:
            Fenced: a later run has taken the cluster over; nothing was written.
        """
        epoch = self._epochs.get(step.cluster, 0)
        await self._database.write(
            journalling.intend, run, step, self._clock(), epoch=epoch, learnt=learnt or {}
        )

    async def conclude(self, run: str, endings: Sequence[Ending]) -> None:
        """Write down outcomes, with their facts and messages, all in one transaction."""
        await self._database.write(journalling.conclude, run, endings, self._clock())

    async def finish(self, run: str, exit_status: int, note: str = "") -> None:
        """Write down that a run has ended."""
        await self._database.write(journalling.finish, run, exit_status, note, self._clock())

    async def is_open(self, cluster: str) -> bool:
        """Whether the journal has a step of a cluster that was sent and has no end, or an unknown one."""
        return await self._database.read(history.is_open, cluster)

    async def unsettled(self) -> tuple[RunRecord, ...]:
        """Runs that did not finish, or left a step unknown that no later run took up; oldest first."""
        return await self._database.read(history.unsettled)

    async def runs(self, limit: int = 20) -> tuple[RunLine, ...]:
        """The newest runs, newest first."""
        return await self._database.read(history.lines, limit)

    async def run(self, text: str) -> RunRecord:
        """One run by its id or the beginning of it.

        Raises:
            UsageError: no run, or several, begin so; it names the nearest.
        """
        return await self._database.read(history.record, text)

    async def remember(
        self, cluster: str, learnt: Mapping[str, Mapping[str, str]], *, fleet: str = ""
    ) -> None:
        """Keep facts of a cluster, by node and key; an empty value forgets. See `Journal.remember`."""
        if fleet:
            await self._database.write(facts.learn, fleet, cluster, learnt, self._clock())
        else:
            await self._database.write(facts.remember, cluster, learnt, self._clock())

    async def forget_attempts(self, cluster: str = "") -> tuple[str, ...]:
        """Forget what was tried for nodes, so that it is tried anew; gives them as `cluster/node`, sorted.

        Args:
            cluster: of which cluster; empty for all.
        """
        return await self._database.write(facts.forget_attempts, cluster)

    async def claim(self, taken: Mapping[str, Claim], given_up: Sequence[str]) -> None:
        """Write down which fleet writes to which places, and which places it names no more."""
        await self._database.write(facts.claim, taken, given_up, self._clock())

    async def recall(self) -> Memory:
        """What earlier runs left: facts for the drivers and the past for the guards."""
        return await self._database.read(facts.recall, self._clock())

    async def applied(self) -> dict[str, dict[str, Applied]]:
        """Cluster -> node -> the revision that it was last seen to run, and since when."""
        return await self._database.read(facts.applied)

    async def orders(self) -> Orders:
        """Suspensions, rejections, requests for approval and approvals that stand."""
        return await self._database.read(orders)

    async def due(self, *, beyond: int = 0, limit: int = 50) -> tuple[Letter, ...]:
        """Messages to deliver, oldest first, numbered beyond the one given."""
        return await self._database.read(outbox.due, beyond=beyond, limit=limit)

    async def sent(self, letter: str) -> None:
        """Write down that the sink took a message."""
        await self._database.write(outbox.sent, letter, self._clock())

    async def unsent(self, letter: str, error: str, *, refused: bool) -> None:
        """Write down that the sink did not take a message, and why; a few refusals end its journey."""
        await self._database.write(outbox.unsent, letter, error, refused=refused)

    async def probe(self) -> None:
        """Write something that changes nothing, to the disk and back.

        Raises:
            StateError: the store cannot be written; says why.
        """
        await self._database.write(_rewrite_version)

    async def left(self) -> int:
        """How many messages are still to be delivered."""
        return await self._database.read(outbox.left)


def _rewrite_version(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version:d}")
