"""The rows of passes that hosts share: what is due is there, and the jobs only carry it to a host."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeVar

from reconciler.core.canonical import fingerprint_with_key
from reconciler.ports.pass_queue import BegunPass, NextPass, SharedCluster, SharedPasses
from reconciler.store.postgres.access import PostgresAccess
from reconciler.store.postgres.connection import PostgresConnection, PostgresRow
from reconciler.store.postgres.database import BEGIN_SHORT, PostgresSession
from reconciler.store.postgres.jobs import DueCluster, JobWorker
from reconciler.store.postgres.leases import LeaseKeeper
from reconciler.store.sql.host_key import HostKey

T = TypeVar("T")

_OVERLAP: Final = 10.0
"""Seconds before the last reading whose rows are read again: a transaction shows them after its moment."""

_KEPT: Final = "interval '30 days'"
"""How long a queue is kept that no host serves any more."""

_LIST: Final = "(SELECT value FROM json_array_elements_text(?3::json) AS own(value))"
_COLUMNS: Final = """cluster, host, doing, status, input, input <> passed_input AS is_outdated,
    extract(epoch FROM due)::float8 AS due"""

_NEW: Final = "json_to_recordset(?3::json) AS new(cluster text, input text, is_due boolean)"
# What the revision does not change keeps its moment, and its running pass.
_CHANGE: Final = f"""
    UPDATE watched_cluster AS own SET due = least(own.due, clock_timestamp()), cause = ?2,
        requests = own.requests + 1, input = new.input, changed = clock_timestamp() FROM {_NEW}
    WHERE own.queue = ?1 AND own.cluster = new.cluster AND (new.is_due OR own.input <> new.input)"""  # noqa: S608
# A cluster that left and comes back gets higher numbers than before: a pass that was given up then must not
# take the place of a later one.
_ADD: Final = f"""
    INSERT INTO watched_cluster
        (queue, cluster, due, cause, requests, pass, host, doing, status, input, changed)
    SELECT ?1, cluster, clock_timestamp(), ?2, 1, floor(extract(epoch FROM clock_timestamp()) * 1000),
        '', 'idle', '', input, clock_timestamp() FROM {_NEW}
    ON CONFLICT (queue, cluster) DO NOTHING"""  # noqa: S608  (no value in it)
_REQUEST: Final = f"""
    UPDATE watched_cluster SET due = least(due, clock_timestamp()), cause = ?2, requests = requests + 1,
        changed = clock_timestamp() WHERE queue = ?1 AND cluster IN {_LIST}"""  # noqa: S608  (no value in it)
_BEGIN: Final = f"""
    UPDATE watched_cluster SET pass = pass + 1, host = ?3, doing = 'observing', changed = clock_timestamp()
    WHERE queue = ?1 AND cluster = ?2 AND due <= clock_timestamp()
    RETURNING pass, requests, cause, {_COLUMNS}"""  # noqa: S608  (names of columns)
# Due again at once if a pass was requested while this one ran.
_END: Final = """
    UPDATE watched_cluster SET doing = 'idle', status = CASE WHEN ?5 = '' THEN status ELSE ?5 END,
        due = clock_timestamp()
            + CASE WHEN requests = ?4 THEN make_interval(secs => ?6) ELSE interval '0' END,
        passed_input = CASE WHEN ?8 = '' THEN passed_input ELSE ?8 END,
        cause = CASE WHEN requests = ?4 THEN ?7 ELSE cause END, changed = clock_timestamp()
    WHERE queue = ?1 AND cluster = ?2 AND pass = ?3"""


class PostgresPassQueue:
    """A queue of passes in a database.

    Args:
        access: to the database.
        leases: of this process, which know whether this host may take passes.
        fleet: number of the fleet.
        selection: digest of what the watch is restricted to; hosts with other ones have other queues.
    """

    def __init__(self, access: PostgresAccess, leases: LeaseKeeper, fleet: int, selection: str) -> None:
        self.name = f"{fleet}-{selection}"
        self.lease = access.lease
        self._host = leases.holder_name
        self._key = HostKey(access.key.parent, access.key.name)
        self._session = PostgresSession(access.address, "store-passes")
        self._worker = JobWorker(access, leases, self.name, self._list_due)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def key_input(self, digest: str) -> str:
        return fingerprint_with_key(self._key.derive("input digests"), digest)

    async def publish(
        self,
        revision: str,
        inputs: Mapping[str, str],
        trigger: str,
        *,
        instead_of: str,
        due: Collection[str] = (),
    ) -> bool:
        names = json.dumps(sorted(inputs))
        keyed = {name: self.key_input(digest) for name, digest in sorted(inputs.items())}

        def publish(connection: PostgresConnection) -> bool:
            known = connection.execute(
                "SELECT inputs FROM pass_queue WHERE name = ? FOR UPDATE", (self.name,)
            ).fetchone()
            is_known = known is not None and known["inputs"] == instead_of
            row = connection.execute(
                "INSERT INTO pass_queue AS own (name, target, seen, inputs)"
                " VALUES (?1, ?2, clock_timestamp(), ?2) ON CONFLICT (name)"
                " DO UPDATE SET target = excluded.target, seen = excluded.seen, inputs = excluded.inputs"
                " WHERE own.target = ?3 RETURNING target",
                (self.name, revision, instead_of),
            ).fetchone()
            if row is None:
                return False
            new = [
                {"cluster": name, "input": digest, "is_due": not is_known or name in due}
                for name, digest in keyed.items()
            ]
            for statement in (_CHANGE, _ADD):
                connection.execute(statement, (self.name, trigger, json.dumps(new)))
            connection.execute(
                "DELETE FROM watched_cluster WHERE queue = ?1 AND cluster NOT IN"
                " (SELECT value FROM json_array_elements_text(?2::json) AS own(value))",
                (self.name, names),
            )
            connection.execute(
                "DELETE FROM watched_cluster WHERE queue IN"  # noqa: S608
                f" (SELECT name FROM pass_queue WHERE seen < clock_timestamp() - {_KEPT})"
            )
            connection.execute(
                f"DELETE FROM pass_queue WHERE seen < clock_timestamp() - {_KEPT}"  # noqa: S608
            )
            return True

        is_published = await self._transact(publish)
        if is_published:
            await self._worker.dispatch()
        return is_published

    async def request(self, clusters: Collection[str], trigger: str) -> None:
        values = (self.name, trigger, json.dumps(sorted(clusters)))
        await self._transact(lambda connection: connection.execute(_REQUEST, values) and None)
        await self._worker.dispatch()

    async def read(self, since: float = 0.0) -> SharedPasses:
        def read(connection: PostgresConnection) -> SharedPasses:
            row = connection.execute(
                "UPDATE pass_queue SET seen = CASE WHEN seen < clock_timestamp() - interval '1 hour'"
                " THEN clock_timestamp() ELSE seen END WHERE name = ? RETURNING target",
                (self.name,),
            ).fetchone()
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM watched_cluster WHERE queue = ?1"  # noqa: S608
                " AND changed > to_timestamp(?2) ORDER BY cluster",
                (self.name, max(since - _OVERLAP, 0.0)),
            ).fetchall()
            target = row["target"] if row is not None else ""
            return SharedPasses(target, [_make_shared(one) for one in rows], connection.now.timestamp())

        return await self._transact(read)

    async def begin(self, cluster: str) -> BegunPass | None:
        def begin(connection: PostgresConnection) -> BegunPass | None:
            row = connection.execute(_BEGIN, (self.name, cluster, self._host)).fetchone()
            if row is None:
                return None
            queue = connection.execute(
                "SELECT target FROM pass_queue WHERE name = ?", (self.name,)
            ).fetchone()
            target = queue["target"] if queue is not None else ""
            return BegunPass(cluster, row["pass"], row["requests"], row["cause"], target, _make_shared(row))

        return await self._transact(begin)

    async def note(self, doing: Mapping[str, tuple[int, str]]) -> None:
        await self._transact(
            lambda connection: connection.executemany(
                "UPDATE watched_cluster SET doing = ?4, changed = clock_timestamp()"
                " WHERE queue = ?1 AND cluster = ?2 AND pass = ?3",
                [(self.name, cluster, number, text) for cluster, (number, text) in sorted(doing.items())],
            )
        )

    async def end(self, begun: BegunPass, status: str, following: NextPass, digest: str = "") -> None:
        values = (
            *(self.name, begun.cluster, begun.number, begun.requests, status),
            *(following.wait, following.cause, self.key_input(digest) if digest else ""),
        )
        await self._transact(lambda connection: connection.execute(_END, values) and None)

    async def serve(
        self, run: Callable[[str], Awaitable[None]], passes: int, on_ready: Callable[[], None]
    ) -> None:
        await self._worker.serve(run, passes, on_ready)

    async def _list_due(self) -> list[DueCluster]:
        def list_due(connection: PostgresConnection) -> list[DueCluster]:
            rows = connection.execute(
                "SELECT cluster, cause, extract(epoch FROM due)::float8 AS due FROM watched_cluster"
                " WHERE queue = ? AND due <= clock_timestamp() ORDER BY due",
                (self.name,),
            ).fetchall()
            return [DueCluster(row["cluster"], row["cause"], row["due"]) for row in rows]

        return await self._transact(list_due)

    async def _transact(self, work: Callable[[PostgresConnection], T]) -> T:
        return await self._session.run(lambda: self._session.transact(BEGIN_SHORT, work))


def _make_shared(row: PostgresRow) -> SharedCluster:
    return SharedCluster(
        *(row["cluster"], row["due"], row["host"], row["doing"], row["status"]),
        *(row["input"], row["is_outdated"]),
    )
