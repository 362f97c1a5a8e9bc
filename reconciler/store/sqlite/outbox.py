"""Messages on their way to the sink: what is due, what arrived, what did not."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from reconciler.core.timestamps import format_timestamp
from reconciler.ports.store import OutboxMessage

REFUSALS = 5
"""How often the sink may refuse one message before it stays in the history alone."""

DUE = "delivered IS NULL AND wanted AND refusals < ?"
"""Which messages are still to be delivered; the parameter is `REFUSALS`."""


def read_due_messages(
    connection: sqlite3.Connection, *, beyond: int, limit: int
) -> tuple[OutboxMessage, ...]:
    """Messages to deliver, oldest first, with numbers greater than `beyond`."""
    rows = connection.execute(
        f"SELECT number, id, body FROM message WHERE {DUE}"  # noqa: S608
        " AND number > ? ORDER BY number LIMIT ?",
        (REFUSALS, beyond, limit),
    )
    return tuple(OutboxMessage(row["id"], bytes(row["body"]), number=row["number"]) for row in rows)


def mark_sent(connection: sqlite3.Connection, outbox_message: str, now: datetime) -> None:
    """Write down that the sink took a message."""
    connection.execute(
        "UPDATE message SET delivered = ?, attempts = attempts + 1, error = '' WHERE id = ?",
        (format_timestamp(now), outbox_message),
    )


def mark_unsent(connection: sqlite3.Connection, outbox_message: str, error: str, *, refused: bool) -> None:
    """Write down that the sink did not take a message, and why; only refusals are counted out."""
    connection.execute(
        "UPDATE message SET attempts = attempts + 1, refusals = refusals + ?, error = ? WHERE id = ?",
        (refused, error, outbox_message),
    )


def count_undelivered(connection: sqlite3.Connection) -> int:
    """How many messages are still to be delivered."""
    (number,) = connection.execute(
        f"SELECT count(*) FROM message WHERE {DUE}",  # noqa: S608
        (REFUSALS,),
    ).fetchone()
    return int(number)
