"""Reservations of nodes that may be stopped, and holds of nodes: functions over a transaction."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from reconciler.core.actor import Actor, load_actor
from reconciler.core.fleet_matching import HOST
from reconciler.core.operations import Operation
from reconciler.core.reservations import Reservation, SeenCluster
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.operations import end_operation, write_operation
from reconciler.store.sql.order_records import write_order_record
from reconciler.store.sql.transaction import Row, Transaction

KEPT_RESERVATIONS: Final = 1_000
"""Ended reservations of a fleet that are kept, the newest ones."""


def write_answer(
    tx: Transaction, key: HostKey, operation: Operation, reservation: Reservation | None, seen: SeenCluster
) -> bool:
    """Write the answer to a question, with its reservation; False if the cluster is not as it was seen."""
    # In the transaction that writes the reservation. A check before it would leave a gap, in which another
    # question gets its yes, or a run begins a step: each alone would be right, and both together are not.
    if reservation is not None:
        if read_seen_cluster(tx, reservation.cluster) != seen:
            return False
        tx.execute(
            "INSERT INTO reservation (id, fleet, cluster, node, actor, at, until)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                reservation.id,
                tx.fleet,
                reservation.cluster,
                reservation.node,
                reservation.actor.encode(),
                format_timestamp(reservation.at),
                format_timestamp(reservation.until),
            ),
        )
    _write_ended_operation(tx, key, operation)
    return True


def write_release(tx: Transaction, key: HostKey, operation: Operation, nodes: Sequence[str]) -> int:
    """Write that the reservations of some nodes were released; gives how many there were."""
    ended = 0
    for node in nodes:
        ended += tx.execute(
            "UPDATE reservation SET ended = ? WHERE fleet = ? AND cluster = ? AND node = ? AND ended IS NULL"
            " AND NOT is_hold",
            (tx.timestamp, tx.fleet, operation.cluster, node),
        ).rowcount
    if ended:
        _write_ended_operation(tx, key, operation)
        _drop_old(tx)
    return ended


def end_reservations(tx: Transaction, ids: Iterable[str]) -> None:
    """Write that reservations are over."""
    tx.execute_many(
        "UPDATE reservation SET ended = ? WHERE id = ? AND fleet IN (?, ?) AND ended IS NULL",
        [(tx.timestamp, one, tx.fleet, HOST) for one in ids],
    )
    _drop_old(tx)


def write_hold(tx: Transaction, fleet: int, name: tuple[str, str], until: datetime, by: Actor) -> None:
    """Write a hold of a node, with its place in the history.

    Args:
        tx: the transaction.
        fleet: whose node it is; the host if no fleet is known to have it.
        name: of its cluster, and its own.
        until: the end.
        by: who orders it.
    """
    tx, (cluster, node) = tx.for_fleet(fleet), name
    rows = tx.execute(
        "SELECT place FROM claim WHERE (fleet, cluster, node) = (?, ?, ?) ORDER BY place",
        (tx.fleet, cluster, node),
    )
    tx.execute(
        "INSERT INTO reservation (id, fleet, cluster, node, actor, at, until, is_hold, places)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, TRUE, ?)",
        (
            f"hold-{secrets.token_hex(6)}",
            tx.fleet,
            cluster,
            node,
            by.encode(),
            tx.timestamp,
            format_timestamp(until),
            json.dumps([row["place"] for row in rows]),
        ),
    )
    write_order_record(tx, "hold", by, cluster=cluster, node=node, until=until)


def delete_holds(tx: Transaction, ids: Sequence[str], by: Actor) -> tuple[Reservation, ...]:
    """End holds before their time; gives those that were in force."""
    found = [one for one in read_holds(tx.for_fleet(HOST)) if one.id in ids]
    tx.execute_many(
        "UPDATE reservation SET ended = ? WHERE id = ? AND is_hold AND ended IS NULL",
        [(tx.timestamp, one.id) for one in found],
    )
    for cluster, node in sorted({(one.cluster, one.node) for one in found}):
        write_order_record(tx, "release", by, cluster=cluster, node=node)
    _drop_old(tx)
    return tuple(found)


def read_holds(tx: Transaction) -> tuple[Reservation, ...]:
    """The holds of a fleet that are in force, by node and end; for the host those of all fleets."""
    rows = tx.execute(
        "SELECT * FROM reservation WHERE ended IS NULL AND is_hold AND until > ?1"
        " AND (?2 = 0 OR fleet IN (0, ?2)) ORDER BY cluster, node, until, number",
        (tx.timestamp, tx.fleet),
    )
    return tuple(_make_reservation(row) for row in rows)


def read_reservations(tx: Transaction, cluster: str = "") -> tuple[Reservation, ...]:
    """The reservations of a cluster, or of all, that are not known to be over, oldest first."""
    rows = tx.execute(
        "SELECT * FROM reservation WHERE ended IS NULL AND (fleet = ?1 OR (is_hold AND fleet = 0))"
        " AND ?2 IN ('', cluster) ORDER BY number",
        (tx.fleet, cluster),
    )
    return tuple(_make_reservation(row) for row in rows)


def read_reservation_ids(tx: Transaction, cluster: str) -> frozenset[str]:
    """The ids of the reservations of a cluster that are not known to be over."""
    rows = tx.execute(
        "SELECT id FROM reservation WHERE ended IS NULL AND (fleet = ? OR (is_hold AND fleet = 0))"
        " AND cluster = ?",
        (tx.fleet, cluster),
    )
    return frozenset(row["id"] for row in rows)


def read_seen_cluster(tx: Transaction, cluster: str) -> SeenCluster:
    """What a question must know of a cluster, beside what its nodes show."""
    # A step that a killed run left open may still have its effect: its node is not free before a run has
    # settled it. A node that is offered its content loads it by itself, and stays up.
    rows = tx.execute(
        "SELECT DISTINCT step.node FROM step JOIN run ON run.number = step.run"
        " WHERE step.intended IS NOT NULL AND step.cluster = ? AND run.fleet = ?"
        " AND (step.state IS NULL OR step.state = 'unknown')"
        " AND (step.until > ? OR run.finished IS NULL)",
        (cluster, tx.fleet, tx.timestamp),
    )
    return SeenCluster(read_reservation_ids(tx, cluster), frozenset(row["node"] for row in rows))


def rename_reservations(tx: Transaction, former: str, name: str) -> None:
    """Move the reservations of a cluster to its new name."""
    tx.execute(
        "UPDATE reservation SET cluster = ? WHERE (fleet = ? OR (is_hold AND fleet = 0)) AND cluster = ?",
        (name, tx.fleet, former),
    )


def _write_ended_operation(tx: Transaction, key: HostKey, operation: Operation) -> None:
    # Together: nobody performs it, so that it must never be found open.
    write_operation(tx, key, operation)
    end_operation(tx, operation.id)


def _drop_old(tx: Transaction) -> None:
    tx.execute(
        "DELETE FROM reservation WHERE fleet = ?1 AND ended IS NOT NULL AND number <= (SELECT number"
        " FROM reservation WHERE fleet = ?1 AND ended IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        (tx.fleet, KEPT_RESERVATIONS),
    )


def _make_reservation(row: Row) -> Reservation:
    return Reservation(
        id=row["id"],
        cluster=row["cluster"],
        node=row["node"],
        actor=load_actor(row["actor"]),
        at=parse_timestamp(row["at"]),
        until=parse_timestamp(row["until"]),
        is_hold=bool(row["is_hold"]),
        places=frozenset(json.loads(row["places"])),
    )
