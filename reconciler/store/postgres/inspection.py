"""Looks at the database of a store in a transaction that only reads."""

from __future__ import annotations

from typing import Final

from reconciler.host.clock import utc_now
from reconciler.ports.store_condition import ServerClock, StoreCondition
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.postgres.connection import SCHEMA, PostgresConnection, translate_postgres_errors
from reconciler.store.postgres.database import has_tables
from reconciler.store.postgres.schema import MIGRATIONS

_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(?) AND relkind IN ('r', 'p')"
    " AND NOT has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE') ORDER BY relname LIMIT 5"
)
_MAY_CREATE: Final = (
    "SELECT CASE WHEN to_regnamespace(?) IS NULL"
    " THEN has_database_privilege(current_database(), 'CREATE')"
    " ELSE has_schema_privilege(to_regnamespace(?), 'USAGE')"
    " AND has_schema_privilege(to_regnamespace(?), 'CREATE') END"
)


def inspect_database(address: PostgresAddress, seconds: float) -> StoreCondition:
    """The condition of a database; it may have no tables of this program yet.

    Args:
        address: of the database.
        seconds: for each statement.

    Raises:
        StateError: it cannot be reached, or refuses the login.
        UsageError: psycopg is not installed.
    """
    connection = PostgresConnection(address)
    try:
        with translate_postgres_errors(address):
            connection.execute(f"SET statement_timeout = '{max(1, int(seconds))}s'")
            before = utc_now()
            (now,) = connection.execute("SELECT clock_timestamp()").fetchone()
            after = utc_now()
            connection.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")
            found = _inspect(connection, ServerClock(now, before, after))
            connection.end(commit=False)
            return found
    finally:
        connection.close()


def _inspect(connection: PostgresConnection, clock: ServerClock) -> StoreCondition:
    (server,) = connection.execute("SELECT current_setting('server_version')").fetchone()
    (is_standby,) = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    (may_create,) = connection.execute(_MAY_CREATE, (SCHEMA, SCHEMA, SCHEMA)).fetchone()
    missing = [] if may_create else [f"create tables in the schema {SCHEMA}"]
    version, oldest = 0, 0
    is_present = has_tables(connection)
    if is_present:
        closed = [str(row[0]) for row in connection.execute(_TABLES, (SCHEMA,)).fetchall()]
        missing += [f"read and write the table {name}" for name in closed]
        if not closed:
            version, oldest = connection.execute(
                f"SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM {SCHEMA}.schema_version"  # noqa: S608
            ).fetchone()
    return StoreCondition(
        str(connection.address),
        is_present=is_present,
        version=version,
        supported=len(MIGRATIONS),
        readable_from=oldest,
        server=str(server).partition(" ")[0],
        is_standby=bool(is_standby),
        missing_rights=tuple(missing),
        clock=clock,
    )
