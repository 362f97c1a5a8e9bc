"""Leases in place of locks: each has an end, a holder, and a token that is higher than all before it.

A lock of a process that is killed would stay for ever in a database, so a lease ends by itself, and is
renewed while its holder lives. Nodes know no token: only the time in which a call can begin keeps two hosts
apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from reconciler.errors import ClusterBusy, ReconcilerError, RunFenced, StateError
from reconciler.host.clock import read_boot_clock
from reconciler.store.postgres.access import LEASE_SECONDS, HostIdentity
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.postgres.confirmed_writes import KEPT_SECONDS
from reconciler.store.postgres.connection import PostgresConnection
from reconciler.store.postgres.database import BEGIN_SHORT, PostgresSession
from reconciler.store.postgres.schema import MIGRATIONS
from reconciler.store.sql.transaction import Transaction

T = TypeVar("T")

OUTBOX: Final = "outbox"
"""The lease of what delivers messages; not renewed: a host that stops in the middle must not keep it."""

_MARGIN: Final = 2.0
"""Seconds that a lease must last beyond a call: for what happens before and after the wait for its answer."""

_LIVE: Final = "interval '60 seconds'"
"""How long a host counts as running after it was seen last."""

_TAKE: Final = """
    INSERT INTO lease AS own (name, holder, token, until)
    VALUES (?1, ?2, 1, clock_timestamp() + make_interval(secs => ?3))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = own.token + 1, until = excluded.until
    WHERE own.holder = '' OR own.until < clock_timestamp()
    RETURNING token"""
_EXTEND: Final = """
    UPDATE lease SET until = greatest(until, clock_timestamp() + make_interval(secs => ?3))
    WHERE name = ?1 AND token = ?2 AND holder = ?4 RETURNING token"""
_RENEW: Final = """
    UPDATE lease SET until = greatest(until, clock_timestamp() + make_interval(secs => ?2))
    WHERE holder = ?1 AND name IN (SELECT value FROM json_array_elements_text(?3::json) AS own(value))
    RETURNING name, token"""
_FREE_OTHERS: Final = """
    UPDATE lease SET holder = ''
    WHERE holder = ?1 AND name NOT IN (SELECT value FROM json_array_elements_text(?2::json) AS own(value))"""
_CHECK: Final = """
    SELECT holder, token, until > clock_timestamp() AS lasts FROM lease WHERE name = ?1 FOR SHARE"""


@dataclass(slots=True)
class Lease:
    """A lease that this process holds, as far as it knows.

    Args:
        name: of what it is for.
        token: higher than that of every holder before.
        end: moment of `read_boot_clock` until which it lasts at least.
    """

    name: str
    token: int
    end: float

    def remaining(self) -> float:
        """Seconds that it lasts at least."""
        return self.end - read_boot_clock()


class LeaseKeeper:
    """Takes leases and renews them in the background, on a connection of its own.

    Args:
        address: of the database.
        host: this one.
        seconds: how long a lease lasts after its last renewal.
    """

    def __init__(self, address: PostgresAddress, host: HostIdentity, seconds: float = LEASE_SECONDS) -> None:
        self._address = address
        self._host = host
        self._seconds = seconds
        self._holder = f"{host.name} process {os.getpid()} {secrets.token_hex(4)}"
        self._session = PostgresSession(address, "store-leases")
        self._held: dict[str, Lease] = {}
        self._is_known = False
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    def close(self) -> None:
        """Release what is left, and stop renewing."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join()
        if self._is_known:
            self._session.thread.submit(self._forget)
        self._session.close()

    @property
    def holder(self) -> str:
        """Key of the row of this process in `host`."""
        return self._holder

    @property
    def holder_name(self) -> str:
        """This process, for people."""
        return self._holder.rpartition(" ")[0]

    async def confirm_rules(self, jobs: str) -> None:
        """Check that this host may take passes, and let the others see that it runs.

        Args:
            jobs: version of the library that runs its jobs.

        Raises:
            StateError: the database cannot be used, or the hosts do not agree.
        """

        def confirm(connection: PostgresConnection) -> None:
            agree_on_rules(connection, self._holder, self._host)
            connection.execute("UPDATE host SET jobs = ? WHERE holder = ?", (jobs, self._holder))

        self._is_known = True
        await self._session.run(partial(self._session.transact, BEGIN_SHORT, confirm))

    def get(self, name: str) -> Lease | None:
        """A lease that this process took and has not released."""
        return self._held.get(name)

    @asynccontextmanager
    async def hold(self, name: str, subject: str, wait: float = 0.0) -> AsyncIterator[None]:
        """Hold a lease while the context lasts.

        Args:
            name: of what it is for.
            subject: begins the message if another process holds it.
            wait: seconds to wait for it.

        Raises:
            ClusterBusy: another process holds it.
            StateError: the database cannot be used, or the hosts do not agree.
        """
        await self.take(name, subject, wait)
        try:
            yield
        finally:
            await self.release(name)

    async def take(self, name: str, subject: str, wait: float = 0.0) -> None:
        """Take a lease, which is then renewed until `release`; see `hold`."""
        end = read_boot_clock() + wait
        while True:
            try:
                await self._session.run(partial(self._take, name, subject))
                break
            except ClusterBusy:
                if read_boot_clock() >= end:
                    raise
                await asyncio.sleep(0.1)

    async def release(self, name: str) -> None:
        """Release a lease that `take` took; nothing if there is none."""
        # Shielded: a lease that a cancelled task leaves behind would keep others away until its end.
        await asyncio.shield(self._session.run(partial(self._release, name)))

    async def extend(self, name: str, seconds: float) -> None:
        """Make a held lease outlast a call that begins now.

        Args:
            name: of the lease; one that is not held is not checked.
            seconds: that the call takes at most.

        Raises:
            RunFenced: another run has it.
            StateError: the database cannot be used: the call must not begin.
        """
        lease = self._held.get(name)
        if lease is None or lease.remaining() > seconds + _MARGIN:
            return
        await self._session.run(partial(self._extend, lease, seconds + 2 * _MARGIN))
        if lease.remaining() <= seconds + _MARGIN:
            # The answer of the database itself took that long, or the process was frozen.
            raise make_fenced_error(lease, "its lease ends before the next call could")

    def make_fence(self, name: str, run: str = "") -> Callable[[Transaction], None]:
        """What refuses, in a transaction, to write without the lease; see `SqlStore._fence`."""
        lease = self._held.get(name)

        def check(tx: Transaction) -> None:
            if lease is None:
                return
            # FOR SHARE: whoever takes the lease over waits until this transaction has ended.
            row = tx.execute(_CHECK, (name,)).fetchone()
            if row is None or row["token"] != lease.token or row["holder"] != self._holder:
                holder = row["holder"].rpartition(" ")[0] if row else ""
                raise make_fenced_error(lease, f"a later run took over ({holder or 'it has ended'})", run)
            if not row["lasts"]:
                raise make_fenced_error(lease, "its lease was not renewed in time", run)

        return check

    def _take(self, name: str, subject: str) -> None:
        began, self._is_known = read_boot_clock(), True
        token = self._session.transact(BEGIN_SHORT, partial(self._write_lease, name, subject))
        self._held[name] = Lease(name, token, began + self._seconds)
        if self._renewer is None:
            self._renewer = threading.Thread(target=self._renew_all, name="store-renew", daemon=True)
            self._renewer.start()

    def _write_lease(self, name: str, subject: str, connection: PostgresConnection) -> int:
        if self._host.rules is not None:
            agree_on_rules(connection, self._holder, self._host)
        row = connection.execute(_TAKE, (name, self._holder, self._seconds)).fetchone()
        if row is not None:
            return int(row["token"])
        other = connection.execute(
            "SELECT holder, extract(epoch FROM until - clock_timestamp()) AS seconds FROM lease"
            " WHERE name = ?",
            (name,),
        ).fetchone()
        raise ClusterBusy(
            f"{subject} {other['holder'].rpartition(' ')[0]}",
            remedy="wait until it ends; if it was killed, its lease ends in "
            f"{max(1, round(other['seconds']))} s",
        )

    def _extend(self, lease: Lease, seconds: float) -> None:
        began = read_boot_clock()

        def extend(connection: PostgresConnection) -> bool:
            row = connection.execute(_EXTEND, (lease.name, lease.token, seconds, self._holder)).fetchone()
            return row is not None

        if not self._session.transact(BEGIN_SHORT, extend):
            lease.end = 0.0
            raise make_fenced_error(lease, "a later run took over")
        lease.end = max(lease.end, began + seconds)

    def _release(self, name: str) -> None:
        lease = self._held.pop(name, None)
        if lease is None:
            return
        free = "UPDATE lease SET holder = '' WHERE name = ? AND token = ? AND holder = ?"
        # A database that is away releases it by its end, or is told with the next renewal.
        with suppress(ReconcilerError):
            self._session.transact(
                BEGIN_SHORT,
                lambda connection: connection.execute(free, (name, lease.token, self._holder)) and None,
            )

    def _forget(self) -> None:
        def forget(connection: PostgresConnection) -> None:
            connection.execute("UPDATE lease SET holder = '' WHERE holder = ?", (self._holder,))
            connection.execute("DELETE FROM host WHERE holder = ?", (self._holder,))

        with suppress(ReconcilerError):
            self._session.transact(BEGIN_SHORT, forget)

    def _renew_all(self) -> None:
        """Renew all leases again and again; on a thread of its own, whatever the event loop does."""
        while not self._stop.wait(self._seconds / 3):
            # An error shows at the next write or call, which then has no lease that lasts.
            with suppress(ReconcilerError, RuntimeError):
                self._session.thread.submit(self._renew).result()

    def _renew(self) -> None:
        began, held = read_boot_clock(), dict(self._held)
        known = {name: lease for name, lease in held.items() if name != OUTBOX}

        def renew(connection: PostgresConnection) -> dict[str, int]:
            connection.execute("UPDATE host SET seen = clock_timestamp() WHERE holder = ?", (self._holder,))
            # A release that the database did not get: nobody would ever have what is renewed for nobody.
            connection.execute(_FREE_OTHERS, (self._holder, json.dumps(sorted(held))))
            own = json.dumps(sorted(known))
            rows = connection.execute(_RENEW, (self._holder, self._seconds, own)).fetchall()
            return {row["name"]: row["token"] for row in rows}

        renewed = self._session.transact(BEGIN_SHORT, renew)
        for name, lease in known.items():
            lease.end = max(lease.end, began + self._seconds) if renewed.get(name) == lease.token else 0.0


