"""Orders of operators and results of runs: suspensions, pins, rejections, approvals.

They are facts of a cluster, or of all clusters under the empty name, and contain JSON. A suspension by
command belongs to the host: it stops every cluster of that name, or every cluster of every fleet.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import HOST
from reconciler.core.memory import Suspension
from reconciler.core.pins import LeftRevision, Pin
from reconciler.core.plan import Revision
from reconciler.core.rollout_rules import PendingReturn, format_returns, load_returns, replace_return
from reconciler.core.timestamps import parse_timestamp
from reconciler.ports.store import Approval, ApprovalRequest, OpenOrders, Rejection
from reconciler.store.sql.facts import (
    APPROVED,
    ASKED,
    PINNED,
    REJECTED,
    RETURN,
    ROLLOUT,
    SUSPENDED,
    forget_attempts,
    write_cluster_facts,
)
from reconciler.store.sql.order_records import find_approved_cluster, write_order_record
from reconciler.store.sql.reservations import read_holds
from reconciler.store.sql.transaction import Transaction

_PERSON = 12
"""Characters of the digest of a person's name in the key of an approval."""


def write_suspension(tx: Transaction, cluster: str, reason: str, by: Actor) -> None:
    """Suspend a cluster, or all, until `resume`."""
    write_cluster_facts(tx.for_fleet(HOST), cluster, {SUSPENDED: _json(reason=reason, by=by.description)})
    write_order_record(tx, "suspend", replace(by, why=reason), cluster=cluster)


def delete_suspension(tx: Transaction, cluster: str, by: Actor) -> None:
    """Delete a suspension."""
    write_cluster_facts(tx.for_fleet(HOST), cluster, {SUSPENDED: ""})
    write_order_record(tx, "resume", by, cluster=cluster)


def write_rejection(
    tx: Transaction,
    cluster: str,
    revision: Revision,
    reason: str,
    *,
    ends_rollout: bool,
    content: str = "",
    pending: PendingReturn | None = None,
) -> None:
    """Reject a revision and its content in a cluster, with what is to do for the offers of its wave."""
    over = {ROLLOUT: ""} if ends_rollout else {}
    # In the transaction of the rejection: nobody else would ever do it after a kill.
    if pending is not None:
        over |= _replace_return(tx, cluster, pending.run, pending)
    rejection = {f"{REJECTED}{revision.id}": _json(short=revision.short, reason=reason, content=content)}
    write_cluster_facts(tx, cluster, rejection | over)


def delete_failures(tx: Transaction, cluster: str, node: str, by: Actor) -> tuple[str, ...]:
    """Let a cluster, or one node of it, be tried again; gives the nodes and revisions that were given up."""
    nodes = forget_attempts(tx, cluster, node)
    found = [one for one in read_orders(tx).rejections if one.cluster == cluster] if not node else []
    for one in found:
        tx.execute(
            "DELETE FROM fact WHERE cluster = ? AND node = '' AND key = ? AND ? IN (0, fleet)",
            (cluster, f"{REJECTED}{one.revision}", tx.fleet),
        )
    write_order_record(tx, "retry", by, cluster=cluster, node=node)
    return (*nodes, *(f"revision {one.short or one.revision} of {cluster}" for one in found))


def write_look(tx: Transaction, cluster: str, by: Actor) -> None:
    """Record that somebody ordered a pass over a cluster, or over all."""
    write_order_record(tx, "look", by, cluster=cluster)


def write_return(tx: Transaction, cluster: str, run: str, pending: PendingReturn | None) -> None:
    """Write what is still to do for the offers of the wave that a run rejected; None if all is done."""
    write_cluster_facts(tx, cluster, _replace_return(tx, cluster, run, pending))


