"""One connection to PostgreSQL through psycopg: parameters, rows, and errors in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from reconciler.errors import StateError
from reconciler.host.extras import import_extra
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.sql.transaction import SqlCursor

CONNECT_SECONDS: Final = 10
"""For a connection to each of the servers that an address names."""

WAIT_SECONDS: Final = 30
"""For a lock that another host holds, such as its turn to write."""

STATEMENT_SECONDS: Final = 60
IDLE_SECONDS: Final = 5
"""For one statement, and for the time between two of one transaction; then the server undoes it."""

SCHEMA: Final = "reconciler"
"""Schema with the tables: a database may have others."""

_KEPT: Final = "then run again; recorded data is kept"
_AGAIN: Final = "run again; if it happens often, look at the load of this machine"
_TROUBLES: Final[Mapping[str, tuple[str, str]]] = {
    "28": (
        "it refuses the login",
        "correct the user, or the password in the password file, the service file or `database.password`",
    ),
    "3D": ("there is no such database", "create it: `createdb --encoding=UTF8 NAME`, or correct the name"),
    "42501": (
        "this user may not do that",
        "let the user own the database, or grant CREATE and the tables of the schema `reconciler`",
    ),
    "53100": ("its disk is full", f"free disk space on the server, {_KEPT}"),
    "53200": ("it is out of memory", f"look at the log of the server, {_KEPT}"),
    "53300": ("it accepts no more connections", f"raise `max_connections` on the server, {_KEPT}"),
    "57P03": ("it is starting up or shutting down", f"wait until it is up, {_KEPT}"),
    "57P01": ("it was shut down or restarted", f"wait until it is up, {_KEPT}"),
    "57P02": ("it crashed and restarts", f"wait until it is up, {_KEPT}"),
    "25P03": (f"this program stood still for {IDLE_SECONDS} s in a transaction, which was undone", _AGAIN),
    "25006": (
        "it only reads: this server is a standby",
        "name the primary server, or all of them with `?target_session_attrs=read-write`",
    ),
    "57014": (
        f"a statement took longer than {STATEMENT_SECONDS} s",
        f"look at the load of the server, {_KEPT}",
    ),
    "55P03": (
        f"another host kept it locked for {WAIT_SECONDS} s",
        "wait until it ends, then run again; look for long transactions in pg_stat_activity",
    ),
    "58": ("its disk reports an error", f"look at the log of the server, {_KEPT}"),
    "XX001": ("it is damaged", "look at the log of the server; restore a backup of the database"),
    "XX002": ("it is damaged", "look at the log of the server; restore a backup of the database"),
}
_UNREACHABLE: Final = "nothing is sent without a record: start the server, or correct the address"
_LOST: Final = "the connection to it was lost"

_PARAMETER: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\?(\d*)")


@lru_cache(maxsize=1000)
def number_parameters(statement: str) -> str:
    """A statement with `$1`, `$2` … in place of `?` and `?1`."""
    count = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal count
        if found[1] is None:  # a text or a name in quotes
            return found[0]
        count += 1
        return f"${found[1] or count}"

    return _PARAMETER.sub(replace, statement)


class PostgresRow:
    """A row: values by the names of their columns and by position, as those of sqlite3."""

    __slots__ = ("_columns", "_values")

    def __init__(self, columns: Mapping[str, int], values: Sequence[Any]) -> None:
        self._columns = columns
        self._values = values

    def __getitem__(self, key: str | int) -> Any:
        return self._values[self._columns[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self._columns)


def _make_rows(cursor: Any) -> Callable[[Sequence[Any]], PostgresRow]:
    columns = {column.name: index for index, column in enumerate(cursor.description or ())}
    return lambda values: PostgresRow(columns, values)


class PostgresConnection:
    """A connection in the form of `store.sql`; of one thread.

    Args:
        address: of the database.

    Raises:
        StateError: it cannot be reached, or refuses the login.
        UsageError: psycopg is not installed.
    """

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self.now: datetime
        self.writes: int | None = None
        self._psycopg = import_extra("psycopg", "postgres", "PostgreSQL stores")
        text = import_extra("psycopg.types.string", "postgres", "PostgreSQL stores")
        number = import_extra("psycopg.types.numeric", "postgres", "PostgreSQL stores")
        with translate_postgres_errors(address):
            self._connection = self._psycopg.connect(
                **address.parameters(CONNECT_SECONDS),
                autocommit=True,
                row_factory=_make_rows,
                cursor_factory=self._psycopg.RawCursor,
            )
        # Every parameter has one type, so that a statement is prepared once and none is ambiguous.
        self._connection.adapters.register_dumper(str, text.StrDumper)
        self._connection.adapters.register_dumper(int, number.Int8Dumper)

    @property
    def is_broken(self) -> bool:
        """Whether the connection was lost."""
        return bool(self._connection.closed or self._connection.broken)

    @property
    def is_in_transaction(self) -> bool:
        """Whether the connection has a transaction that can continue, if need be from a savepoint."""
        status = self._connection.info.transaction_status
        states = self._psycopg.pq.TransactionStatus
        return status in {states.INTRANS, states.INERROR}

    def begin(self, statements: str) -> PostgresRow:
        """Begin a transaction; gives the row of the last of some statements without parameters."""
        cursor = self._connection.execute(statements, prepare=False)  # several cannot be prepared
        while cursor.nextset():
            pass
        row: PostgresRow = cursor.fetchone()
        return row

    def end(self, *, commit: bool) -> None:
        """Commit the transaction, or undo all of it."""
        self._connection.execute("COMMIT" if commit else "ROLLBACK")

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> SqlCursor:
        """The result of one statement of SQL."""
        cursor: SqlCursor = self._connection.execute(number_parameters(statement), values or None)
        return cursor

    def executemany(self, statement: str, values: Sequence[Sequence[Any]], /) -> None:
        """Run a statement once for each of these values."""
        if len(values) == 1:
            self.execute(statement, values[0])
        elif values:  # sent together, so that a far server is waited for once
            with self._connection.cursor() as cursor:
                cursor.executemany(number_parameters(statement), values)

    def close(self) -> None:
        """Close the connection; a transaction that is open is undone by the server."""
        self._connection.close()


@contextmanager
def translate_postgres_errors(address: PostgresAddress) -> Iterator[None]:
    """Make errors of psycopg those of the program."""
    psycopg = import_extra("psycopg", "postgres", "PostgreSQL stores")
    try:
        yield
    except psycopg.Error as error:
        raise make_postgres_error(address, error) from error
    except UnicodeEncodeError as error:
        raise StateError(
            f"the database {address} cannot store the text {ascii(error.object)[:80]}",
            remedy="replace invalid Unicode characters in names and paths",
        ) from error


def make_postgres_error(address: PostgresAddress, error: Exception) -> StateError:
    """The error for the operator for an error of psycopg."""
    state = str(getattr(error, "sqlstate", None) or "")
    found = next((_TROUBLES[one] for one in (state, state[:2]) if one in _TROUBLES), None)
    # libpq gives no state for what the server says at the login, and never quotes a password.
    said = " ".join(str(error).split())
    if found is None and not state:
        found = _judge_text(said)
    what, remedy = found or (f"it cannot be used: {said[:300]}", "look at the log of the server")
    return StateError(f"the database {address}: {what}", remedy=remedy)


def _judge_text(said: str) -> tuple[str, str] | None:
    if re.search(r'role ".*" does not exist', said):
        return _TROUBLES["28"]
    for words, state in {
        "authentication failed": "28",
        "no password supplied": "28",
        "no pg_hba.conf entry": "28",
        "does not exist": "3D",
        "too many clients": "53300",
        "connection slots": "53300",
        "starting up": "57P03",
        "shutting down": "57P03",
        "read-only": "25006",
    }.items():
        if words in said:
            return _TROUBLES[state]
    if "NUL" in said:
        return "it cannot store a text with a NUL character", "remove the character from names and paths"
    for words in ("server closed the connection", "connection is closed", "connection is lost", _LOST):
        if words in said:
            return (
                _LOST,
                f"what was being written may be recorded or not, which the next run finds out; {_KEPT}",
            )
    cause = re.sub(r"^.*?(?:failed: |error: )", "", said) or "no answer"
    return f"it cannot be reached: {cause[:200]}", _UNREACHABLE
