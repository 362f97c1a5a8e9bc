"""Messages for the sink: due, delivered, refused."""

from __future__ import annotations

from reconciler.ports.store import OutboxMessage
from reconciler.store.sql.transaction import Transaction

REFUSALS = 5
"""Refusals of one message by the sink before it is only kept in the history."""

DUE = "delivered IS NULL AND wanted AND refusals < ?"
"""Condition for messages still to be delivered; the parameter is `REFUSALS`."""


def read_due_messages(tx: Transaction, beyond: int, limit: int) -> tuple[OutboxMessage, ...]:
    """Messages to deliver with numbers greater than `beyond`, oldest first."""
    rows = tx.execute(
        f"SELECT number, id, body FROM message WHERE {DUE}"  # noqa: S608
        " AND number > ? ORDER BY number LIMIT ?",
        (REFUSALS, beyond, limit),
    )
    return tuple(OutboxMessage(row["id"], bytes(row["body"]), number=row["number"]) for row in rows)


def mark_sent(tx: Transaction, outbox_message: str) -> None:
    """Write that the sink took a message."""
    tx.execute(
        "UPDATE message SET delivered = ?, attempts = attempts + 1, error = '' WHERE id = ?",
        (tx.timestamp, outbox_message),
    )


def mark_unsent(tx: Transaction, outbox_message: str, error: str, *, refused: bool) -> None:
    """Write that the sink did not take a message, and why."""
    # Only a refusal counts: an outage, however long, must not make the outbox give up.
    tx.execute(
        "UPDATE message SET attempts = attempts + 1, refusals = refusals + ?, error = ? WHERE id = ?",
        (int(refused), error, outbox_message),
    )


def count_undelivered(tx: Transaction) -> int:
    """The number of messages still to be delivered."""
    (number,) = tx.execute(
        f"SELECT count(*) FROM message WHERE {DUE}",  # noqa: S608
        (REFUSALS,),
    ).fetchone()
    return int(number)