def make_fenced_error(lease: Lease, why: str, run: str = "") -> RunFenced:
    """The error for a run whose lease is gone."""
    who = f"run {run}" if run else "this run"
    cluster = lease.name.partition("/")[2]
    if why.startswith("a later run took over"):
        why = why.replace("took over", f"took over from {who}", 1)
    return RunFenced(
        f"cluster {cluster}: {why}; {who} has stopped writing [fenced]",
        remedy="this run needs no action: the next one reads what the nodes show; `reconcile history` "
        "shows it",
    )


def agree_on_rules(connection: PostgresConnection, holder: str, host: HostIdentity) -> None:
    """Refuse to work where running hosts have another configuration in what a plan depends on.

    The hosts that run decide: once none of them has the former configuration any more, that of the others
    counts. So a new configuration is rolled out by changing one host after the other.

    Raises:
        StateError: names the host and the sections that differ.
    """
    own = dict(host.rules or {})
    connection.execute(
        "INSERT INTO host (holder, name, schema_version, rules, seen) VALUES (?, ?, ?, ?, clock_timestamp())"
        " ON CONFLICT (holder) DO UPDATE SET seen = excluded.seen",
        (holder, host.name, len(MIGRATIONS), json.dumps(own, sort_keys=True)),
    )
    connection.execute(
        "DELETE FROM host WHERE seen < clock_timestamp() - make_interval(secs => ?)", (KEPT_SECONDS,)
    )
    known = connection.execute("SELECT value, host FROM agreement WHERE what = 'rules' FOR UPDATE").fetchone()
    theirs = json.loads(known["value"]) if known else {}
    if known and theirs == own:
        return
    running = connection.execute(
        f"SELECT min(name) AS name FROM host WHERE rules = ? AND holder != ?"  # noqa: S608
        f" AND seen > clock_timestamp() - {_LIVE}",
        (known["value"] if known else "", holder),
    ).fetchone()
    if known and running["name"] is not None:
        parts = sorted(key for key in own.keys() | theirs.keys() if own.get(key) != theirs.get(key))
        raise StateError(
            f"the host configuration of {host.name} differs from that of {running['name']}, which uses the "
            f"same store, in {', '.join(f'`{one}`' for one in parts)}; this host takes no pass",
            remedy="make them equal; a new configuration counts when no running host has the former one",
        )
    connection.execute(
        "INSERT INTO agreement (what, value, host) VALUES ('rules', ?, ?)"
        " ON CONFLICT (what) DO UPDATE SET value = excluded.value, host = excluded.host",
        (json.dumps(own, sort_keys=True), host.name),
    )
