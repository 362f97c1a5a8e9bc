"""The outbox of notices: what waits for each address, and who sends it now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.alerts import AlertSeverity, Notice, load_notice
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.notification_store import AddressState, DeliveryEnd, Router, TakenNotices
from reconciler.store.sql.transaction import Row, Transaction

MOST_WAITING: Final = 1_000
"""Notices that wait for one address; the oldest are dropped beyond it, and counted."""

_WAITING: Final = """
    SELECT address, count(*) AS waiting, min(at) AS oldest, max(CASE WHEN urgent THEN 1 ELSE 0 END) AS urgent
    FROM notice GROUP BY address"""


def queue_notices(tx: Transaction, notices: Sequence[Notice], route: Router) -> None:
    """Put notices into the outbox of each address that gets them."""
    for notice in notices:
        for address in route(notice):
            _add_address(tx, address)
            is_urgent = notice.severity is AlertSeverity.CRITICAL
            tx.execute(
                "INSERT INTO notice (address, at, urgent, body) VALUES (?, ?, ?, ?)",
                (address, format_timestamp(notice.at), is_urgent, notice.encode()),
            )
            _drop_oldest(tx, address)


def read_addresses(tx: Transaction) -> Mapping[str, AddressState]:
    """The state of each address, by name."""
    waiting = {row["address"]: row for row in tx.execute(_WAITING)}
    known = {row["address"]: row for row in tx.execute("SELECT * FROM notice_address")}
    return {
        address: _make_state(tx, address, known.get(address), waiting.get(address))
        for address in sorted(known.keys() | waiting.keys())
    }


def take_notices(
    tx: Transaction,
    address: str,
    holder: str,
    seconds: float,
    is_due: Callable[[AddressState, datetime], bool],
) -> TakenNotices | None:
    """Take what waits for an address, if it is due and nobody sends it now; see the port."""
    state = read_addresses(tx).get(address)
    if state is None or state.holder or not state.waiting or not is_due(state, tx.now):
        return None
    rows = tx.execute("SELECT number, body FROM notice WHERE address = ? ORDER BY number", (address,))
    found = rows.fetchall()
    until = format_timestamp(tx.now + timedelta(seconds=seconds))
    tx.execute("UPDATE notice_address SET holder = ?, until = ? WHERE address = ?", (holder, until, address))
    notices = tuple(load_notice(row["body"]) for row in found)
    return TakenNotices(notices, found[-1]["number"], state, tx.now)


def end_delivery(tx: Transaction, address: str, holder: str, last: int, end: DeliveryEnd) -> int:
    """Write what came of an attempt; gives how many notices it gave up."""
    row = tx.execute("SELECT * FROM notice_address WHERE address = ?", (address,)).fetchone()
    if row is None or row["holder"] != holder:
        return 0  # it took too long, and another process has taken them since: its result counts
    if end.problem:
        return _end_failed(tx, row, last, end)
    tx.execute("DELETE FROM notice WHERE address = ? AND number <= ?", (address, last))
    sent = [*json.loads(row["sent"]), tx.timestamp][-end.kept_times :] if end.kept_times else []
    tx.execute(
        "UPDATE notice_address SET holder = '', failures = 0, next_try = NULL, problem = '', dropped = 0,"
        " sent = ? WHERE address = ?",
        (json.dumps(sent), address),
    )
    return 0


def drop_addresses(tx: Transaction, known: Sequence[str], age: timedelta) -> int:
    """Give up old notices of addresses that no host has any more."""
    limit = format_timestamp(tx.now - age)
    given_up = 0
    for address, state in read_addresses(tx).items():
        if address in known:
            continue
        gone = tx.execute("DELETE FROM notice WHERE address = ? AND at < ?", (address, limit)).rowcount
        given_up += gone
        if gone == state.waiting:
            tx.execute("DELETE FROM notice_address WHERE address = ? AND until < ?", (address, limit))
    return given_up


def _end_failed(tx: Transaction, row: Row, last: int, end: DeliveryEnd) -> int:
    address = row["address"]
    given_up = tx.execute(
        "DELETE FROM notice WHERE address = ? AND number <= ? AND at < ?",
        (address, last, format_timestamp(tx.now - end.give_up)),
    ).rowcount
    tx.execute(
        "UPDATE notice_address SET holder = '', failures = failures + 1, next_try = ?, problem = ?,"
        " given_up = given_up + ? WHERE address = ?",
        (format_timestamp(end.next_try or tx.now), end.problem, given_up, address),
    )
    return given_up


def _add_address(tx: Transaction, address: str) -> None:
    tx.execute(
        "INSERT INTO notice_address (address, holder, until, sent, failures, problem, given_up, dropped)"
        " VALUES (?, '', '', '[]', 0, '', 0, 0) ON CONFLICT DO NOTHING",
        (address,),
    )


def _drop_oldest(tx: Transaction, address: str) -> None:
    """Keep `MOST_WAITING` notices; those that are dropped are counted, and the next message says how many."""
    (waiting,) = tx.execute("SELECT count(*) FROM notice WHERE address = ?", (address,)).fetchone()
    if waiting <= MOST_WAITING:
        return
    dropped = tx.execute(
        "DELETE FROM notice WHERE number IN"
        " (SELECT number FROM notice WHERE address = ? ORDER BY number LIMIT ?)",
        (address, waiting - MOST_WAITING),
    ).rowcount
    tx.execute("UPDATE notice_address SET dropped = dropped + ? WHERE address = ?", (dropped, address))


def _make_state(tx: Transaction, address: str, own: Row | None, waiting: Row | None) -> AddressState:
    state = AddressState(address)
    if own is not None:
        state = AddressState(
            address,
            # Of a process that was killed, the turn ends by itself.
            holder=own["holder"] if own["until"] > tx.timestamp else "",
            sent=tuple(parse_timestamp(one) for one in json.loads(own["sent"])),
            failures=own["failures"],
            next_try=parse_timestamp(own["next_try"]) if own["next_try"] else None,
            problem=own["problem"],
            given_up=own["given_up"],
            dropped=own["dropped"],
        )
    if waiting is None:
        return state
    return replace(
        state,
        waiting=waiting["waiting"],
        oldest=parse_timestamp(waiting["oldest"]),
        is_urgent=bool(waiting["urgent"]),
    )
