"""Reading runs: summaries, whole records, and unsettled steps of killed runs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from reconciler.core import plan as plans
from reconciler.core.actor import load_actor
from reconciler.core.outcome import State
from reconciler.core.timestamps import parse_timestamp
from reconciler.errors import UsageError
from reconciler.ports.store import JournalEntry, MessageRecord, RunRecord, RunSummary
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.transaction import Row, Transaction
from reconciler.text.suggestions import find_similar

UNKNOWN = """
    SELECT mine.run, mine.id FROM step AS mine WHERE mine.state IN ('unknown', 'offered')
    AND mine.intended IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM step AS later
        WHERE later.run > mine.run AND later.cluster = mine.cluster AND later.node = mine.node
        AND (later.intended IS NOT NULL OR later.state = 'found')
        AND (SELECT fleet FROM run WHERE number = later.run) = (SELECT fleet FROM run WHERE number = mine.run)
    )"""
"""Run and id of every step with an unknown outcome.

A later step for the node that was sent, or found its node as desired, settles it: what the node shows since
then says nothing about the earlier one.
"""

_SUPERSEDED = """
    SELECT mine.run, mine.id FROM step AS mine JOIN run ON run.number = mine.run
    WHERE mine.state IN ('unknown', 'offered') AND mine.intended IS NOT NULL
    AND mine.cluster = ?1 AND run.fleet = ?2 AND coalesce(mine.until, '') <= ?3
    AND (mine.node NOT IN {members} OR mine.node IN {as_desired}
        OR EXISTS (
            SELECT 1 FROM step AS later JOIN run AS its ON its.number = later.run
            WHERE later.run > mine.run AND later.cluster = mine.cluster AND later.node = mine.node
            AND (later.intended IS NOT NULL OR later.state = 'found') AND its.fleet = run.fleet
        ))"""

_SHOWN = 5
"""Ids that an error message lists."""


def read_run_summaries(
    tx: Transaction, limit: int, before: str = "", cluster: str = ""
) -> tuple[RunSummary, ...]:
    """The newest runs of a fleet, newest first; for the host those of all fleets.

    Args:
        tx: the transaction.
        limit: number of runs at most.
        before: id of a run: only older ones; empty for all.
        cluster: only runs with a step of it; empty for all.
    """
    rows = tx.execute(
        "SELECT * FROM run WHERE ?1 IN (0, fleet)"
        " AND (?3 = '' OR number < (SELECT number FROM run WHERE id = ?3))"
        " AND (?4 = '' OR EXISTS (SELECT 1 FROM step WHERE step.cluster = ?4 AND step.run = run.number))"
        " ORDER BY number DESC LIMIT ?2",
        (tx.fleet, limit, before, cluster),
    ).fetchall()
    return tuple(_read_summary(tx, row) for row in rows)


def count_cluster_steps(tx: Transaction, runs: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Run -> cluster -> state -> number of steps; of runs of the fleet."""
    rows = tx.execute(
        "SELECT run.id AS id, step.cluster AS cluster, coalesce(step.state, 'open') AS state,"  # noqa: S608
        " count(*) AS number FROM step JOIN run ON run.number = step.run"
        f" WHERE run.id IN {tx.texts('?1')} AND ?2 IN (0, run.fleet) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        (json.dumps(list(runs)), tx.fleet),
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        found.setdefault(row["id"], {}).setdefault(row["cluster"], {})[row["state"]] = row["number"]
    return found


def read_run(tx: Transaction, text: str, key: HostKey | None = None) -> RunRecord:
    """The run with this id, or the only one whose id begins with it.

    Args:
        tx: the transaction.
        text: the id or its beginning.
        key: of this host, to get exact steps, see `read_unsettled_runs`; None for steps to show.

    Raises:
        UsageError: no run, or several; the message lists similar ids.
    """
    # `substr`, not LIKE: a `%` or `_` from the command line must not match other ids.
    rows = tx.execute(
        "SELECT * FROM run WHERE ?1 != '' AND substr(id, 1, length(?1)) = ?1 ORDER BY number DESC",
        (text,),
    ).fetchall()
    exact = [row for row in rows if row["id"] == text]
    if len(exact or rows) == 1:
        return _read_record(tx, (exact or rows)[0], key)
    if rows:
        raise UsageError(
            f"{len(rows)} runs begin with {text!r}: {_format_ids([row['id'] for row in rows])}",
            remedy="give more of the id",
        )
    raise _make_unknown_error(tx, text)


def read_unsettled_runs(tx: Transaction, key: HostKey, cluster: str = "") -> tuple[RunRecord, ...]:
    """Unfinished runs, and finished ones with only their unknown steps; oldest first.

    The steps are exact: with the secrets that plans mask, if this host has the key. A run that is still going
    on is among them; only the locks of its clusters tell.

    Args:
        tx: the transaction.
        key: of this host.
        cluster: only runs with a step of it; empty for all. Decoding the plans of all runs that other hosts
            are performing would cost each pass more than the pass itself.
    """
    left: dict[int, set[str]] = {}
    of_cluster, own = (" AND mine.cluster = ?", (cluster,)) if cluster else ("", ())
    for number, step in tx.execute(UNKNOWN + of_cluster, own):
        left.setdefault(number, set()).add(step)
    rows = tx.execute(
        f"SELECT * FROM run WHERE (finished IS NULL OR number IN {tx.numbers('?1')})"  # noqa: S608
        " AND ?2 IN (0, fleet) AND (?3 = '' OR EXISTS"
        " (SELECT 1 FROM step WHERE step.run = run.number AND step.cluster = ?3)) ORDER BY number",
        (json.dumps(list(left)), tx.fleet, cluster),
    ).fetchall()
    records = [(row["number"], _read_record(tx, row, key)) for row in rows]
    return tuple(
        record
        if record.summary.finished is None
        else replace(record, entries=tuple(one for one in record.entries if one.step.id in left[number]))
        for number, record in records
    )


def find_superseded_steps(
    tx: Transaction, cluster: str, members: Sequence[str], as_desired: Sequence[str]
) -> tuple[tuple[int, str], ...]:
    """Run and id of every overdue step that nothing can settle any more; see `Store.end_superseded`."""
    if not has_open_step(tx, cluster):
        return ()
    nodes = json.dumps(list(members)), json.dumps(list(as_desired))
    statement = _SUPERSEDED.format(members=tx.texts("?4"), as_desired=tx.texts("?5"))
    rows = tx.execute(statement, (cluster, tx.fleet, tx.timestamp, *nodes))
    return tuple((row["run"], row["id"]) for row in rows)


def has_open_step(tx: Transaction, cluster: str) -> bool:
    """Whether a step of a cluster was sent and has no outcome, or an unknown one."""
    row = tx.execute(
        "SELECT 1 FROM step JOIN run ON run.number = step.run"
        " WHERE (state IS NULL OR state IN ('unknown', 'offered'))"
        " AND intended IS NOT NULL AND cluster = ? AND ? IN (0, run.fleet) LIMIT 1",
        (cluster, tx.fleet),
    ).fetchone()
    return row is not None


def _read_record(tx: Transaction, row: Row, key: HostKey | None = None) -> RunRecord:
    plan = plans.load_plan(json.loads(zlib.decompress(row["plan"])))
    whole = (
        plans.restore_exact_arguments(plan, _read_exact_arguments(tx, row["number"], key))
        if key is not None
        else plan
    )
    known = {step["id"]: step for step in tx.execute("SELECT * FROM step WHERE run = ?", (row["number"],))}
    return RunRecord(
        summary=_read_summary(tx, row),
        plan=plan,
        entries=tuple(_make_entry(step, known[step.id]) for step in whole.steps() if step.id in known),
        messages=tuple(_read_messages(tx, row["number"])),
    )


def _read_exact_arguments(tx: Transaction, run: int, key: HostKey) -> dict[str, dict[str, Any]]:
    """Step -> arguments that its plain form masks; empty if there are none, or the key is gone."""
    row = tx.execute("SELECT sealed FROM exact WHERE run = ?", (run,)).fetchone()
    data = key.decrypt(row["sealed"]) if row else None
    found: dict[str, dict[str, Any]] = json.loads(zlib.decompress(data)) if data else {}
    return found


def _make_entry(step: plans.Step, row: Row) -> JournalEntry:
    return JournalEntry(
        step=replace(step, cluster=row["cluster"]),  # the cluster may have been renamed since
        intended=_moment(row["intended"]),
        ended=_moment(row["ended"]),
        state=State(row["state"]) if row["state"] else None,
        reason=row["reason"],
        seconds=row["seconds"],
        answer=row["answer"],
        waiting_for_restart=tuple(json.loads(row["restart"])),
        until=_moment(row["until"]),
    )


def _read_messages(tx: Transaction, run: int) -> Iterator[MessageRecord]:
    for row in tx.execute("SELECT * FROM message WHERE run = ? ORDER BY number", (run,)):
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


def _read_summary(tx: Transaction, row: Row) -> RunSummary:
    counts = tx.execute(
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


def _make_unknown_error(tx: Transaction, text: str) -> UsageError:
    ids = [row["id"] for row in tx.execute("SELECT id FROM run ORDER BY number DESC")]
    if not ids:
        return UsageError(f"there is no run {text!r}: the history is empty")
    near = find_similar(text, ids, most=_SHOWN)
    hint = f"similar ids: {_format_ids(near)}" if near else f"newest runs: {_format_ids(ids)}"
    return UsageError(f"there is no run {text!r}; {hint}", remedy="run `reconcile history`")


def _format_ids(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")


def _moment(text: str | None) -> datetime | None:
    return parse_timestamp(text) if text else None
