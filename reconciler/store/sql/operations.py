"""Operations that people ask for beside the desired state: functions over a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from reconciler.core.actor import load_actor
from reconciler.core.operations import QUEUED, Operation, OperationResult, OperationState
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.errors import UsageError
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.transaction import Row, Transaction

KEPT_OPERATIONS: Final = 1_000
"""Operations of a fleet that the history keeps, the newest ones; one that is not over stays."""

_TARGETS: Final = "targets of an operation"
_REASON: Final = "reason of a result"

_REPORTED_WITHIN: Final = timedelta(hours=24)
"""How old an operation may be for a report about its call to count."""

_CALLED: Final = frozenset({OperationState.SENT, OperationState.OVERDUE})

_ORDER: Final = {
    OperationState.PENDING: 0,
    OperationState.OFFERED: 1,
    OperationState.SENT: 2,
    OperationState.OVERDUE: 3,
    OperationState.SKIPPED: 4,
    OperationState.FAILED: 5,
    OperationState.DONE: 6,
}
"""A state replaces only earlier ones: a repeated report of a node counts once, a late one still counts."""


def write_operation(tx: Transaction, key: HostKey, operation: Operation) -> None:
    """Write an operation with all its nodes pending."""
    tx.execute(
        "INSERT INTO operation (id, fleet, kind, cluster, sealed, actor, at, deadline, direct, waves)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            operation.id,
            tx.fleet,
            operation.kind,
            operation.cluster,
            key.seal(json.dumps(operation.targets).encode(), _TARGETS),
            operation.actor.encode(),
            format_timestamp(operation.at),
            format_timestamp(operation.deadline),
            operation.direct,
            json.dumps(operation.waves),
        ),
    )
    write_results(tx, key, operation.id, list(operation.results.values()))
    tx.execute(
        "DELETE FROM operation WHERE fleet = ?1 AND ended IS NOT NULL AND number <= (SELECT number"
        " FROM operation WHERE fleet = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        (tx.fleet, KEPT_OPERATIONS),
    )


def write_results(tx: Transaction, key: HostKey, operation: str, results: Sequence[OperationResult]) -> None:
    """Write states of nodes in an operation."""
    row = tx.execute("SELECT number FROM operation WHERE id = ?", (operation,)).fetchone()
    if row is None:
        return
    for result in results:
        known = tx.execute(
            "SELECT state FROM operation_result WHERE operation = ? AND node = ?",
            (row["number"], result.node),
        ).fetchone()
        if known and _ORDER[OperationState(known["state"])] >= _ORDER[result.state]:
            continue
        tx.execute(
            "INSERT INTO operation_result (operation, node, state, reason, totals, at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (operation, node) DO UPDATE SET state = excluded.state,"
            " reason = excluded.reason, totals = excluded.totals, at = excluded.at",
            (
                row["number"],
                result.node,
                result.state,
                # It quotes targets, and what a node says.
                key.seal(result.reason.encode(), _REASON) if result.reason else b"",
                json.dumps(dict(result.totals), sort_keys=True),
                format_timestamp(result.at or tx.now),
            ),
        )


def write_reported_result(tx: Transaction, key: HostKey, offer: str, result: OperationResult) -> None:
    """Write the result of the operation to which an offer belongs; nothing for an offer of a run."""
    row = tx.execute(
        "SELECT node_offer.run, polled_node.node FROM node_offer"
        " JOIN polled_node ON polled_node.number = node_offer.node WHERE node_offer.id = ?",
        (offer,),
    ).fetchone()
    if row is not None:
        write_results(tx, key, row["run"], [replace(result, node=row["node"])])


def write_called_result(
    tx: Transaction, key: HostKey, caller: Mapping[str, Any], targets: Sequence[str], result: OperationResult
) -> None:
    """Write what a node, given by its row, reports of an operation whose call did not settle it."""
    # The oldest one with these targets is meant: a node reports its calls in turn.
    rows = tx.execute(
        "SELECT operation.number, operation.sealed, own.state, own.totals FROM operation"
        " JOIN operation_result AS own ON own.operation = operation.number AND own.node = ?"
        " WHERE operation.fleet = ? AND operation.cluster = ? AND operation.direct AND operation.at > ?"
        " ORDER BY operation.number",
        (caller["node"], caller["fleet"], caller["cluster"], format_timestamp(tx.now - _REPORTED_WITHIN)),
    ).fetchall()
    for row in rows:
        is_open = row["state"] in _CALLED or (
            row["state"] == OperationState.DONE and QUEUED in json.loads(row["totals"])
        )
        opened = key.unseal(row["sealed"], _TARGETS) if is_open else None
        if opened is None or set(json.loads(opened)) != set(targets):
            continue
        tx.execute(
            "UPDATE operation_result SET state = ?, reason = ?, totals = ?, at = ?"
            " WHERE operation = ? AND node = ?",
            (
                result.state,
                key.seal(result.reason.encode(), _REASON) if result.reason else b"",
                json.dumps(dict(result.totals), sort_keys=True),
                format_timestamp(result.at or tx.now),
                row["number"],
                caller["node"],
            ),
        )
        return


def end_operation(tx: Transaction, operation: str) -> None:
    """Write that an operation has ended."""
    tx.execute("UPDATE operation SET ended = ? WHERE id = ? AND ended IS NULL", (tx.timestamp, operation))


def read_open_operations(tx: Transaction, key: HostKey) -> tuple[Operation, ...]:
    """The operations of a fleet that have not ended, oldest first; for the host those of all fleets."""
    rows = tx.execute(
        "SELECT * FROM operation WHERE ended IS NULL AND ? IN (0, fleet) ORDER BY number", (tx.fleet,)
    ).fetchall()
    return tuple(_read_operation(tx, key, row) for row in rows)


def read_operation(tx: Transaction, key: HostKey, text: str) -> Operation:
    """The operation with this id, or the only one whose id begins with it.

    Raises:
        UsageError: no operation, or several.
    """
    # `substr`, not LIKE: a `%` or `_` from the command line must not match other ids.
    rows = tx.execute(
        "SELECT * FROM operation WHERE ?1 != '' AND substr(id, 1, length(?1)) = ?1 ORDER BY number DESC",
        (text,),
    ).fetchall()
    exact = [row for row in rows if row["id"] == text] or rows
    if len(exact) != 1:
        raise UsageError(
            f"{len(exact) or 'no'} operations begin with {text!r}",
            remedy="`reconcile history operations` lists them",
        )
    return _read_operation(tx, key, exact[0])


def read_operations(tx: Transaction, key: HostKey, limit: int) -> tuple[Operation, ...]:
    """The newest operations of a fleet, newest first; for the host those of all fleets."""
    rows = tx.execute(
        "SELECT * FROM operation WHERE ?1 IN (0, fleet) ORDER BY number DESC LIMIT ?2", (tx.fleet, limit)
    ).fetchall()
    return tuple(_read_operation(tx, key, row) for row in rows)


def _read_operation(tx: Transaction, key: HostKey, row: Row) -> Operation:
    targets = key.unseal(row["sealed"], _TARGETS)
    results = tx.execute("SELECT * FROM operation_result WHERE operation = ?", (row["number"],)).fetchall()
    return Operation(
        id=row["id"],
        kind=row["kind"],
        cluster=row["cluster"],
        targets=tuple(json.loads(targets)) if targets is not None else (),
        actor=load_actor(row["actor"]),
        at=parse_timestamp(row["at"]),
        deadline=parse_timestamp(row["deadline"]),
        direct=bool(row["direct"]),
        waves=tuple(tuple(wave) for wave in json.loads(row["waves"])),
        results={
            one["node"]: OperationResult(
                one["node"],
                OperationState(one["state"]),
                _read_reason(key, one["reason"]),
                json.loads(one["totals"]),
                parse_timestamp(one["at"]) if one["at"] else None,
            )
            for one in results
        },
    )


def _read_reason(key: HostKey, stored: bytes | str) -> str:
    """Why a node has a result; empty if this host cannot decrypt it any more."""
    if isinstance(stored, str):
        return stored
    return (key.unseal(stored, _REASON) or b"").decode()
