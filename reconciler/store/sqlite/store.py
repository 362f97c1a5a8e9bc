"""The store of one management host: journal, history, facts and outbox in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.core.actor import Actor
from reconciler.core.fleet_identity import HOST, FleetIdentity, KnownFleet
from reconciler.core.memory import FleetMemory
from reconciler.core.plan import Revision, Step
from reconciler.core.rollout import RolloutProgress
from reconciler.core.timestamps import Clock
from reconciler.ports.store import (
    ClusterFacts,
    OpenOrders,
    OrderRecord,
    OutboxMessage,
    RunRecord,
    RunStart,
    RunSummary,
    StepEnd,
    WriteHook,
)
from reconciler.store.sqlite import FILE, fleets, history, journal, orders, outbox
from reconciler.store.sqlite.database import Database
from reconciler.store.sqlite.facts import (
    advance_epoch,
    forget_attempts,
    forget_members,
    write_claims,
    write_facts,
    write_pass,
    write_progress,
)
from reconciler.store.sqlite.host_key import HostKey
from reconciler.store.sqlite.locks import LOCKS, hold_cluster_lock
from reconciler.store.sqlite.memory import read_memory
from reconciler.store.sqlite.renames import rename_cluster


class SqliteStore:
    """Implements `reconciler.ports.store.Store`, whose docstrings are the contract of each method.

    One connection on one thread serves all tasks of the process; processes share the file through the
    write-ahead log of SQLite. Every write is on disk when its call returns. Close it after use (`with`).

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
        self,
        folder: Path,
        *,
        clock: Clock,
        name: Callable[[], str],
        keep: int,
        around: WriteHook,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._name = name
        self._keep = keep
        self._around = around
        self._database = Database(folder / FILE)
        self._epochs: dict[tuple[int, str], int] = {}
        self._fleet = HOST
        self._key = HostKey(folder)

    def close(self) -> None:
        """Finish the queued work and close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def fleets(self) -> tuple[KnownFleet, ...]:
        """The fleets of the store, by number."""
        return await self._database.read(fleets.read_fleets)

    def of(self, fleet: int) -> Self:
        """The same store, for one fleet."""
        own = copy(self)
        own._fleet = fleet  # noqa: SLF001  (another one of this very class)
        return own

    async def enter(self, identity: FleetIdentity) -> Self:
        """The same store, for the fleet of this identity, which is written."""
        async with self._around(""):
            return self.of(await self._database.write(fleets.enter_fleet, identity, self._clock()))

    async def rebind(self, fleet: int, identity: FleetIdentity) -> None:
        """Write the new identity of a fleet."""
        await self._database.write(fleets.rebind_fleet_source, fleet, identity, self._clock())

    @asynccontextmanager
    async def lock(self, cluster: str) -> AsyncIterator[None]:
        """Hold the lock of a cluster; the kernel releases it however this process ends.

        Each holder gets a higher epoch. If the lock file is removed and another run takes the lock, `intend`
        refuses the earlier holder.

        Raises:
            ClusterBusy: another run holds it.
        """
        self._database.check()  # first: creating the lock file would recreate a folder that was moved away
        with hold_cluster_lock(self._folder / LOCKS, self._fleet, cluster):
            key = (self._fleet, cluster)
            self._epochs[key] = await self._database.write(advance_epoch, *key, self._clock())
            try:
                yield
            finally:
                self._epochs.pop(key, None)

    async def begin(self, opening: RunStart) -> str:
        """Write a run with all its steps open; gives its id."""
        async with self._around(""):
            return await self._database.write(
                journal.begin_run,
                opening,
                self._name,
                self._clock(),
                fleet=self._fleet,
                key=self._key,
                keep=self._keep,
            )

    async def refuse(self, opening: RunStart, note: str) -> str:
        """Write a run that guards refused, with their reasons; gives its id."""
        async with self._around(""):
            return await self._database.write(
                journal.write_refusal,
                opening,
                note,
                self._name,
                self._clock(),
                fleet=self._fleet,
                keep=self._keep,
            )

    async def intend(self, run: str, step: Step, learnt: Mapping[str, str] | None = None) -> None:
        """Write that a step is about to be performed, with facts of its node that are true from then on."""
        epoch = self._epochs.get((self._fleet, step.cluster), 0)
        async with self._around(step.id):
            await self._database.write(
                journal.write_intent, run, step, self._clock(), epoch=epoch, learnt=learnt or {}
            )

    async def conclude(self, run: str, endings: Sequence[StepEnd]) -> None:
        """Write outcomes with their facts and messages, in one transaction."""
        async with self._around(""):
            await self._database.write(journal.write_outcomes, run, endings, self._clock())

    async def finish(self, run: str, exit_status: int, note: str = "") -> None:
        """Write the end of a run."""
        async with self._around(""):
            await self._database.write(journal.finish_run, run, exit_status, note, self._clock())

    async def is_open(self, cluster: str) -> bool:
        """Whether a step of a cluster was sent and has no outcome, or an unknown one."""
        return await self._database.read(history.has_open_step, self._fleet, cluster)

    async def unsettled(self) -> tuple[RunRecord, ...]:
        """Runs that did not finish, or left an unknown step; oldest first."""
        return await self._database.read(history.read_unsettled_runs, self._fleet, self._key)

    async def runs(self, limit: int = 20) -> tuple[RunSummary, ...]:
        """The newest runs, newest first."""
        return await self._database.read(history.read_run_summaries, self._fleet, limit)

    async def acts(self, limit: int = 20) -> tuple[OrderRecord, ...]:
        """The newest orders on this host, newest first."""
        return await self._database.read(orders.read_order_records, limit)

    async def run(self, text: str, *, is_whole: bool = False) -> RunRecord:
        """One run by its id or its beginning."""
        return await self._database.read(history.read_run, text, self._key if is_whole else None)

    async def recall(self) -> FleetMemory:
        """The memory of the fleet, as of one moment."""
        found = await self._database.read(read_memory, self._fleet, self._clock())
        return replace(found, key=self._key.secret())

    async def orders(self) -> OpenOrders:
        """Open suspensions, rejections, requests for approval and approvals."""
        return await self._database.read(orders.read_orders, self._fleet)

    async def remember(self, cluster: str, facts: Mapping[str, Mapping[str, str]]) -> None:
        """Write facts of nodes; an empty value deletes, an unchanged one keeps its time."""
        async with self._around(""):
            await self._database.write(write_facts, self._fleet, cluster, facts, self._clock())

    async def forget_attempts(self, cluster: str = "") -> tuple[str, ...]:
        """Delete the attempts of nodes, so that they are tried again; gives the nodes as `cluster/node`."""
        return await self._database.write(forget_attempts, self._fleet, cluster)

    async def record_pass(self, cluster: str, facts: ClusterFacts) -> None:
        """Write what a pass found out about a cluster."""
        async with self._around(""):
            await self._database.write(write_pass, self._fleet, cluster, facts, self._clock())

    async def forget_members(self, cluster: str) -> None:
        """Delete the members of a cluster that was removed from its fleet file as allowed."""
        async with self._around(""):
            await self._database.write(forget_members, self._fleet, cluster, self._clock())

    async def rename_cluster(self, former: str, name: str, by: Actor) -> None:
        """Move the memory of a cluster to its new name."""
        async with self._around(""):
            await self._database.write(rename_cluster, self._fleet, former, name, by=by, now=self._clock())

    async def keep_progress(self, cluster: str, progress: RolloutProgress | None) -> None:
        """Write the progress of a rollout; None if it is over."""
        async with self._around(""):
            await self._database.write(write_progress, self._fleet, cluster, progress, self._clock())

    async def claim(self, taken: Mapping[str, tuple[str, str]], given_up: Sequence[str]) -> None:
        """Write the places that this fleet claims, and delete those it gave up."""
        await self._database.write(write_claims, self._fleet, taken, given_up, self._clock())

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        """Suspend a cluster, or all if the name is empty."""
        await self._database.write(orders.write_suspension, cluster, reason, by, self._clock())

    async def resume(self, cluster: str, by: Actor) -> None:
        """End the suspension of the same cluster, or of all."""
        await self._database.write(orders.delete_suspension, cluster, by, self._clock())

    async def reject(self, cluster: str, revision: Revision, reason: str, *, ends_rollout: bool) -> None:
        """Reject a revision in a cluster, and end its rollout if wanted."""
        async with self._around(""):
            await self._database.write(
                orders.write_rejection,
                self._fleet,
                cluster,
                revision,
                reason=reason,
                now=self._clock(),
                ends_rollout=ends_rollout,
            )

    async def roll_back(
        self, cluster: str, left: tuple[Revision, str] | None, taken: tuple[Revision, str], reason: str
    ) -> None:
        """Write, before the first step, the revision that a rollback leaves and the one it goes to."""
        async with self._around(""):
            await self._database.write(
                orders.write_rollback, self._fleet, cluster, left, taken, reason=reason, now=self._clock()
            )

    async def request_approval(self, cluster: str, digest: str, short: str, words: str) -> None:
        """Write the plan of a cluster that waits for an approval; it replaces the one before."""
        async with self._around(""):
            await self._database.write(
                orders.write_approval_request,
                self._fleet,
                cluster,
                self._clock(),
                digest=digest,
                short=short,
                words=words,
            )

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        """Approve a plan for one run."""
        await self._database.write(orders.write_approval, digest, by, reason, self._clock())

    async def spend_approval(self, digest: str) -> None:
        """Delete an approval that was used."""
        async with self._around(""):
            await self._database.write(orders.delete_approval, self._fleet, digest, self._clock())

    async def due(self, *, beyond: int = 0, limit: int = 50) -> tuple[OutboxMessage, ...]:
        """Messages to deliver with numbers greater than `beyond`, oldest first."""
        return await self._database.read(outbox.read_due_messages, beyond=beyond, limit=limit)

    async def sent(self, outbox_message: str) -> None:
        """Write that the sink took a message."""
        await self._database.write(outbox.mark_sent, outbox_message, self._clock())

    async def unsent(self, outbox_message: str, error: str, *, refused: bool) -> None:
        """Write that the sink did not take a message, and why; after some refusals it is not sent again."""
        await self._database.write(outbox.mark_unsent, outbox_message, error, refused=refused)

    async def left(self) -> int:
        """The number of messages still to be delivered."""
        return await self._database.read(outbox.count_undelivered)

    async def probe(self) -> None:
        """Test a write to the disk without changing anything."""
        await self._database.write(_rewrite_version)


def _rewrite_version(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version:d}")
