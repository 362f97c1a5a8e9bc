"""Reading runs back: lines for the list, whole records, and what killed runs left behind."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import Any

from reconciler.core import plan as plans
from reconciler.core.actor import load_actor
from reconciler.core.outcome import State
from reconciler.core.timestamps import parse_timestamp
from reconciler.errors import UsageError
from reconciler.ports.store import JournalEntry, MessageRecord, RunRecord, RunSummary
from reconciler.store.sqlite.host_key import HostKey
from reconciler.text.suggestions import find_similar

UNKNOWN = """
    SELECT mine.run, mine.id FROM step AS mine WHERE mine.state IN ('unknown', 'offered')
    AND mine.intended IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM step AS later
        WHERE later.run > mine.run AND later.cluster = mine.cluster AND later.node = mine.node
        AND (later.intended IS NOT NULL OR later.state = 'found')
        AND (SELECT fleet FROM run WHERE number = later.run) = (SELECT fleet FROM run WHERE number = mine.run)
    )"""
"""Run and id of every step whose end nobody knows yet."""

_SHOWN = 5
"""Ids that an error message names."""


def read_run_summaries(connection: sqlite3.Connection, fleet: int, limit: int) -> tuple[RunSummary, ...]:
    """The newest runs of a fleet, or of the host those of all fleets, newest first."""
    rows = connection.execute(
        "SELECT * FROM run WHERE ?1 IN (0, fleet) ORDER BY number DESC LIMIT ?2", (fleet, limit)
    ).fetchall()
    return tuple(_line(connection, row) for row in rows)


def read_run(connection: sqlite3.Connection, text: str, key: HostKey | None = None) -> RunRecord:
    """The run with this id or with the only id that begins so.

    Args:
        connection: in a transaction.
        text: the id or its beginning.
        key: of this host, where the steps are to be whole, see `read_unsettled_runs`; None to show them.

    Raises:
        UsageError: no run, or several; it names the nearest ids.
    """
    rows = connection.execute(
        "SELECT * FROM run WHERE ?1 != '' AND substr(id, 1, length(?1)) = ?1 ORDER BY number DESC",
        (text,),
    ).fetchall()
    exact = [row for row in rows if row["id"] == text]
    if len(exact or rows) == 1:
        return _record(connection, (exact or rows)[0], key)
    if rows:
        raise UsageError(
            f"{len(rows)} runs begin with {text!r}: {_some([row['id'] for row in rows])}",
            remedy="give more of the id",
        )
    raise _unknown(connection, text)


def read_unsettled_runs(connection: sqlite3.Connection, fleet: int, key: HostKey) -> tuple[RunRecord, ...]:
    """Runs that did not finish, and of those that did the steps whose end is unknown still.

    Their steps are whole: with what plans show without its secrets, as far as this host has the key for it.

    Oldest first. A step is unknown no more once a later run sent something for its node, or found it as
    desired: what shows then says nothing about this one. A run that goes on right now is among them: only
    its clusters' locks tell.
    """
    left: dict[int, set[str]] = {}
    for number, step in connection.execute(UNKNOWN):
        left.setdefault(number, set()).add(step)
    marks = ", ".join("?" * len(left))
    rows = connection.execute(
        f"SELECT * FROM run WHERE (finished IS NULL OR number IN ({marks}))"  # noqa: S608
        " AND ? IN (0, fleet) ORDER BY number",
        (*left, fleet),
    ).fetchall()
    records = [(row["number"], _record(connection, row, key)) for row in rows]
    return tuple(
        record if record.line.finished is None else _only(record, left[number]) for number, record in records
    )


def has_open_step(connection: sqlite3.Connection, fleet: int, cluster: str) -> bool:
    """Whether a step of a cluster was sent and has no end, or an unknown one."""
    row = connection.execute(
        "SELECT 1 FROM step JOIN run ON run.number = step.run"
        " WHERE (state IS NULL OR state IN ('unknown', 'offered'))"
        " AND intended IS NOT NULL AND cluster = ? AND ? IN (0, run.fleet) LIMIT 1",
        (cluster, fleet),
    ).fetchone()
    return row is not None


def _only(record: RunRecord, steps: AbstractSet[str]) -> RunRecord:
    return replace(record, entries=tuple(entry for entry in record.entries if entry.step.id in steps))


def _record(connection: sqlite3.Connection, row: sqlite3.Row, key: HostKey | None = None) -> RunRecord:
    plan = plans.load_plan(json.loads(zlib.decompress(row["plan"])))
    whole = (
        plans.restore_exact_arguments(plan, _exact(connection, row["number"], key))
        if key is not None
        else plan
    )
    known = {
        step["id"]: step for step in connection.execute("SELECT * FROM step WHERE run = ?", (row["number"],))
    }
    return RunRecord(
        line=_line(connection, row),
        plan=plan,
        entries=tuple(_entry(step, known[step.id]) for step in whole.steps() if step.id in known),
        messages=tuple(_messages(connection, row["number"])),
    )


def _exact(connection: sqlite3.Connection, run: int, key: HostKey) -> dict[str, dict[str, Any]]:
    """Step -> what its plain form leaves out; none where it leaves out nothing, or the key is gone."""
    row = connection.execute("SELECT sealed FROM exact WHERE run = ?", (run,)).fetchone()
    data = key.opened(row["sealed"]) if row else None
    found: dict[str, dict[str, Any]] = json.loads(zlib.decompress(data)) if data else {}
    return found


def _entry(step: plans.Step, row: sqlite3.Row) -> JournalEntry:
    return JournalEntry(
        step=replace(step, cluster=row["cluster"]),  # it may have another name now
        intended=_moment(row["intended"]),
        ended=_moment(row["ended"]),
        state=State(row["state"]) if row["state"] else None,
        reason=row["reason"],
        seconds=row["seconds"],
        answer=row["answer"],
        waiting_for_restart=tuple(json.loads(row["restart"])),
        until=_moment(row["until"]),
    )


def _messages(connection: sqlite3.Connection, run: int) -> Iterator[MessageRecord]:
    for row in connection.execute("SELECT * FROM message WHERE run = ? ORDER BY number", (run,)):
        yield MessageRecord(
            id=row["id"],
            step=row["step"],
            created=parse_timestamp(row["created"]),
            body=bytes(row["body"]).decode(),
            wanted=bool(row["wanted"]),
            delivered=_moment(row["delivered"]),
            attempts=row["attempts"],
            error=row["error"],
        )


def _line(connection: sqlite3.Connection, row: sqlite3.Row) -> RunSummary:
    counts = connection.execute(
        "SELECT coalesce(state, 'open') AS state, count(*) AS number FROM step WHERE run = ?"
        " GROUP BY 1 ORDER BY 1",
        (row["number"],),
    )
    same: dict[str, Any] = {
        name: row[name]
        for name in ("id", "trigger", "source", "revision", "short", "title", "program", "digest", "note")
    }
    return RunSummary(
        **same,
        started=parse_timestamp(row["started"]),
        finished=_moment(row["finished"]),
        exit_status=row["exit_status"],
        counts={count["state"]: count["number"] for count in counts},
        actor=load_actor(row["actor"]),
    )


def _unknown(connection: sqlite3.Connection, text: str) -> UsageError:
    ids = [row["id"] for row in connection.execute("SELECT id FROM run ORDER BY number DESC")]
    if not ids:
        return UsageError(f"there is no run {text!r}: the history is empty")
    near = find_similar(text, ids, most=_SHOWN) or ids
    return UsageError(
        f"there is no run {text!r}; similar ids: {_some(near)}", remedy="run `reconcile history`"
    )


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")


def _moment(text: str | None) -> datetime | None:
    return parse_timestamp(text) if text else None
