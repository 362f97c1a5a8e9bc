"""Sessions of people who are logged in with a browser: functions over a transaction."""

from __future__ import annotations

import json
from datetime import timedelta

from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.access_store import MOST_SESSIONS, LoginSession
from reconciler.store.sql.transaction import Transaction

_NOTED_AT_LEAST = 5
"""A use is recorded again after this part of the time that a session lasts without one."""


def write_session(tx: Transaction, digest: str, session: LoginSession) -> None:
    """Write a new session; delete those that ended, and the one unused longest if there are too many."""
    tx.execute("DELETE FROM login_session WHERE expires <= ?1 OR idle_end <= ?1", (tx.timestamp,))
    tx.execute(
        "DELETE FROM login_session WHERE digest IN"
        " (SELECT digest FROM login_session ORDER BY idle_end DESC, digest LIMIT 1000000 OFFSET ?)",
        (MOST_SESSIONS - 1,),
    )
    tx.execute(
        "INSERT INTO login_session (digest, name, method, member_of, idle, idle_end, expires)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            digest,
            session.name,
            session.method,
            json.dumps(session.groups),
            int(session.idle.total_seconds()),
            format_timestamp(tx.now + session.idle),
            format_timestamp(session.expires),
        ),
    )


def read_session(tx: Transaction, digest: str) -> tuple[LoginSession | None, bool]:
    """The session with a digest, if it has not ended; and whether its use is to be recorded."""
    row = tx.execute(
        "SELECT * FROM login_session WHERE digest = ?1 AND expires > ?2 AND idle_end > ?2",
        (digest, tx.timestamp),
    ).fetchone()
    if row is None:
        return None, False
    idle = timedelta(seconds=row["idle"])
    session = LoginSession(
        row["name"], row["method"], tuple(json.loads(row["member_of"])), idle, parse_timestamp(row["expires"])
    )
    return session, parse_timestamp(row["idle_end"]) - tx.now < idle - idle / _NOTED_AT_LEAST


def note_session_use(tx: Transaction, digest: str, idle: timedelta) -> None:
    """Write that a session was used."""
    tx.execute(
        "UPDATE login_session SET idle_end = ? WHERE digest = ?", (format_timestamp(tx.now + idle), digest)
    )


def delete_session(tx: Transaction, digest: str) -> None:
    """End a session."""
    tx.execute("DELETE FROM login_session WHERE digest = ?", (digest,))
