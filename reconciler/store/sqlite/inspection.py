"""Looks at the file of the store without writing anything: neither to it, nor next to it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from reconciler.errors import StateError
from reconciler.ports.store_condition import StoreCondition
from reconciler.store.sqlite.database import translate_sqlite_error
from reconciler.store.sqlite.locks import LOCKS
from reconciler.store.sqlite.schema import APPLICATION, MIGRATIONS

_FAULTS: Final = 5
"""Faults of a damaged file that are named."""

_STEPS: Final = 10_000
"""Instructions of SQLite between two looks at the clock."""

_LOCK_TABLE: Final = Path("/proc/locks")
_LOCK_TABLE_BYTES: Final = 4 * 1024 * 1024
_MOST_LOCKS: Final = 5_000
"""Lock files that are looked at: one of each cluster."""


def inspect_file(file: Path, seconds: float) -> StoreCondition:
    """The condition of the file of a store; reads every page unless the time ends before.

    Args:
        file: may be missing.
        seconds: for reading.

    Raises:
        StateError: it cannot be opened or read.
    """
    supported = len(MIGRATIONS)
    try:
        if not file.exists() and not file.is_symlink():
            return StoreCondition(str(file), supported=supported)
        size = file.stat().st_size
    except OSError as error:
        raise StateError(
            f"the state file {file} cannot be read: {error.strerror}",
            remedy="run the command as the owner of the state folder",
        ) from error
    if size == 0:
        return StoreCondition(str(file), supported=supported, problems=("the file is empty",))
    try:
        with closing(sqlite3.connect(_make_uri(file), uri=True, timeout=min(seconds, 5.0))) as connection:
            return _inspect(connection, file, supported, time.monotonic() + seconds)
    except sqlite3.Error as error:
        raise translate_sqlite_error(file, error) from error


def _make_uri(file: Path) -> str:
    # SQLite creates the files -wal and -shm next to a file that has none, even for reading; `immutable`
    # prevents that. With a -wal the file is in use, or its user was killed: then the -wal has the newest
    # records, and `readonly_shm` keeps the shared memory as it is.
    wal = file.resolve().with_name(f"{file.resolve().name}-wal")
    has_wal = wal.exists() and wal.stat().st_size > 0
    return f"file:{quote(str(file))}?mode=ro&{'readonly_shm=1' if has_wal else 'immutable=1'}"


def _inspect(connection: sqlite3.Connection, file: Path, supported: int, end: float) -> StoreCondition:
    connection.execute("PRAGMA query_only = ON")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    found = StoreCondition(
        str(file),
        is_present=application == APPLICATION,
        is_foreign=application != APPLICATION and bool(application or version or tables),
        version=version,
        supported=supported,
        readable_from=version,
        holders=_list_lock_holders(file),
    )
    if found.is_foreign:
        return found
    connection.set_progress_handler(lambda: time.monotonic() >= end, _STEPS)
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_FAULTS})").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return replace(found, is_whole=False)
    faults = tuple(str(row[0]) for row in rows)
    return replace(found, problems=() if faults == ("ok",) else faults)


def _list_lock_holders(file: Path) -> tuple[str, ...]:
    """The processes that hold locks of a store, by the kernel's table: to try a lock would disturb others."""
    names: dict[str, str] = {}
    try:
        places = [file.with_name(f"{file.name}.lock"), *sorted(file.with_name(LOCKS).glob("*.lock"))]
        for place in places[:_MOST_LOCKS]:
            if place.is_file():
                status = place.stat()
                device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
                names[f"{device}:{status.st_ino}"] = place.name
        with _LOCK_TABLE.open(encoding="ascii", errors="replace") as table:
            lines = table.read(_LOCK_TABLE_BYTES).splitlines()
    except OSError:  # not Linux, or a folder that this user cannot list: nothing is known
        return ()
    rows = [line.split() for line in lines if "->" not in line]  # an arrow: a process that waits
    found = (f"process {row[4]} holds {names[row[5]]}" for row in rows if len(row) > 5 and row[5] in names)  # noqa: PLR2004
    return tuple(sorted(set(found)))
