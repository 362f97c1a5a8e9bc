"""The fleets of a store: functions over a transaction."""

from __future__ import annotations

import json

from reconciler.core.fleet_matching import NEW, FleetIdentity, KnownFleet, resolve_fleet
from reconciler.store.sql import facts
from reconciler.store.sql.node_tokens import absorb_nodes
from reconciler.store.sql.transaction import Transaction

KEYED = ("claim", "run", "operation")
"""Tables whose rows belong to a fleet, beside facts and nodes that poll."""


def read_fleets(tx: Transaction) -> tuple[KnownFleet, ...]:
    """All fleets, by number."""
    sources: dict[int, list[str]] = {}
    for row in tx.execute("SELECT source, fleet FROM fleet_source ORDER BY since, source"):
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
        for row in tx.execute("SELECT * FROM fleet ORDER BY number")
    )


def enter_fleet(tx: Transaction, me: FleetIdentity) -> int:
    """The number of a fleet, after writing its identity.

    Raises:
        FleetRefused: see `core.fleet_matching.resolve_fleet`; nothing was written.
    """
    found = resolve_fleet(me, read_fleets(tx))
    number = found.number
    if number == NEW:
        (number,) = tx.execute("INSERT INTO fleet DEFAULT VALUES RETURNING number").fetchone()
    for other in found.absorbed:
        _absorb(tx, number, other)
    write_identity(tx, number, me)
    return number


def rebind_fleet_source(tx: Transaction, number: int, me: FleetIdentity) -> None:
    """Continue a fleet with a new source, as the operator decided."""
    # In another history nothing descends from the revision that was applied last. Kept, it would make every
    # revision of the new source look diverged, and the operator would have to confirm a second time.
    known = next(one for one in read_fleets(tx) if one.number == number)
    if me.roots and set(me.roots).isdisjoint(known.roots):
        tx.execute("DELETE FROM fact WHERE fleet = ? AND node = '' AND key = ?", (number, facts.APPLIED))
    write_identity(tx, number, me)


def write_identity(tx: Transaction, number: int, me: FleetIdentity) -> None:
    """Write the identity of a fleet; what this source does not tell stays as it is."""
    tx.execute(
        "UPDATE fleet SET name = CASE WHEN ?1 = '' THEN name ELSE ?1 END,"
        " roots = CASE WHEN ?2 = '[]' THEN roots ELSE ?2 END,"
        " path = CASE WHEN ?2 = '[]' THEN path ELSE ?3 END, ref = ?4, lone = ?6 WHERE number = ?5",
        (me.name, json.dumps(me.roots), me.path, me.ref, number, me.is_lone),
    )
    # written only if it is new: each pass calls this
    tx.execute(
        "INSERT INTO fleet_source (source, fleet, since) VALUES (?, ?, ?) ON CONFLICT (source)"
        " DO UPDATE SET fleet = excluded.fleet, since = excluded.since"
        " WHERE fleet_source.fleet != excluded.fleet",
        (me.source, number, tx.timestamp),
    )


def _absorb(tx: Transaction, number: int, other: int) -> None:
    """Merge another fleet into one, because both are the same; facts of the first one win."""
    absorb_nodes(tx, number, other)
    for table in KEYED:
        tx.execute(f"UPDATE {table} SET fleet = ? WHERE fleet = ?", (number, other))  # noqa: S608
    tx.execute(
        "UPDATE fact SET fleet = ?1 WHERE fleet = ?2 AND NOT EXISTS (SELECT 1 FROM fact AS own"
        " WHERE own.fleet = ?1 AND own.cluster = fact.cluster AND own.node = fact.node"
        " AND own.key = fact.key)",
        (number, other),
    )
    tx.execute("DELETE FROM fact WHERE fleet = ?", (other,))
    tx.execute("UPDATE fleet_source SET fleet = ? WHERE fleet = ?", (number, other))
    tx.execute("DELETE FROM fleet WHERE number = ?", (other,))
