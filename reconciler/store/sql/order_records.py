"""The history of orders: what people ordered beside the desired state, and its use."""

from __future__ import annotations

from datetime import datetime

from reconciler.core.actor import Actor, load_actor
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.store import OrderRecord
from reconciler.store.sql.transaction import Transaction

KEPT_ACTS = 10_000
"""Orders that the history keeps, the newest ones."""


def read_order_records(tx: Transaction, limit: int) -> tuple[OrderRecord, ...]:
    """The newest orders, newest first."""
    rows = tx.execute("SELECT * FROM act ORDER BY number DESC LIMIT ?", (limit,))
    return tuple(
        OrderRecord(
            row["kind"],
            row["cluster"],
            row["digest"],
            parse_timestamp(row["at"]),
            load_actor(row["actor"]),
            row["node"],
            parse_timestamp(row["until"]) if row["until"] else None,
        )
        for row in rows
    )


def find_approved_cluster(tx: Transaction, digest: str) -> str:
    """The cluster whose plan was approved; empty if the approval does not say it."""
    row = tx.execute(
        "SELECT cluster FROM act WHERE kind = 'approve' AND digest = ? ORDER BY number DESC LIMIT 1",
        (digest,),
    ).fetchone()
    return str(row["cluster"]) if row else ""


def write_order_record(
    tx: Transaction,
    kind: str,
    by: Actor,
    *,
    cluster: str = "",
    digest: str = "",
    node: str = "",
    until: datetime | None = None,
) -> None:
    """Write an order or a rename, and delete the oldest beyond `KEPT_ACTS`."""
    end = format_timestamp(until) if until is not None else None
    tx.execute(
        "INSERT INTO act (kind, cluster, digest, at, actor, node, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (kind, cluster, digest, tx.timestamp, by.encode(), node, end),
    )
    tx.execute("DELETE FROM act WHERE number <= (SELECT max(number) FROM act) - ?", (KEPT_ACTS,))
