"""Tokens by which programs act: functions over a transaction."""

from __future__ import annotations

from reconciler.core.actor import Actor, load_actor
from reconciler.core.roles import encode_grants, load_grants
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.errors import UsageError
from reconciler.ports.access_store import COARSE, MOST_TOKENS, TOKENS_LISTED_FOR, AccessToken
from reconciler.store.sql.order_records import write_order_record
from reconciler.store.sql.transaction import Row, SqlConnection, Transaction

_COUNTS = "revoked IS NULL AND expires > ?"
"""Condition for tokens in force; the parameter is the present time."""


def read_access_tokens(tx: Transaction) -> tuple[AccessToken, ...]:
    """All tokens."""
    return tuple(_parse(row) for row in tx.execute("SELECT * FROM access_token ORDER BY name, created"))


def write_access_token(tx: Transaction, digest: str, token: AccessToken) -> None:
    """Write a new token, and delete those that ended long ago.

    Raises:
        UsageError: a token of this name counts already, or there are too many.
    """
    limit = format_timestamp(tx.now - TOKENS_LISTED_FOR)
    tx.execute("DELETE FROM access_token WHERE expires < ? OR revoked < ?", (limit, limit))
    rows = tx.execute(f"SELECT name FROM access_token WHERE {_COUNTS}", (tx.timestamp,))  # noqa: S608
    names = {row["name"] for row in rows}
    if token.name in names:
        raise UsageError(
            f"there is a token {token.name} already",
            remedy=f"choose another name, or end it first: `reconcile tokens revoke {token.name}`",
        )
    if len(names) >= MOST_TOKENS:
        raise UsageError(f"there are {len(names)} tokens already", remedy="revoke those that nobody needs")
    granted, expires = encode_grants(token.grants), format_timestamp(token.expires)
    tx.execute(
        "INSERT INTO access_token (digest, name, grants, actor, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
        (digest, token.name, granted, token.by.encode(), tx.timestamp, expires),
    )
    write_order_record(tx, "token", token.by, node=token.name, until=token.expires)


def revoke_access_token(tx: Transaction, name: str, by: Actor) -> None:
    """End a token.

    Raises:
        UsageError: no token of this name counts.
    """
    ended = tx.execute(
        f"UPDATE access_token SET revoked = ? WHERE name = ? AND {_COUNTS}",  # noqa: S608
        (tx.timestamp, name, tx.timestamp),
    )
    if not ended.rowcount:
        raise UsageError(f"no token {name} is in force", remedy="`reconcile tokens list` shows all of them")
    write_order_record(tx, "token revoked", by, node=name)


def read_access_token(tx: Transaction, digest: str) -> tuple[AccessToken | None, bool]:
    """The token with a digest, if it counts; and whether its use is to be recorded."""
    row = tx.execute(
        f"SELECT * FROM access_token WHERE digest = ? AND {_COUNTS}",  # noqa: S608
        (digest, tx.timestamp),
    ).fetchone()
    if row is None:
        return None, False
    found = _parse(row)
    return found, found.used is None or tx.now - found.used >= COARSE


def note_token_use(tx: Transaction, digest: str) -> None:
    """Write when a token was used."""
    tx.execute("UPDATE access_token SET used = ? WHERE digest = ?", (tx.timestamp, digest))


def end_access(connection: SqlConnection, at: str) -> None:
    """End all tokens and sessions of a restored backup."""
    # One that was revoked since the backup was made must not count again, and nobody knows which.
    connection.execute("UPDATE access_token SET revoked = ? WHERE revoked IS NULL", (at,))
    connection.execute("DELETE FROM login_session")


def _parse(row: Row) -> AccessToken:
    return AccessToken(
        row["name"],
        load_grants(row["grants"]),
        parse_timestamp(row["expires"]),
        parse_timestamp(row["created"]),
        load_actor(row["actor"]),
        parse_timestamp(row["used"]) if row["used"] else None,
        parse_timestamp(row["revoked"]) if row["revoked"] else None,
    )
