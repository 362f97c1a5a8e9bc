"""The fleets of a store: functions over a connection."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from reconciler.core.fleet_identity import NEW, FleetIdentity, KnownFleet, resolve_fleet
from reconciler.core.timestamps import format_timestamp
from reconciler.store.sqlite import facts

KEYED = ("fact", "claim", "run")
"""Tables whose rows belong to a fleet."""


def read_fleets(connection: sqlite3.Connection) -> tuple[KnownFleet, ...]:
    """All fleets, by number."""
    sources: dict[int, list[str]] = {}
    for row in connection.execute("SELECT source, fleet FROM fleet_source ORDER BY since, source"):
        sources.setdefault(row["fleet"], []).append(row["source"])
    return tuple(
        KnownFleet(
            number=row["number"],
            name=row["name"],
            roots=tuple(json.loads(row["roots"])),
            path=row["path"],
            ref=row["ref"],
            sources=tuple(sources.get(row["number"], ())),
            is_lone=None if row["lone"] is None else bool(row["lone"]),
        )
        for row in connection.execute("SELECT * FROM fleet ORDER BY number")
    )


def enter_fleet(connection: sqlite3.Connection, me: FleetIdentity, now: datetime) -> int:
    """The number of a fleet, after writing its identity.

    Raises:
        FleetRefused: see `core.fleet_identity.resolve_fleet`; nothing was written.
    """
    found = resolve_fleet(me, read_fleets(connection))
    number = found.number
    if number == NEW:
        row = connection.execute("INSERT INTO fleet DEFAULT VALUES")
        assert row.lastrowid is not None
        number = row.lastrowid
    for other in found.absorbed:
        _absorb(connection, number, other)
    write_identity(connection, number, me, now)
    return number


def rebind_fleet_source(
    connection: sqlite3.Connection, number: int, me: FleetIdentity, now: datetime
) -> None:
    """Continue a fleet with a new source, on the word of the operator."""
    # In another history nothing descends from the revision that was applied last. Kept, it would make every
    # revision of the new source look diverged, and the operator would have to confirm a second time.
    known = next(one for one in read_fleets(connection) if one.number == number)
    if me.roots and set(me.roots).isdisjoint(known.roots):
        connection.execute(
            "DELETE FROM fact WHERE fleet = ? AND node = '' AND key = ?", (number, facts.APPLIED)
        )
    write_identity(connection, number, me, now)


def write_identity(connection: sqlite3.Connection, number: int, me: FleetIdentity, now: datetime) -> None:
    """Write the identity of a fleet; what this source does not tell stays as it is."""
    connection.execute(
        "UPDATE fleet SET name = CASE WHEN ?1 = '' THEN name ELSE ?1 END,"
        " roots = CASE WHEN ?2 = '[]' THEN roots ELSE ?2 END,"
        " path = CASE WHEN ?2 = '[]' THEN path ELSE ?3 END, ref = ?4, lone = ?6 WHERE number = ?5",
        (me.name, json.dumps(me.roots), me.path, me.ref, number, me.is_lone),
    )
    # written only if it is new: each pass calls this
    connection.execute(
        "INSERT INTO fleet_source (source, fleet, since) VALUES (?, ?, ?) ON CONFLICT (source)"
        " DO UPDATE SET fleet = excluded.fleet, since = excluded.since WHERE fleet IS NOT excluded.fleet",
        (me.source, number, format_timestamp(now)),
    )


def _absorb(connection: sqlite3.Connection, number: int, other: int) -> None:
    """Merge another fleet into one, because both are the same; facts of the first one win."""
    for table in KEYED:
        connection.execute(f"UPDATE OR IGNORE {table} SET fleet = ? WHERE fleet = ?", (number, other))  # noqa: S608
    connection.execute("DELETE FROM fact WHERE fleet = ?", (other,))
    connection.execute("UPDATE fleet_source SET fleet = ? WHERE fleet = ?", (number, other))
    connection.execute("DELETE FROM fleet WHERE number = ?", (other,))