def _replace_return(tx: Transaction, cluster: str, run: str, pending: PendingReturn | None) -> dict[str, str]:
    row = tx.execute(
        "SELECT value FROM fact WHERE fleet = ? AND cluster = ? AND node = '' AND key = ?",
        (tx.fleet, cluster, RETURN),
    ).fetchone()
    known = load_returns(row["value"]) if row else ()
    return {RETURN: format_returns(replace_return(known, run, pending))}


def write_pin(
    tx: Transaction, cluster: str, revision: Revision, left: tuple[LeftRevision, ...], by: Actor
) -> None:
    """Pin a cluster to the revision that it is rolled back to; without `left`, end its pin."""
    known = _find_pin(tx, cluster)
    if known is not None and known.left == left and known.revision and known.revision.id == revision.id:
        return  # the same rollback again: it stays known who began it, and when
    if left:
        value = {
            "revision": revision.plain(),
            "left": [asdict(one) for one in left],
            "by": by.description,
            "reason": by.why,
        }
        _write_pin_fact(tx, cluster, json.dumps(value, sort_keys=True))
        away = ", ".join(one.name for one in left)
        words = f"at {revision.short or revision.id}, rolled back from {away}"
        write_order_record(tx, "pin", _add_words(by, words), cluster=cluster)
    elif known is not None:
        _write_pin_fact(tx, cluster, "")
        words = f"rolled back to {revision.short or revision.id}"
        write_order_record(tx, "unpin", _add_words(by, words), cluster=cluster)


def delete_pin(tx: Transaction, cluster: str, by: Actor) -> tuple[str, ...]:
    """End the pin of a cluster, for the host of that cluster in every fleet; gives where it was pinned."""
    ended: list[str] = []
    rows = tx.execute(
        "SELECT DISTINCT fleet FROM fact WHERE cluster = ? AND node = '' AND (? = 0 OR fleet = ?)"
        " AND (key = ? OR key LIKE ?)",
        (cluster, tx.fleet, tx.fleet, PINNED, f"{REJECTED}%"),
    ).fetchall()
    for row in rows:
        own = tx.for_fleet(row["fleet"])
        pin = _find_pin(own, cluster)
        if pin is not None:
            _write_pin_fact(own, cluster, "")
            write_order_record(own, "unpin", by, cluster=cluster)
            ended.append(pin.place)
    return tuple(ended)


def _find_pin(tx: Transaction, cluster: str) -> Pin | None:
    return next((one for one in read_orders(tx).pins if one.cluster == cluster), None)


def _write_pin_fact(tx: Transaction, cluster: str, value: str) -> None:
    # A version before pins wrote each revision that was left as a rejection.
    rows = tx.execute(
        "SELECT key, value FROM fact WHERE fleet = ? AND cluster = ? AND node = '' AND key LIKE ?",
        (tx.fleet, cluster, f"{REJECTED}%"),
    ).fetchall()
    former = [row["key"] for row in rows if json.loads(row["value"]).get("rolled_back")]
    write_cluster_facts(tx, cluster, {**dict.fromkeys(former, ""), PINNED: value})


def _add_words(by: Actor, words: str) -> Actor:
    return replace(by, why=f"{words}: {by.why}" if by.why else words)


def write_approval_request(tx: Transaction, cluster: str, digest: str, short: str, words: str) -> None:
    """Write the plan that waits for an approval; there is one for each cluster."""
    write_cluster_facts(tx, cluster, {ASKED: _json(digest=digest, short=short, words=words)})


def write_approval(tx: Transaction, digest: str, by: Actor, reason: str) -> None:
    """Approve a plan, for the fleet that requested it; the digest identifies the cluster."""
    # Whoever approves gives a digest alone and does not know the number of the fleet.
    requests = tx.execute("SELECT fleet, cluster, value FROM fact WHERE node = '' AND key = ?", (ASKED,))
    asked = [row for row in requests.fetchall() if json.loads(row["value"])["digest"] == digest]
    fleet, cluster = (asked[0]["fleet"], asked[0]["cluster"]) if asked else (HOST, "")
    owner = tx.for_fleet(fleet)
    # One for each person: the second of two approvals must not take the place of the first.
    person = hashlib.sha256(by.description.encode("utf-8", "surrogatepass")).hexdigest()[:_PERSON]
    key = f"{APPROVED}{digest}/{person}"
    write_cluster_facts(owner, "", {key: _json(by=by.description, reason=reason)})
    write_order_record(tx, "approve", replace(by, why=reason), cluster=cluster, digest=digest)


