"""One SQLite file with one connection on one thread; its errors are translated."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from reconciler.core.defect import name_error
from reconciler.errors import StateError
from reconciler.store.sql.grouped_writes import GroupedWrites
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.node_polls import FIELDS
from reconciler.store.sql.transaction import Dialect
from reconciler.store.sqlite import rekeying
from reconciler.store.sqlite.locks import wait_for_lock
from reconciler.store.sqlite.schema import APPLICATION, MIGRATIONS
from reconciler.store.sqlite.state_file import FileIdentity, prepare_file
from reconciler.store.sqlite.turns import share_turns

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds to wait for another process that is writing."""

_TRY = 20
"""Milliseconds of one attempt while another process writes.

SQLite sleeps longer from attempt to attempt: after many, it would find the file free only by luck.
"""

_LOCAL = "give a writable folder on a local disk with --state"
_AWAY = "move it away to start a new history, or give another folder with --state; nodes are not affected"
_KEPT = "then run again; recorded data is kept"
_TROUBLES: dict[str, tuple[str, str]] = {
    "SQLITE_NOTADB": ("it is not a database", _AWAY),
    "SQLITE_CORRUPT": ("it is damaged", _AWAY),
    "SQLITE_FULL": ("the disk is full", f"free disk space, {_KEPT}"),
    "SQLITE_READONLY": ("it cannot be written", _LOCAL),
    "SQLITE_CANTOPEN": ("it cannot be opened", _LOCAL),
    "SQLITE_PERM": ("this user may not open it", _LOCAL),
    "SQLITE_IOERR": ("the disk reports an error", f"check the disk, {_KEPT}"),
    "SQLITE_BUSY": (
        f"another process kept it locked for {PATIENCE:g} s",
        "wait until it ends, then run again",
    ),
}


def translate_sqlite_error(path: Path, error: sqlite3.Error) -> StateError:
    """The error for the operator for an error of SQLite."""
    name = getattr(error, "sqlite_errorname", "")
    family = next((known for known in _TROUBLES if name == known or name.startswith(f"{known}_")), "")
    what, remedy = _TROUBLES.get(family, (f"it cannot be used: {error}", _AWAY))
    return StateError(f"the state file {path}: {what}", remedy=remedy)


DIALECT = Dialect(
    texts="SELECT value FROM json_each({})",
    numbers="SELECT value FROM json_each({})",
    polls="SELECT "  # noqa: S608  (names of fields)
    + ", ".join(f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(FIELDS))
    + " FROM json_each({})",
    known_tokens="SELECT json_group_array(json_array(token.digest, token.node,"
    " token.used IS NULL AND token.ended IS NULL))"
    " FROM json_each({}) AS own JOIN node_token AS token ON token.digest = own.value",
    next_fleet="SELECT 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'fleet'), 0)",
)
"""The queries of `store.sql` in SQLite."""


