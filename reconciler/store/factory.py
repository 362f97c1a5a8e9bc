"""Opens a store by its URL: the one place that knows the kinds of databases."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import unquote, urlsplit

from reconciler.core.fleet_matching import KnownFleet
from reconciler.core.memory import FleetMemory
from reconciler.core.reservations import SeenCluster
from reconciler.core.retention import KEPT_RUNS
from reconciler.core.timestamps import Clock
from reconciler.errors import StateError, UsageError
from reconciler.host.clock import utc_now
from reconciler.host.config_database import digest_plan_rules
from reconciler.host.credentials import find_key_file
from reconciler.host.host import Host
from reconciler.ports.transport import NodeMail
from reconciler.store.postgres.access import LEASE_SECONDS, HostIdentity, PostgresAccess
from reconciler.store.postgres.address import VARIABLES, PostgresAddress
from reconciler.store.sql import KEY
from reconciler.store.sqlite import FILE

if TYPE_CHECKING:
    # What a store keeps is described by a hundred classes, which a dry run without a store does not need.
    from reconciler.core.offers import Offer, OfferFeed
    from reconciler.core.operations import Operation
    from reconciler.core.reservations import Reservation
    from reconciler.ports.access_store import AccessToken
    from reconciler.ports.node_store import NodeContact, NodeTokens
    from reconciler.ports.store import (
        OpenOrders,
        OrderRecord,
        RunRecord,
        RunSummary,
        Store,
        StoreReader,
        StoreSummary,
        WriteHook,
    )
    from reconciler.ports.store_condition import StoreCondition

StoreDatabase: TypeAlias = PostgresAccess
"""A database that several hosts share, and how this host uses it."""

StorePlace: TypeAlias = str | Path | StoreDatabase
"""Where a store is: a folder, its URL, or a database that several hosts share."""

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter looks or sounds like another one."""


def make_run_id(clock: Clock = utc_now) -> str:
    """The id of a run: its second in UTC and four random letters, such as `20261121-034455-k7fm`."""
    # 32^4 ids a second: `begin` tries another one if two runs of a second have drawn the same.
    return f"{clock():%Y%m%d-%H%M%S}-" + "".join(secrets.choice(_LETTERS) for _ in range(4))


def make_access(url: str, folder: Path, host: Host) -> PostgresAccess:
    """How a host uses a database.

    Args:
        url: of the database, checked.
        folder: with the files of this host.
        host: its configuration and environment.

    Raises:
        UsageError: a credential cannot be found.
    """
    own = host.config.database
    password = find_key_file(own.password, host.environment) if own and own.password else None
    key = find_key_file(own.key, host.environment) if own and own.key else folder / KEY
    variables = {name: value for name, value in host.environment.items() if name in VARIABLES}
    identity = HostIdentity(platform.node() or "a host", digest_plan_rules(host.config))
    lease = own.lease if own else LEASE_SECONDS
    return PostgresAccess(PostgresAddress(url, password, variables), key, identity, lease)


def open_store(
    url: StorePlace,
    *,
    clock: Clock = utc_now,
    name: Callable[[], str] | None = None,
    keep: int = KEPT_RUNS,
    around: WriteHook | None = None,
) -> Store:
    """A store, created if it is missing. Close it after use (`with`).

    Args:
        url: `sqlite:///FOLDER`, or a folder, on a local disk; or a database.
        clock: for the times of what is written.
        name: makes the ids of runs; by default of the second and four random letters.
        keep: runs of the history, besides those that are still needed.
        around: wraps each write that belongs to a run; None for nothing.

    Raises:
        UsageError: the URL has an unknown type of store.
        StateError: the store cannot be used; says what to do.
    """
    from reconciler.ports.store import skip_hook  # noqa: PLC0415  (most dry runs have no store)

    make_name, around = name or partial(make_run_id, clock), around or skip_hook
    if isinstance(url, PostgresAccess):
        return _open_database(url, clock=clock, name=make_name, keep=keep, around=around)
    folder = _folder(url)
    from reconciler.store.sqlite.store import SqliteStore  # noqa: PLC0415  (most dry runs have no store)

    return SqliteStore(folder, clock=clock, name=make_name, keep=keep, around=around)


