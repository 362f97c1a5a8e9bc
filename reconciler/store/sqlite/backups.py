"""Copies of the file of the store: made while others write, examined, and restored."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.errors import StateError, UsageError
from reconciler.host.atomic_write import replace_atomically
from reconciler.host.files import give_to_owner_of
from reconciler.ports.store import StoreSummary
from reconciler.store.sql.access_tokens import end_access
from reconciler.store.sql.facts import APPROVED
from reconciler.store.sql.node_tokens import mark_restored
from reconciler.store.sqlite import FILE
from reconciler.store.sqlite.database import PATIENCE, translate_sqlite_error
from reconciler.store.sqlite.locks import wait_for_lock
from reconciler.store.sqlite.schema import APPLICATION, MIGRATIONS
from reconciler.store.sqlite.state_file import BESIDE

_PROBLEMS = 5
"""Faults of a damaged file that a message lists."""

_NEWEST = """SELECT max(at) FROM (
    SELECT max(started) AS at FROM run UNION ALL SELECT max(finished) FROM run
    UNION ALL SELECT max(intended) FROM step UNION ALL SELECT max(ended) FROM step
    UNION ALL SELECT max(since) FROM fact{})"""
_NEWEST_OF_NODES = """
    UNION ALL SELECT max(heard) FROM polled_node UNION ALL SELECT max(last_modified) FROM node_offer
    UNION ALL SELECT max(at) FROM operation"""
_NODES = 10
"""Schema version from which on there are nodes that poll."""
_OPERATIONS = 11
"""Schema version from which on it is recorded that an operation has ended."""


def copy_database(file: Path, target: Path) -> StoreSummary:
    """See `store.factory.back_up_store`."""
    if os.path.lexists(target):
        raise UsageError(f"{target} already exists", remedy="give a new file: a backup never replaces a file")
    try:
        with (
            replace_atomically(target) as beside,
            _connect(file, "mode=rw") as source,
            _connect(beside, "mode=rw") as copy,
        ):
            source.backup(copy)  # all pages in one read transaction: writers do not wait for it
            copy.execute("PRAGMA journal_mode = DELETE")  # everything in one file, without a -wal next to it
            return _examine(copy, target)
    except OSError as error:
        raise StateError(
            f"the backup {target} cannot be written: {error.strerror}",
            remedy="give a file in a writable folder",
        ) from error


def examine_database(file: Path, *, is_backup: bool = False) -> StoreSummary:
    """The summary of a store, or of a backup, to which nobody writes; reads every page.

    Raises:
        StateError: it does not exist, is damaged, or is not a file of this program and version.
    """
    # Never `immutable` for a file in use: SQLite would ignore its -wal, and with it the newest records.
    with _connect(file, "mode=ro&immutable=1" if is_backup else "mode=rw") as connection:
        return _examine(connection, file)


def restore_database(
    folder: Path, backup: Path, now: datetime, *, prepare: Callable[[Path], None]
) -> tuple[StoreSummary, Path | None]:
    """See `store.factory.restore_store`; `prepare` gets a folder with the restored store."""
    summary, file = examine_database(backup, is_backup=True), folder / FILE
    with (
        wait_for_lock(folder / f"{FILE}.lock"),
        tempfile.TemporaryDirectory(dir=folder, prefix=".restore-") as name,
    ):
        fresh = Path(name) / FILE
        with _connect(backup, "mode=ro&immutable=1") as source, closing(sqlite3.connect(fresh)) as copy:
            source.backup(copy)
            # An approval is for one run, which may have happened since the backup: nobody may use it again.
            copy.execute("DELETE FROM fact WHERE node = '' AND key LIKE ?", (f"{APPROVED}%",))
            copy.commit()
        prepare(Path(name))
        _fold_into_one_file(fresh)
        with closing(sqlite3.connect(fresh)) as copy:  # its tables are of this version now
            mark_restored(copy)
            end_access(copy, format_timestamp(now))
            # What is open in it may have ended since: nobody asks for it again by restoring a backup.
            copy.execute("UPDATE operation SET ended = ? WHERE ended IS NULL", (format_timestamp(now),))
            copy.commit()
        # The name must have a store at every moment: another process would else create an empty one.
        with replace_atomically(file) as beside:
            shutil.copyfile(fresh, beside)
            give_to_owner_of(folder, beside)
            before = _link_aside(file, folder / f"state-before-{now:%Y%m%d-%H%M%S}.sqlite")
    return summary, before


def _link_aside(file: Path, place: Path) -> Path | None:
    """Give the store in use a second name; None if there is none.

    Raises:
        StateError: another process has it open.
    """
    if not file.exists():
        return None
    try:
        _fold_into_one_file(file)
        os.link(file, place)
    except StateError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):
            raise
        # Damaged: the files next to it belong to it; SQLite would apply its -wal to the restored store.
        for end in ("", *BESIDE):
            if (part := file.with_name(file.name + end)).exists():
                shutil.copy2(part, place.with_name(place.name + end))
        for end in BESIDE:
            file.with_name(file.name + end).unlink(missing_ok=True)
    return place


def _fold_into_one_file(file: Path) -> None:
    """Fold -wal and -shm into the file of a store; works only if nobody else has it open."""
    try:
        with closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise translate_sqlite_error(file, error) from error
        raise StateError(
            f"the state file {file} is in use by another process",
            remedy="stop the watch, wait until other commands end, then run this again",
        ) from error
    except sqlite3.Error as error:
        raise translate_sqlite_error(file, error) from error


@contextmanager
def _connect(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise StateError(f"there is no state file {file}", remedy="check the path, or give it with --state")
    address = f"file:{quote(str(file.absolute()))}?{mode}"
    try:
        with closing(
            sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        ) as connection:
            # A backup may come from anywhere: a view or trigger in it must not call functions with side
            # effects.
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
    except sqlite3.Error as error:
        raise translate_sqlite_error(file, error) from error


def _examine(connection: sqlite3.Connection, file: Path) -> StoreSummary:
    """The summary of a file, if it is not damaged."""

    def one(query: str) -> int:
        return int(connection.execute(query).fetchone()[0] or 0)

    version = one("PRAGMA user_version")
    if one("PRAGMA application_id") != APPLICATION or one(
        "SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')"
    ):
        raise StateError(f"{file} is not a state file of this program", remedy="check the path")
    if version > len(MIGRATIONS):
        raise StateError(
            f"a newer version of this program wrote {file} (schema version {version}, "
            f"this program supports {len(MIGRATIONS)})",
            remedy="use the newer version",
        )
    faults = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_PROBLEMS})")]
    faults = [fault for fault in faults if fault != "ok"]
    faults += [
        f"a row of {row[0]} refers to a missing row of {row[2]}"
        for row in connection.execute("PRAGMA foreign_key_check")
    ]
    if faults:
        raise StateError(
            f"{file} is damaged: {'; '.join(map(str, faults[:_PROBLEMS]))}",
            remedy="restore a backup: `reconcile state restore FILE`; nodes are not affected",
        )
    newest = connection.execute(_NEWEST.format(_NEWEST_OF_NODES if version >= _NODES else "")).fetchone()[0]
    return StoreSummary(
        tables=version,
        runs=one("SELECT count(*) FROM run"),
        open_steps=one(
            "SELECT count(*) FROM step WHERE intended IS NOT NULL AND (state IS NULL OR state = 'unknown')"
        ),
        open_operations=one("SELECT count(*) FROM operation WHERE ended IS NULL")
        if version >= _OPERATIONS
        else 0,
        bytes=one("PRAGMA page_count") * one("PRAGMA page_size"),
        newest=parse_timestamp(newest) if newest else None,
    )