class SqliteDatabase:
    """Runs functions over the connection, one after the other, all or none of each.

    Reads have a transaction each. Writes that wait together share one, since the disk takes most of their
    time.

    Args:
        path: the file; it and its folder are created if missing.

    Raises:
        StateError: the file belongs to another program or a newer version, is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        # Opened by the thread that will use it: Python ties a connection to its thread, and one thread needs
        # no lock between the tasks of the process.
        opening = self._thread.submit(_open, path)
        if opening.exception() is not None:
            self._thread.shutdown()
        self._connection, self._identity = opening.result()
        self._turns = share_turns(path)
        self._closing = False
        self._writes = GroupedWrites(
            self._thread, self._transact, self._translate, lambda connection: bool(connection.in_transaction)
        )

    def check(self) -> None:
        """Check that the path still has the file that is open.

        Raises:
            StateError: it was removed or replaced.
        """
        self._identity.check()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, which sees one moment of the file.

        Raises:
            StateError: the file cannot be read, or a record in it is invalid.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._repeat, partial(self._try, "BEGIN", partial(self._decode, work))
        )

    def _decode(self, work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
        try:
            return work(connection)
        except UnicodeEncodeError:  # of the arguments, not of a record
            raise
        except (ValueError, TypeError, LookupError) as error:
            raise StateError(
                f"the state file {self._path} has a record that cannot be read ({name_error(error)})",
                remedy="restore a backup: `reconcile state restore FILE`; nodes are not affected",
            ) from error

    async def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        is_shared: bool = False,  # noqa: ARG002  (a file has one writer at a time, whatever it is about)
    ) -> T:
        """The result of `work`, whose changes are on disk when this returns, all or none.

        Raises:
            StateError: the file cannot be written; nothing of this work was.
        """
        return await self._writes.write(work)

    async def compute(self, work: Callable[[], T]) -> T:
        """The result of long work that needs no connection, such as encoding what is written afterwards."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Finish the queued work and close the file; work that waits for another process gives up."""
        self._closing = True
        self._thread.submit(self._connection.close)
        self._thread.shutdown()

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._repeat(partial(self._take_turn, work))

    def _repeat(self, attempt: Callable[[], T]) -> T:
        self._identity.check()
        end = time.monotonic() + PATIENCE
        with self._translate():
            while True:
                try:
                    return attempt()
                except _Busy as busy:
                    if self._closing or time.monotonic() >= end:
                        raise busy.error from None

    @contextmanager
    def _translate(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate_sqlite_error(self._path, error) from error
        except UnicodeEncodeError as error:
            raise StateError(
                f"the state file {self._path} cannot store the text {ascii(error.object)[:80]}",
                remedy="replace invalid Unicode characters in names and paths",
            ) from error

    def _take_turn(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Given up between two attempts, so that nobody in this process waits for another process twice.
        with self._turns.take():
            return self._try("BEGIN IMMEDIATE", work)

    def _try(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        begun = False
        try:
            with self._connection:
                self._connection.execute(begin)
                # A plain BEGIN takes no lock yet, so a busy read may be repeated as a whole. After BEGIN
                # IMMEDIATE `work` has run, and running it again might do twice what it does outside the
                # database.
                begun = begin != "BEGIN"
                return work(self._connection)
        except sqlite3.OperationalError as error:
            if not begun and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise _Busy(error) from error
            raise


class _Busy(Exception):
    """Another process writes; nothing was done, and the work may be repeated."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__()
        self.error = error


def _open(path: Path) -> tuple[sqlite3.Connection, FileIdentity]:
    with wait_for_lock(path.with_name(f"{path.name}.lock")), ExitStack() as stack:
        _refuse_lost(path)
        prepare_file(path)
        try:
            connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            stack.callback(connection.close)
            _prepare(connection, path)
        except sqlite3.Error as error:
            raise translate_sqlite_error(path, error) from error
        identity = FileIdentity(path)
        stack.pop_all()
    return connection, identity


def _refuse_lost(path: Path) -> None:
    """Refuse an empty file that had records before.

    Raises:
        StateError: the file is empty, and the key of the host exists.
    """
    # SQLite takes an empty file for a new store. A host with a key has used its store: the guards would
    # decide without its history, and nobody would notice.
    if path.is_file() and path.stat().st_size == 0 and HostKey(path.parent).is_made():
        raise StateError(
            f"the state file {path} is empty: its records are lost",
            remedy="restore a backup: `reconcile state restore FILE`; or remove the empty file to start "
            "a new history",
        )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    _migrate(connection, path)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StateError(
            f"the state file {path}: its file system does not support shared memory", remedy=_LOCAL
        )
    # An intent must survive a power cut, or the next run would not know of a call that was sent.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # creates -wal and -shm, so that their identity is known
    connection.execute(f"PRAGMA busy_timeout = {_TRY}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate the tables to the newest version, in one transaction."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or version or tables):
        raise StateError(f"the state file {path}: it belongs to another program", remedy=_AWAY)
    if version > len(MIGRATIONS):
        raise StateError(
            f"the state file {path}: a newer version of this program wrote it (schema version {version}, "
            f"this program supports {len(MIGRATIONS)})",
            remedy="use the newer version, or give another folder with --state",
        )
    if version == len(MIGRATIONS):
        return
    rekeying.define_functions(connection, HostKey(path.parent).secret)
    connection.execute("PRAGMA secure_delete = ON")  # replaced fingerprints must not stay in free pages
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