def open_reader(url: StorePlace, *, clock: Clock = utc_now) -> StoreReader:
    """The reading part of a store; if there is none, none is created, and everything is empty.

    Args:
        url: as for `open_store`.
        clock: for the time of reading.

    Raises:
        UsageError: the URL has an unknown type of store.
        StateError: the store cannot be used; says what to do.
    """
    if not has_store(url):
        return EmptyStore(url if isinstance(url, PostgresAccess) else _folder(url), clock)
    if isinstance(url, PostgresAccess):
        # Several hosts use it, of which this one is perhaps the first with a newer version: a question must
        # not be what upgrades the tables of all.
        return _open_database(url, clock=clock, migrates=False)
    return open_store(url, clock=clock)


def _open_database(
    access: PostgresAccess,
    *,
    clock: Clock,
    name: Callable[[], str] | None = None,
    keep: int = KEPT_RUNS,
    around: WriteHook | None = None,
    migrates: bool = True,
) -> Store:
    from reconciler.ports.store import skip_hook  # noqa: PLC0415  (most dry runs have no store)
    from reconciler.store.postgres.store import PostgresStore  # noqa: PLC0415  (only with this database)

    make_name = name or partial(make_run_id, clock)
    return PostgresStore(
        access, clock=clock, name=make_name, keep=keep, around=around or skip_hook, migrates=migrates
    )


def has_store(url: StorePlace) -> bool:
    """Whether the store exists.

    Raises:
        UsageError: the URL has an unknown type of store.
        StateError: the folder cannot be read, which does not mean that there is no store.
    """
    if isinstance(url, PostgresAccess):
        from reconciler.store.postgres.store import is_prepared  # noqa: PLC0415  (only with this database)

        return is_prepared(url)
    file = _folder(url) / FILE
    try:
        file.lstat()  # a broken link is a lost store, which must not be replaced by a new one
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StateError(
            f"the state file {file} cannot be accessed: {error.strerror}",
            remedy="run the command as the owner of the state folder, or give another folder with --state",
        ) from None
    return True


def back_up_store(url: StorePlace, target: Path) -> StoreSummary:
    """Copy a store, as of one moment, to a new file that only this user can read; runs may continue.

    Args:
        url: as for `open_store`.
        target: the new file.

    Raises:
        UsageError: the file exists.
        StateError: there is no store, it is damaged, or the copy cannot be written.
    """
    from reconciler.store.sqlite import backups  # noqa: PLC0415

    return backups.copy_database(_folder(url) / FILE, target)


def examine_store(url: StorePlace) -> StoreSummary:
    """Read the whole store, and summarize it.

    Raises:
        StateError: there is none, or it is damaged.
    """
    from reconciler.store.sqlite import backups  # noqa: PLC0415

    return backups.examine_database(_folder(url) / FILE)


def examine_backup(file: Path) -> StoreSummary:
    """Read a whole backup, and summarize it.

    Raises:
        StateError: there is none, or it is damaged.
    """
    from reconciler.store.sqlite import backups  # noqa: PLC0415

    return backups.examine_database(file, is_backup=True)


def inspect_store(url: StorePlace, seconds: float) -> StoreCondition:
    """The condition of a store, which may be missing, damaged or of another version; writes nothing.

    Args:
        url: as for `open_store`.
        seconds: for reading.

    Raises:
        UsageError: the URL has an unknown type of store, or a library is not installed.
        StateError: it cannot be reached or read.
    """
    if isinstance(url, PostgresAccess):
        from reconciler.store.postgres.inspection import inspect_database  # noqa: PLC0415  (only with it)

        return inspect_database(url.address, seconds)
    from reconciler.store.sqlite.inspection import inspect_file  # noqa: PLC0415  (only one command needs it)

    return inspect_file(_folder(url) / FILE, seconds)