def delete_approval(tx: Transaction, digest: str) -> None:
    """Delete an approval, which is for one run."""
    write_order_record(tx, "approval used", Actor(), cluster=find_approved_cluster(tx, digest), digest=digest)
    # It is the host's if it was given before any fleet requested it.
    for owner in {tx.fleet, HOST}:
        rows = tx.execute(
            "SELECT key FROM fact WHERE fleet = ?1 AND cluster = '' AND node = ''"
            " AND (key = ?2 OR substr(key, 1, length(?3)) = ?3)",
            (owner, f"{APPROVED}{digest}", f"{APPROVED}{digest}/"),
        )
        write_cluster_facts(tx.for_fleet(owner), "", {row["key"]: "" for row in rows.fetchall()})


def read_orders(tx: Transaction) -> OpenOrders:
    """All open orders of a fleet; for the host those of all fleets."""
    found: dict[str, list[tuple[str, str, dict[str, Any], datetime]]] = defaultdict(list)
    rows = tx.execute(
        "SELECT cluster, key, value, since FROM fact WHERE node = '' AND (? = 0 OR fleet IN (0, ?))"
        " ORDER BY cluster, since, key, fleet",
        (tx.fleet, tx.fleet),
    )
    for row in rows:
        kind, slash, name = row["key"].partition("/")
        if kind + slash in {SUSPENDED, ASKED, APPROVED, REJECTED, PINNED}:
            found[kind].append(
                (row["cluster"], name, json.loads(row["value"]), parse_timestamp(row["since"]))
            )
    return OpenOrders(
        suspensions=tuple(
            Suspension(cluster, since=at, **value) for cluster, _, value, at in found[SUSPENDED]
        ),
        rejections=tuple(
            Rejection(cluster, name, since=at, **value)
            for cluster, name, value, at in found["rejected"]
            if not value.get("rolled_back")
        ),
        pins=_load_pins(found),
        requests=tuple(
            ApprovalRequest(cluster, since=at, description=value.pop("words"), **value)
            for cluster, _, value, at in found[ASKED]
        ),
        approvals=tuple(
            Approval(name.partition("/")[0], since=at, **value) for _, name, value, at in found["approved"]
        ),
        holds=read_holds(tx),
    )


def _load_pins(found: Mapping[str, list[tuple[str, str, dict[str, Any], datetime]]]) -> tuple[Pin, ...]:
    pins = {
        cluster: Pin(
            cluster,
            Revision(**value["revision"]),
            tuple(LeftRevision(**one) for one in value["left"]),
            value["by"],
            value["reason"],
            at,
        )
        for cluster, _, value, at in found[PINNED]
    }
    # As a version before pins wrote them: one rejection for each revision that was left.
    former: dict[str, list[tuple[str, dict[str, Any], datetime]]] = defaultdict(list)
    for cluster, name, value, at in found["rejected"]:
        if value.get("rolled_back") and cluster not in pins:
            former[cluster].append((name, value, at))
    for cluster, rejected in former.items():
        left = tuple(
            LeftRevision(name, value.get("short", ""), value.get("content", ""))
            for name, value, _ in rejected
        )
        _, newest, at = rejected[-1]
        pins[cluster] = Pin(cluster, None, left, "", newest["reason"], at)
    return tuple(pins[cluster] for cluster in sorted(pins))


def _json(**value: str) -> str:
    return json.dumps(value, sort_keys=True)
