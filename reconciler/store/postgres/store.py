"""The store of several hosts: one PostgreSQL database, and leases in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from typing import Concatenate, Final, ParamSpec, TypeVar

from reconciler.core.timestamps import Clock
from reconciler.errors import ClusterBusy, StateError
from reconciler.host.clock import utc_now
from reconciler.ports.pass_queue import PassQueue
from reconciler.ports.store import OutboxMessage, WriteHook
from reconciler.store.postgres.access import PostgresAccess
from reconciler.store.postgres.connection import PostgresConnection, translate_postgres_errors
from reconciler.store.postgres.database import (
    DIALECT,
    PostgresDatabase,
    check_version,
    has_tables,
    migrate,
    open_connection,
)
from reconciler.store.postgres.leases import OUTBOX, LeaseKeeper
from reconciler.store.postgres.schema import MIGRATIONS
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.outbox import read_due_messages
from reconciler.store.sql.store import SqlStore
from reconciler.store.sql.transaction import SqlConnection, Transaction

P = ParamSpec("P")
T = TypeVar("T")

_SILENT: Final = """
    SELECT DISTINCT name FROM host AS own WHERE jobs != '' AND seen < clock_timestamp() - interval '2 minutes'
    AND NOT EXISTS (
        SELECT 1 FROM host WHERE name = own.name AND seen >= clock_timestamp() - interval '2 minutes'
    ) ORDER BY name"""
"""Hosts with a watch that was not ended in order: that would have deleted its row."""

_PROOF: Final = b"the key of this store"
_DELIVERY: Final = 60.0
"""Seconds for which a host may deliver what it has read; then another one may deliver it again."""
_TURN: Final = 2.0
"""Seconds to wait for another host that delivers: it takes what is due until it finds nothing more."""


class PostgresStore(SqlStore):
    """A store in a database that several hosts use.

    Args:
        access: to the database.
        migrates: whether its tables are created or migrated; else they have to be those of this program.
        clock: for the times of what is written; the clock of the host stands for that of the database.
        name: makes the ids of runs.
        keep: runs of the history, besides those that are still needed.
        around: wraps each write that belongs to a run.

    Raises:
        StateError: the database or the key cannot be used.
    """

    def __init__(
        self,
        access: PostgresAccess,
        *,
        clock: Clock,
        name: Callable[[], str],
        keep: int,
        around: WriteHook,
        migrates: bool = True,
    ) -> None:
        prepare_tables(access, migrates=migrates)
        self._access = access
        self._has_own_clock = clock is not utc_now
        self._pass_queues: dict[str, PassQueue] = {}
        self._leases = LeaseKeeper(access.address, access.host, access.lease)
        self._own_database = PostgresDatabase(access.address, self._leases.holder)
        super().__init__(
            self._own_database,
            DIALECT,
            HostKey(access.key.parent, access.key.name),
            clock=clock,
            name=name,
            keep=keep,
            around=around,
        )

    def close(self) -> None:
        for queue in self._pass_queues.values():
            queue.close()
        self._leases.close()
        super().close()

    def _bind(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[SqlConnection], T]:
        fleet = self._fleet
        given = self._clock() if self._has_own_clock else None

        def run(connection: SqlConnection) -> T:
            assert isinstance(connection, PostgresConnection)
            # Clocks of hosts differ: a hold or a budget would end at different moments.
            now = given or connection.now
            return work(Transaction(connection, fleet, now, self._dialect), *args, **kwargs)

        return run

    def open_pass_queue(self, selection: str) -> PassQueue | None:
        from reconciler.store.postgres.pass_queue import PostgresPassQueue  # noqa: PLC0415  (only a watch has one)

        queue = PostgresPassQueue(self._access, self._leases, self._fleet, selection)
        return self._pass_queues.setdefault(queue.name, queue)

    def lock(self, cluster: str) -> AbstractAsyncContextManager[None]:
        return self._leases.hold(self._name_lease(cluster), f"cluster {cluster} is being changed by")

    def lock_operations(self, cluster: str) -> AbstractAsyncContextManager[None]:
        name = f"{self._name_lease(cluster)}+operations"  # no cluster's name has a "+"
        return self._leases.hold(name, f"operations of cluster {cluster} are performed by")

    def lock_statuses(self, place: str) -> AbstractAsyncContextManager[None]:
        name = f"statuses+{sha256(place.encode()).hexdigest()[:16]}"  # the name of no cluster's lease
        return self._leases.hold(name, "commit statuses are written by")

    @asynccontextmanager
    async def lock_questions(self, cluster: str, seconds: float) -> AsyncIterator[None]:
        name = f"{self._name_lease(cluster)}+questions"
        subject = f"another question about cluster {cluster} is being answered by"
        async with self._leases.hold(name, subject, seconds):
            yield

    async def hold_for(self, cluster: str, seconds: float) -> None:
        name = self._name_lease(cluster)
        for one in (name, f"{name}+operations"):
            await self._leases.extend(one, seconds)

    async def list_due(self, *, beyond: int = 0, limit: int = 50) -> tuple[OutboxMessage, ...]:
        # One host at a time delivers, in the order of the outcomes; it delivers those of all hosts.
        try:
            if self._leases.get(OUTBOX) is None:
                await self._leases.take(OUTBOX, "messages are being delivered by", _TURN)
            await self._leases.extend(OUTBOX, _DELIVERY)
        except ClusterBusy:
            await self._leases.release(OUTBOX)
            return ()
        # As a writer that keeps the others away: of two that write, the one with the higher number may be
        # visible first, and what is beyond it would wait for the next run.
        due = await self._write(read_due_messages, beyond, limit)
        if not due:
            await self._leases.release(OUTBOX)
        return due

    async def mark_failed(self, outbox_message: str, error: str, *, refused: bool) -> None:
        await super().mark_failed(outbox_message, error, refused=refused)
        if not refused:  # the sink is away, and nothing more is delivered now
            await self._leases.release(OUTBOX)

    async def check_writable(self) -> None:
        try:
            await self._write(_rewrite_position)
        finally:
            loss = self._own_database.take_loss()
        if loss is not None:  # whatever noticed it, such as a loop that tries again, may have told nobody
            raise loss

    async def list_silent_hosts(self) -> tuple[str, ...]:
        return await self._read(_list_silent_hosts)

    def _is_held(self, cluster: str) -> bool:
        return self._leases.get(self._name_lease(cluster)) is not None

    def _fence(self, cluster: str, run: str = "") -> Callable[[Transaction], None]:
        return self._leases.make_fence(self._name_lease(cluster), run)

    def _name_lease(self, cluster: str) -> str:
        return f"{self._fleet}/{cluster}"


def prepare_tables(access: PostgresAccess, *, migrates: bool = True) -> None:
    """Create or migrate the tables, and compare the key of this host with that of the store.

    Args:
        access: to the database.
        migrates: whether it may be changed; else tables of an older version are refused.

    Raises:
        StateError: the tables are of a newer version, or of an older one that must not be migrated, or the
            key is another one or missing.
    """
    connection = open_connection(access.address)
    try:
        with translate_postgres_errors(access.address):
            version = _read_version(connection) if has_tables(connection) else 0
            if version < len(MIGRATIONS):
                if not migrates:
                    raise _make_outdated_error(access, version)
                migrate(connection)
            check_version(
                access.address,
                None,
                connection.execute("SELECT max(oldest) AS oldest FROM schema_version").fetchone()["oldest"],
            )
            _agree_on_key(connection, access)
    finally:
        connection.close()


def is_prepared(access: PostgresAccess) -> bool:
    """Whether the database has the tables of this program."""
    connection = open_connection(access.address)
    try:
        with translate_postgres_errors(access.address):
            return has_tables(connection)
    finally:
        connection.close()


def _make_outdated_error(access: PostgresAccess, version: int) -> StateError:
    """What a command that only reads says of tables that it would have to migrate."""
    return StateError(
        f"the database {access.address} has tables of an older version of this program (schema version "
        f"{version}, this program has {len(MIGRATIONS)}); what only reads does not migrate them",
        remedy="read with the version of the hosts that run, or start `reconcile watch` of this version, "
        "which migrates the tables",
    )


def _read_version(connection: PostgresConnection) -> int:
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(version)


def _agree_on_key(connection: PostgresConnection, access: PostgresAccess) -> None:
    """Compare the key of this host with that of the store; the first host makes it."""
    key = HostKey(access.key.parent, access.key.name)
    known = connection.execute("SELECT value, host FROM agreement WHERE what = 'key'").fetchone()
    if known is None:
        access.key.parent.mkdir(parents=True, exist_ok=True)
        connection.execute(
            "INSERT INTO agreement (what, value, host) VALUES ('key', ?, ?) ON CONFLICT DO NOTHING",
            (json.dumps(key.make_digest(_PROOF, "agreement")), access.host.name),
        )
        known = connection.execute("SELECT value, host FROM agreement WHERE what = 'key'").fetchone()
    if not key.is_made():
        raise StateError(
            f"the key of the store {access.address} is missing on this host: {access.key}",
            remedy=f"copy it from {known['host']}, readable only by the user of this program; what is "
            "encrypted in the store cannot be read without it",
        )
    if json.loads(known["value"]) != key.make_digest(_PROOF, "agreement"):
        raise StateError(
            f"the key {access.key} is not that of the store {access.address}, which {known['host']} made",
            remedy=f"copy the key from {known['host']}, or name its file with `database.key` of the host "
            "configuration",
        )


def _rewrite_position(tx: Transaction) -> None:
    tx.execute("UPDATE node_position SET position = position WHERE what = 'any'")


def _list_silent_hosts(tx: Transaction) -> tuple[str, ...]:
    return tuple(row["name"] for row in tx.execute(_SILENT))
