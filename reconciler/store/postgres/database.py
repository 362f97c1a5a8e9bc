"""One PostgreSQL database with a connection for writes and one for reads, each on a thread of its own."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar, cast

from reconciler.core.actor import Actor
from reconciler.core.defect import name_error
from reconciler.core.fleet_matching import HOST
from reconciler.errors import ConfirmedWritesLost, StateError
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.postgres.confirmed_writes import ConfirmedWrites
from reconciler.store.postgres.connection import (
    IDLE_SECONDS,
    SCHEMA,
    STATEMENT_SECONDS,
    WAIT_SECONDS,
    PostgresConnection,
    translate_postgres_errors,
)
from reconciler.store.postgres.schema import MIGRATIONS
from reconciler.store.sql.grouped_writes import GroupedWrites
from reconciler.store.sql.node_polls import FIELDS
from reconciler.store.sql.orders import write_suspension
from reconciler.store.sql.transaction import Dialect, Transaction

T = TypeVar("T")

DIALECT: Final = Dialect(
    texts="SELECT value FROM json_array_elements_text(({})::json) AS own(value)",
    numbers="SELECT value::bigint FROM json_array_elements_text(({})::json) AS own(value)",
    polls="SELECT (value->>0)::bigint AS number, "  # noqa: S608  (names of fields)
    + ", ".join(f"value->>{at} AS {name}" for at, name in enumerate(FIELDS) if at)
    + " FROM json_array_elements(({})::json) AS own(value)",
    known_tokens="SELECT coalesce(json_agg(json_build_array(token.digest, token.node,"
    " token.used IS NULL AND token.ended IS NULL)), '[]')::text"
    " FROM json_array_elements_text(({})::json) AS own(value)"
    " JOIN node_token AS token ON token.digest = own.value",
    next_fleet="SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM fleet_number_seq",
)
"""The queries of `store.sql` in PostgreSQL."""

_WRITER: Final = 0x52434E43
MIGRATION_LOCK: Final = _WRITER + 1
"""Numbers of advisory locks: "RCNC", and the next one."""

_SETTINGS: Final = (
    f"SET search_path = {SCHEMA}",
    "SET TIME ZONE 'UTC'",
    f"SET lock_timeout = '{WAIT_SECONDS}s'",
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
    # A host that freezes or vanishes in a transaction must not keep the others from writing.
    f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'",
    # An intent must survive a power cut, whatever the role's own setting is: a call is sent after it.
    "SET synchronous_commit = on",
    "SET standard_conforming_strings = on",
)

_VERSIONS: Final = "SELECT clock_timestamp() AS now, max(version) AS version, max(oldest) AS oldest"
_BEGIN_READ: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_VERSIONS} FROM schema_version"
_BEGIN_WRITE: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock{{}}({_WRITER})"
# One writer at a time, as in SQLite: what a transaction reads before it writes stays true until it ends, and
# numbers of rows grow in the order in which rows become visible.
_BEGIN_ALONE: Final = _BEGIN_WRITE.format("")
# Beside others that write for other clusters, whose leases keep them apart; never beside one that is alone.
# So an intent still sees each suspension, reservation and hold that was written before it, and what it reads
# stays true until it ends. PostgreSQL queues locks: one who wants to be alone waits only for those before it.
_BEGIN_SHARED: Final = _BEGIN_WRITE.format("_shared")

BEGIN_SHORT: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED; {_VERSIONS} FROM schema_version"
"""Begins a transaction that waits for no other writer: each of its statements is right by itself."""


class PostgresDatabase:
    """Runs functions over connections, all or none of each; a lost connection is made again.

    Args:
        address: of the database, whose tables exist.
        holder: key of the row of this process in `host`; empty for a process that takes no passes.

    Raises:
        StateError: it cannot be reached, or belongs to a newer version.
    """

    def __init__(self, address: PostgresAddress, holder: str = "") -> None:
        self._address = address
        self._confirmed = ConfirmedWrites(holder)
        self._loss: ConfirmedWritesLost | None = None
        self._reader = PostgresSession(address, "store-read")
        self._writer = PostgresSession(address, "store-write")
        self._writes = GroupedWrites(
            self._writer.thread,
            partial(self._write_counted, _BEGIN_ALONE),
            partial(translate_postgres_errors, address),
            lambda connection: bool(connection.is_in_transaction),
            partial(self._write_counted, _BEGIN_SHARED),
        )

    async def read(self, work: Callable[[PostgresConnection], T]) -> T:
        """The result of `work`, which sees one moment of the database.

        Raises:
            StateError: it cannot be read, or a record in it is invalid.
        """
        return await self._reader.run(
            partial(self._reader.transact, _BEGIN_READ, partial(self._decode, work))
        )

    async def write(self, work: Callable[[PostgresConnection], T], *, is_shared: bool = False) -> T:
        """The result of `work`, whose changes are durable when this returns, all or none.

        Args:
            work: the write.
            is_shared: whether other hosts may write at the same time: what it reads and writes belongs to
                clusters whose leases are held, or is changed only by those who write alone.

        Raises:
            StateError: it cannot be written; nothing of this work was, unless the message says that the
                connection was lost.
        """
        return await self._writes.write(work, is_shared=is_shared)

    def take_loss(self) -> ConfirmedWritesLost | None:
        """The error of the newest write that noticed a loss, once; None if none did."""
        loss, self._loss = self._loss, None
        return loss

    async def compute(self, work: Callable[[], T]) -> T:
        """The result of long work that needs no connection, such as encoding what is written afterwards."""
        return await self._writer.run(work)

    def close(self) -> None:
        """Finish the queued work and close the connections."""
        self._reader.close()
        self._writer.close()

    def _write_counted(self, begin: str, work: Callable[[PostgresConnection], T]) -> T:
        """The result of `work` in a transaction that counts; on the thread.

        Raises:
            StateError: the database cannot be used, or has lost what it had confirmed.
        """
        own = self._confirmed
        count = f"{own.count}; {_VERSIONS}, {own.column} FROM schema_version"

        def write(connection: PostgresConnection) -> tuple[int, int | None, T | None]:
            lost, writes = own.count_lost(connection.writes), connection.writes
            return lost, writes, None if lost else work(connection)

        lost, writes, result = self._writer.transact(f"{begin}; {count}", write)
        if lost:
            suspend = partial(suspend_all, lost=lost)
            writes = self._writer.transact(f"{_BEGIN_ALONE}; {count}", suspend)
        own.confirm(writes)
        if lost:
            self._loss = ConfirmedWritesLost(
                f"the database {self._address} has lost {lost} or more writes that it had confirmed, as in a "
                "failover without synchronous replication, or when a dump is restored; all clusters are "
                "suspended, and nothing is sent",
                remedy="compare `reconcile status` with the nodes, then run `reconcile resume`",
            )
            raise self._loss
        return cast("T", result)

    def _decode(self, work: Callable[[PostgresConnection], T], connection: PostgresConnection) -> T:
        try:
            return work(connection)
        except UnicodeEncodeError:  # of the arguments, not of a record
            raise
        except (ValueError, TypeError, LookupError) as error:
            raise StateError(
                f"the database {self._address} has a record that cannot be read ({name_error(error)})",
                remedy="restore a backup of the database; nodes are not affected",
            ) from error


class PostgresSession:
    """A connection on a thread of its own, made when it is first needed and again when it is lost.

    Args:
        address: of the database.
        name: of the thread.
    """

    def __init__(self, address: PostgresAddress, name: str) -> None:
        self._address = address
        self._connection: PostgresConnection | None = None
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of a function on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    def transact(self, begin: str, work: Callable[[PostgresConnection], T]) -> T:
        """The result of `work` in a transaction; on the thread.

        Args:
            begin: begins it, and gives the time and the versions of the tables.
            work: not repeated: it may do something outside the database.

        Raises:
            StateError: the database cannot be used.
        """
        with translate_postgres_errors(self._address):
            connection = self._begin(begin)
            try:
                result = work(connection)
                connection.end(commit=True)
            except BaseException:
                if not connection.is_broken:
                    with suppress(Exception):
                        connection.end(commit=False)
                raise
            return result

    def close(self) -> None:
        """Finish what is queued, and close the connection."""

        def close() -> None:
            if self._connection is not None:
                self._connection.close()

        self.thread.submit(close)
        self.thread.shutdown()

    def _begin(self, begin: str) -> PostgresConnection:
        """A connection in a new transaction; one that was lost since its last use is made again."""
        is_fresh = self._connection is None or self._connection.is_broken
        connection = self._connect() if is_fresh else self._connection
        assert connection is not None
        try:
            row = connection.begin(begin)
        except Exception:
            # The server was restarted since. Nothing of the work was done yet.
            if is_fresh or not connection.is_broken:
                if not connection.is_broken:
                    connection.end(commit=False)
                raise
            connection = self._connect()
            row = connection.begin(begin)
        connection.now = row["now"]
        names = row.keys()
        connection.writes = row["writes"] if "writes" in names else None
        check_version(self._address, row["version"], row["oldest"])
        return connection

    def _connect(self) -> PostgresConnection:
        self._connection = open_connection(self._address)
        return self._connection


def suspend_all(connection: PostgresConnection, lost: int) -> int | None:
    """Suspend all clusters: what nodes were sent is perhaps not in the journal. Gives the counted writes."""
    tx = Transaction(connection, HOST, connection.now, DIALECT)
    reason = f"the database lost {lost} or more confirmed writes"
    write_suspension(tx, "", reason, Actor(user="reconcile", host=platform.node()))
    return connection.writes


def open_connection(address: PostgresAddress) -> PostgresConnection:
    """A connection that uses the tables of this program.

    Raises:
        StateError: the database cannot be reached.
    """
    connection = PostgresConnection(address)
    with translate_postgres_errors(address):
        connection.execute("; ".join(_SETTINGS))
    return connection


def has_tables(connection: PostgresConnection) -> bool:
    """Whether the tables exist."""
    (name,) = connection.execute("SELECT to_regclass(?)::text", (f"{SCHEMA}.schema_version",)).fetchone()
    return name is not None


def check_version(address: PostgresAddress, version: int | None, oldest: int | None) -> None:
    """Refuse tables that this program is too old for.

    Raises:
        StateError: says so.
    """
    if (oldest or 0) > len(MIGRATIONS):
        raise StateError(
            f"a newer version of this program wrote the database {address} (schema version {version}, this "
            f"program supports {len(MIGRATIONS)}); this host takes no pass",
            remedy="install the newer version on this host",
        )


def migrate(connection: PostgresConnection) -> None:
    """Create or migrate the tables to the newest version, in one transaction; hosts take turns.

    Raises:
        StateError: another host that is running could not use the new tables.
    """
    address = connection.address
    with translate_postgres_errors(address):
        connection.begin(f"BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}), clock_timestamp() AS now")
        try:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_version"
                " (version BIGINT PRIMARY KEY, oldest BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL)"
            )
            version, oldest = connection.execute(
                "SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM schema_version"
            ).fetchone()
            check_version(address, version, oldest)
            if 0 < version < len(MIGRATIONS):
                _refuse_older_hosts(connection)
            for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_version VALUES (?, ?, clock_timestamp())", (number, migration.oldest)
                )
        except BaseException:
            if not connection.is_broken:
                connection.end(commit=False)
            raise
        connection.end(commit=True)


def _refuse_older_hosts(connection: PostgresConnection) -> None:
    oldest = MIGRATIONS[-1].oldest
    rows = connection.execute(
        "SELECT DISTINCT name FROM host WHERE schema_version < ?"
        " AND seen > clock_timestamp() - interval '60 seconds' ORDER BY name",
        (oldest,),
    ).fetchall()
    if rows:
        names = ", ".join(row["name"] for row in rows)
        raise StateError(
            f"the database {connection.address} is in use by hosts whose program is too old for the tables "
            f"of this one: {names}; it was not changed",
            remedy="upgrade them first to the version before this one, or stop them",
        )
