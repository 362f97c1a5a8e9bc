"""Open alerts, and what of the history people are told: each with its notices in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from reconciler.core.actor import Actor, load_actor
from reconciler.core.alerts import (
    Alert,
    AlertChanges,
    AlertEvent,
    AlertSeverity,
    Notice,
    OpenAlert,
    compare_alerts,
)
from reconciler.core.timestamps import format_minute, format_timestamp, parse_timestamp
from reconciler.ports.notification_store import AlertScope, TellingRules
from reconciler.store.sql.facts import REJECTED
from reconciler.store.sql.notices import queue_notices
from reconciler.store.sql.transaction import Row, Transaction
from reconciler.text.node_names import format_node_names

_ORDERS: Final = {
    "suspend": (AlertEvent.SUSPENDED, "changes are suspended"),
    "resume": (AlertEvent.RESUMED, "changes are permitted again"),
    "hold": (AlertEvent.HELD, "node {node} is held until {until} UTC: nothing is sent to it"),
    "release": (AlertEvent.RELEASED, "node {node} is released: changes reach it again"),
    "pin": (AlertEvent.ROLLED_BACK, "rolled back, and pinned there"),
    "unpin": (AlertEvent.UNPINNED, "no longer pinned: it follows the newest revision"),
    "approve": (AlertEvent.APPROVED, "a plan is approved"),
    "retry": (AlertEvent.RETRIED, "what was given up is tried again"),
    "token": (AlertEvent.TOKEN, "a token is made for {node}"),
    "token revoked": (AlertEvent.TOKEN, "the token of {node} is revoked"),
}
"""Kind of an order -> its event, and what it means."""

_PURGE: Final = "purge"
_FAILED: Final = "('failed', 'unknown', 'undone')"
_MOST_ROWS: Final = 200
_MOST_STEPS: Final = 2_000
_AGE: Final = timedelta(days=1)
"""What is older is not told: it was written while nobody was to be told."""


def record_alerts(tx: Transaction, scope: AlertScope, found: Sequence[Alert], rules: TellingRules) -> None:
    """Write what is true now within a scope, with the notices of what has changed."""
    found = [*found, *_list_rejections(tx, scope.cluster)] if scope.cluster else found
    true_now = {alert.key for alert in found}
    rows = tx.execute("SELECT * FROM alert WHERE fleet = ? AND cluster = ?", (tx.fleet, scope.cluster))
    known = [
        one
        for one in map(_make_open_alert, rows)
        if (one.event not in scope.kept or one.key in true_now) and scope.subject in {"", one.subject}
    ]
    _write_changes(tx, compare_alerts(known, found, tx.now, rules.steady), rules)


def end_absent_alerts(tx: Transaction, rules: TellingRules) -> None:
    """End the alerts, and forget the members, that have been absent long enough."""
    for row in tx.execute(
        "SELECT * FROM alert WHERE absent <= ? LIMIT ?",
        (format_timestamp(tx.now - rules.steady), _MOST_ROWS),
    ).fetchall():
        known = _make_open_alert(row)
        present = tuple(name for name, since in known.members.items() if since is None)
        found = [
            Alert(
                known.event,
                known.severity,
                known.end_title,
                present,
                known.cluster,
                known.subject,
                end_title=known.end_title,
            )
        ]
        changes = compare_alerts([known], found if present else (), tx.now, rules.steady)
        _write_changes(tx.for_fleet(row["fleet"]), changes, rules)


def forget_alerts(tx: Transaction, clusters: Sequence[str]) -> None:
    """Delete the alerts of clusters that the fleet no longer has."""
    others = f"cluster != '' AND cluster NOT IN {tx.texts('?2')}"
    tx.execute(f"DELETE FROM alert WHERE fleet = ?1 AND {others}", (tx.fleet, json.dumps(list(clusters))))  # noqa: S608


def has_news(tx: Transaction, steady: timedelta) -> bool:
    """Whether `tell_history` or `end_absent_alerts` would write."""
    row = tx.execute(
        "SELECT EXISTS (SELECT 1 FROM run WHERE NOT told AND finished IS NOT NULL)"
        " OR EXISTS (SELECT 1 FROM alert WHERE absent <= ?)"
        " OR coalesce((SELECT max(number) FROM act), 0) !="
        " coalesce((SELECT position FROM told_position WHERE what = 'act'), -1)"
        " OR coalesce((SELECT max(number) FROM operation), 0) !="
        " coalesce((SELECT position FROM told_position WHERE what = 'operation'), -1) AS news",
        (format_timestamp(tx.now - steady),),
    ).fetchone()
    return bool(row["news"])


def tell_history(tx: Transaction, rules: TellingRules) -> None:
    """Queue notices of new orders and operations, and record the failed runs as alerts."""
    is_first = tx.execute("SELECT 1 FROM told_position LIMIT 1").fetchone() is None
    for table, tell in (("act", _tell_order), ("operation", _tell_operation)):
        rows = _read_new_rows(tx, table)
        notices = [] if is_first else [one for row in rows for one in tell(row)]
        queue_notices(tx, notices, rules.route)
    if is_first:
        tx.execute("UPDATE run SET told = TRUE WHERE finished IS NOT NULL AND NOT told")
    _tell_runs(tx, rules)
    end_absent_alerts(tx, rules)


def _read_new_rows(tx: Transaction, table: str) -> list[Row]:
    """Rows of a table of the history that were not read before."""
    position = tx.execute("SELECT position FROM told_position WHERE what = ?", (table,)).fetchone()
    after = position["position"] if position is not None else -1
    rows = tx.execute(
        f"SELECT * FROM {table} WHERE number > ? ORDER BY number LIMIT ?",  # noqa: S608
        (after, _MOST_ROWS),
    ).fetchall()
    (newest,) = tx.execute(f"SELECT coalesce(max(number), 0) FROM {table}").fetchone()  # noqa: S608
    # A backup may have fewer rows than were told; without a position, everything before is passed over.
    last = rows[-1]["number"] if rows and position is not None else newest
    tx.execute(
        "INSERT INTO told_position (what, position) VALUES (?, ?)"
        " ON CONFLICT (what) DO UPDATE SET position = excluded.position",
        (table, last),
    )
    oldest = format_timestamp(tx.now - _AGE)
    return [row for row in rows if row["at"] >= oldest]


def _tell_order(row: Row) -> Iterator[Notice]:
    if row["kind"] not in _ORDERS:
        return
    event, words = _ORDERS[row["kind"]]
    until = format_minute(parse_timestamp(row["until"])) if row["until"] else "released"
    where = row["cluster"] or ("" if event is AlertEvent.TOKEN else "all clusters")
    title = words.format(node=row["node"], until=until)
    yield _make_order_notice(event, f"{where}: {title}" if where else title, row)


def _tell_operation(row: Row) -> Iterator[Notice]:
    if row["kind"] == _PURGE:
        title = f"{row['cluster']}: a purge is ordered"
        yield _make_order_notice(AlertEvent.PURGED, title, row)


def _make_order_notice(event: AlertEvent, title: str, row: Row) -> Notice:
    actor: Actor = load_actor(row["actor"])
    by, why = actor.description, actor.why
    lines = (f"by {by}" if by else "", f"reason: {why}" if why else "")
    details = tuple(line for line in lines if line)
    return Notice(event, AlertSeverity.INFO, title, parse_timestamp(row["at"]), row["cluster"], details)


def _tell_runs(tx: Transaction, rules: TellingRules) -> None:
    """Record the runs that have ended with failed steps as alerts, which end with a pass that is good."""
    runs = tx.execute(
        "SELECT number, id, fleet, short, revision, finished FROM run"
        " WHERE NOT told AND finished IS NOT NULL ORDER BY number LIMIT ?",
        (_MOST_ROWS,),
    ).fetchall()
    oldest = format_timestamp(tx.now - _AGE)
    for run in runs:
        if run["finished"] >= oldest:
            for alert in _list_failures(tx, run):
                _add_alert(tx.for_fleet(run["fleet"]), alert, rules)
    tx.execute_many("UPDATE run SET told = TRUE WHERE number = ?", [(run["number"],) for run in runs])


def _list_failures(tx: Transaction, run: Row) -> Iterator[Alert]:
    """One alert for each cluster with failed steps of a run."""
    steps = tx.execute(
        "SELECT cluster, node, reason FROM step"  # noqa: S608
        f" WHERE run = ? AND state IN {_FAILED} AND intended IS NOT NULL ORDER BY position LIMIT ?",
        (run["number"], _MOST_STEPS),
    ).fetchall()
    for cluster in sorted({step["cluster"] for step in steps}):
        own = [step for step in steps if step["cluster"] == cluster]
        nodes = tuple(dict.fromkeys(step["node"] or cluster for step in own))
        reasons = dict.fromkeys(f"{step['node']}: {step['reason']}" for step in own if step["reason"])
        yield Alert(
            AlertEvent.RUN_FAILED,
            AlertSeverity.ERROR,
            f"{cluster}: steps of a run failed or have no known result at {format_node_names(nodes)}",
            nodes,
            cluster,
            details=(f"run {run['id']}, revision {run['short'] or run['revision']}", *reasons),
            remedy=f"`reconcile history {run['id']}` shows each step; the watch tries again by itself",
            end_title=f"{cluster}: as desired again",
        )


def _list_rejections(tx: Transaction, cluster: str) -> Iterator[Alert]:
    """One alert for the revisions that failed their gates in a cluster."""
    rows = tx.execute(
        "SELECT key, value FROM fact WHERE fleet = ? AND cluster = ? AND node = '' AND key LIKE ?"
        " ORDER BY since DESC LIMIT ?",
        (tx.fleet, cluster, f"{REJECTED}%", _MOST_ROWS),
    ).fetchall()
    if not rows:
        return
    newest = json.loads(rows[0]["value"])
    yield Alert(
        AlertEvent.REVISION_REJECTED,
        AlertSeverity.CRITICAL,
        f"{cluster}: revision {newest['short']} failed and is not applied again",
        tuple(row["key"] for row in rows),
        cluster,
        details=(newest["reason"],),
        remedy=f"commit a correction; or `reconcile retry {cluster}` applies it again",
        end_title=f"{cluster}: no revision is rejected any more",
    )


def _add_alert(tx: Transaction, alert: Alert, rules: TellingRules) -> None:
    """Record an alert beside the others; its members that are known stay."""
    row = tx.execute(
        "SELECT * FROM alert WHERE fleet = ? AND cluster = ? AND event = ? AND subject = ?",
        (tx.fleet, alert.cluster, alert.event.value, alert.subject),
    ).fetchone()
    known = [_make_open_alert(row)] if row is not None else []
    _write_changes(tx, compare_alerts(known, [alert], tx.now, rules.steady), rules)


def _write_changes(tx: Transaction, changes: AlertChanges, rules: TellingRules) -> None:
    tx.execute_many(
        "DELETE FROM alert WHERE (fleet, cluster, event, subject) = (?, ?, ?, ?)",
        [(tx.fleet, one.cluster, one.event.value, one.subject) for one in changes.ended],
    )
    tx.execute_many(
        "INSERT INTO alert (fleet, cluster, event, subject, severity, end_title, since, members, absent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fleet, cluster, event, subject) DO UPDATE SET"
        " severity = excluded.severity, end_title = excluded.end_title, members = excluded.members,"
        " absent = excluded.absent",
        [_make_row(tx, one) for one in changes.written],
    )
    queue_notices(tx, changes.notices, rules.route)


def _make_row(tx: Transaction, one: OpenAlert) -> tuple[object, ...]:
    members = {name: format_timestamp(since) if since else None for name, since in one.members.items()}
    return (
        tx.fleet,
        one.cluster,
        one.event.value,
        one.subject,
        one.severity.value,
        one.end_title,
        format_timestamp(one.since),
        json.dumps(members),
        format_timestamp(one.absent_since) if one.absent_since else None,
    )


def _make_open_alert(row: Row) -> OpenAlert:
    members = json.loads(row["members"])
    return OpenAlert(
        AlertEvent(row["event"]),
        row["cluster"],
        row["subject"],
        AlertSeverity(row["severity"]),
        row["end_title"],
        parse_timestamp(row["since"]),
        {name: parse_timestamp(since) if since else None for name, since in members.items()},
    )