def restore_store(
    url: StorePlace, backup: Path, *, prepare: Callable[[Store], None], clock: Clock = utc_now
) -> tuple[StoreSummary, Path | None]:
    """Replace a store by a backup; gives its summary, and the file of the replaced store.

    Approvals of the backup are removed.

    Args:
        url: as for `open_store`.
        backup: what `back_up_store` wrote.
        prepare: called with the restored store, with tables of this version, before it is in use.
        clock: for the name of the file of the replaced store.

    Raises:
        StateError: the backup is damaged, or another process has the store open.
    """
    from reconciler.store.sqlite import backups  # noqa: PLC0415

    def prepare_folder(folder: Path) -> None:
        with open_store(folder, clock=clock) as store:
            prepare(store)

    return backups.restore_database(_folder(url), backup, clock(), prepare=prepare_folder)


class EmptyStore:
    """The reader of a store that does not exist."""

    def __init__(self, folder: Path | PostgresAccess, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    async def fleets(self) -> Sequence[KnownFleet]:
        return ()

    def select_fleet(self, fleet: int) -> Self:
        return self

    async def read_memory(self, *, without_nodes: Collection[str] = ()) -> FleetMemory:
        return FleetMemory(at=self._clock())

    async def read_cluster_memory(self, cluster: str) -> FleetMemory:
        return FleetMemory(at=self._clock())

    async def orders(self) -> OpenOrders:
        from reconciler.ports.store import OpenOrders  # noqa: PLC0415  (a dry run does not ask for them)

        return OpenOrders()

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        return ()

    async def runs(self, limit: int = 20, *, before: str = "", cluster: str = "") -> Sequence[RunSummary]:
        return ()

    async def count_cluster_steps(self, runs: Sequence[str]) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        return {}

    async def list_past_orders(self, limit: int = 20) -> Sequence[OrderRecord]:
        return ()

    async def run(self, text: str, *, is_whole: bool = False) -> RunRecord:
        raise UsageError(f"there is no run {text!r}: {self._folder} has no history", remedy="check --state")

    async def is_open(self, cluster: str) -> bool:
        return False

    async def list_open_runs(self, cluster: str = "") -> Sequence[RunRecord]:
        return ()

    async def tokens(self, cluster: str, nodes: Sequence[str]) -> Mapping[str, NodeTokens]:
        return {}

    async def mail(self, cluster: str, nodes: Sequence[str]) -> Mapping[str, NodeMail]:
        return {node: NodeMail() for node in nodes}

    async def contacts(self) -> Sequence[NodeContact]:
        return ()

    async def operations(self, limit: int = 20) -> Sequence[Operation]:
        return ()

    async def open_operations(self) -> Sequence[Operation]:
        return ()

    async def operation(self, text: str) -> Operation:
        raise UsageError(
            f"there is no operation {text!r}: {self._folder} has no history", remedy="check --state"
        )

    async def reservations(self, cluster: str = "") -> Sequence[Reservation]:
        return ()

    async def see_cluster(self, cluster: str) -> SeenCluster:
        return SeenCluster()

    async def newest_offers(self, cluster: str, feed: OfferFeed) -> Mapping[str, Offer]:
        return {}


def _folder(url: StorePlace) -> Path:
    """The folder of an SQLite store."""
    if isinstance(url, PostgresAccess):
        raise UsageError(
            f"the state is in the database {url}, whose own tools copy it",
            remedy="use pg_dump and pg_restore: docs/postgresql.md, Backup",
        )
    if isinstance(url, Path) or "://" not in url:
        return Path(url)
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise UsageError(
            f"unknown type of store: {parts.scheme}://…",
            remedy="give a folder on a local disk, or sqlite:///FOLDER",
        )
    if parts.netloc or not parts.path.strip("/"):
        raise UsageError(
            f"the store {url} does not contain a folder of this host",
            remedy="write sqlite:///FOLDER, with three slashes",
        )
    return Path(unquote(parts.path))
