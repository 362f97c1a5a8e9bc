"""Reads the memory of a fleet as of one moment: functions over a transaction."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from reconciler.core.memory import (
    AppliedRevision,
    ClusterMemory,
    FleetMemory,
    PendingCall,
    PlaceClaim,
    Suspension,
)
from reconciler.core.outcome import State
from reconciler.core.pins import Pin
from reconciler.core.plan import Revision
from reconciler.core.reservations import Reservation
from reconciler.core.rollout_rules import load_progress, load_returns
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.store import REFERENCES, OpenOrders, Rejection
from reconciler.store.sql.facts import (
    APPLIED,
    CONTENT,
    FORMER,
    KIND,
    NAMES,
    NODES,
    RETURN,
    REVISION,
    ROLLOUT,
    SOURCE,
)
from reconciler.store.sql.fleets import read_fleets
from reconciler.store.sql.orders import read_orders
from reconciler.store.sql.reservations import read_reservations
from reconciler.store.sql.transaction import Transaction

WINDOW = timedelta(days=31)
"""How long a change counts for budgets: the longest window of a policy."""

_HISTORY = (NODES, APPLIED, ROLLOUT)
"""Each of these facts of a cluster says that it has a history."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of a fleet, or of one cluster.

    Args:
        nodes: cluster -> node -> key -> value.
        clusters: cluster -> key -> value, of the cluster itself.
        revisions: cluster -> node -> the revision that it showed.
    """

    nodes: Mapping[str, Mapping[str, Mapping[str, str]]]
    clusters: Mapping[str, Mapping[str, str]]
    revisions: Mapping[str, Mapping[str, AppliedRevision]]


def read_memory(tx: Transaction, without_nodes: Collection[str] = ()) -> FleetMemory:
    """The memory of a fleet: facts of its nodes, and the history of each cluster.

    Args:
        tx: the transaction.
        without_nodes: clusters whose nodes are left out.
    """
    # By the database: a pass over one of many clusters would else make objects of all nodes of the fleet.
    left_out = (f"cluster NOT IN {tx.texts('?2')}", json.dumps(sorted(without_nodes)))
    facts = _read_facts(tx, f"(node = '' OR {left_out[0]})", left_out[1])
    changed, open_orders = _list_changes(tx, *left_out), read_orders(tx)
    orders, reserved = _sort_orders(open_orders), _group(read_reservations(tx))
    with_history = {name for name, known in facts.clusters.items() if not known.keys().isdisjoint(_HISTORY)}
    # A cluster without a history of its own may have an order by its name, or nodes seen at a revision.
    names = with_history | changed.keys() | facts.revisions.keys() | orders.keys() | reserved.keys()
    return FleetMemory(
        fleet=tx.fleet,
        facts=facts.nodes,
        cluster_memory={
            name: _make_cluster_memory(name, facts, changed, orders, reserved)
            for name in sorted(names - {""})
        },
        all_clusters=_make_fleet_orders(open_orders),
        at=tx.now,
        applied_revisions=_list_acted_revisions(tx),
        claims=_read_claims(tx, *left_out),
        pending_calls=_read_pending_calls(tx),
    )


def read_cluster_memory(tx: Transaction, cluster: str) -> FleetMemory:
    """The history of one cluster, and what applies to all, without claims, revisions and pending calls."""
    facts, open_orders = _read_facts(tx, "cluster = ?2", cluster), read_orders(tx)
    changed, reserved = _list_changes(tx, "cluster = ?2", cluster), _group(read_reservations(tx))
    own = _make_cluster_memory(cluster, facts, changed, _sort_orders(open_orders), reserved)
    return FleetMemory(
        fleet=tx.fleet,
        facts=facts.nodes,
        cluster_memory={cluster: own},
        all_clusters=_make_fleet_orders(open_orders),
        at=tx.now,
    )


class _OfCluster(Protocol):
    """An order about a cluster."""

    @property
    def cluster(self) -> str:
        """Its name; empty for all clusters."""


_OrderT = TypeVar("_OrderT", bound=_OfCluster)


def _group(found: Iterable[_OrderT]) -> dict[str, tuple[_OrderT, ...]]:
    groups: dict[str, list[_OrderT]] = defaultdict(list)
    for one in found:
        groups[one.cluster].append(one)
    return {cluster: tuple(some) for cluster, some in groups.items()}


@dataclass(frozen=True, slots=True)
class _ClusterOrders:
    """The open orders by the name of one cluster."""

    suspensions: tuple[Suspension, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    pin: Pin | None = None


_NO_ORDERS = _ClusterOrders()


def _sort_orders(open_orders: OpenOrders) -> dict[str, _ClusterOrders]:
    """Cluster -> its open orders; clusters without any are left out."""
    suspensions, rejections = _group(open_orders.suspensions), _group(open_orders.rejections)
    pins = {one.cluster: one for one in open_orders.pins}
    return {
        name: _ClusterOrders(suspensions.get(name, ()), rejections.get(name, ()), pins.get(name))
        for name in suspensions.keys() | rejections.keys() | pins.keys()
    }


def _read_facts(tx: Transaction, condition: str, argument: str) -> _Facts:
    nodes: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    own: dict[str, dict[str, str]] = defaultdict(dict)
    revisions: dict[str, dict[str, AppliedRevision]] = defaultdict(dict)
    rows = tx.execute(
        f"SELECT cluster, node, key, value, since FROM fact WHERE fleet = ?1 AND {condition}",  # noqa: S608
        (tx.fleet, argument),
    )
    for row in rows:
        cluster, node, key, value = row["cluster"], row["node"], row["key"], row["value"]
        if not node:
            own[cluster][key] = value
            continue
        nodes[cluster][node][key] = value
        if key == REVISION:
            revisions[cluster][node] = AppliedRevision(value, parse_timestamp(row["since"]))
    for cluster in own.keys() | revisions.keys():
        # A version before this fact existed applied the cluster.
        if KIND not in own[cluster] and NODES in own[cluster]:
            own[cluster][KIND] = find_kind_in_runs(tx, cluster)
    return _Facts({cluster: dict(some) for cluster, some in nodes.items()}, own, revisions)


def _make_fleet_orders(open_orders: OpenOrders) -> ClusterMemory:
    return ClusterMemory(
        suspended=tuple(one for one in open_orders.suspensions if not one.cluster),
        approved=frozenset(one.digest for one in open_orders.approvals),
    )


def _make_cluster_memory(
    cluster: str,
    facts: _Facts,
    changed: Mapping[str, Sequence[tuple[str, float]]],
    orders: Mapping[str, _ClusterOrders],
    reserved: Mapping[str, tuple[Reservation, ...]],
) -> ClusterMemory:
    own, ordered = facts.clusters.get(cluster, {}), orders.get(cluster, _NO_ORDERS)
    return ClusterMemory(
        nodes=int(own.get(NODES, "0")),
        names=frozenset(json.loads(own.get(NAMES, "[]"))),
        source=own.get(SOURCE, ""),
        applied=Revision(**json.loads(own[APPLIED])) if APPLIED in own else None,
        progress=load_progress(own[ROLLOUT]) if ROLLOUT in own else None,
        recent_changes=tuple(changed.get(cluster, ())),
        shown_revisions=facts.revisions.get(cluster, {}),
        kind=own.get(KIND, ""),
        former_names=tuple(json.loads(own.get(FORMER, "[]"))),
        references=frozenset(map(tuple, json.loads(own.get(REFERENCES, "[]")))),
        suspended=ordered.suspensions,
        rejected={one.revision: one.reason for one in ordered.rejections},
        rejected_contents={
            one.content: f"revision {one.short or one.revision} was rejected with it: {one.reason}"
            for one in ordered.rejections
            if one.content
        },
        pin=ordered.pin,
        content=own.get(CONTENT, ""),
        pending_returns=load_returns(own.get(RETURN, "[]")),
        reservations=reserved.get(cluster, ()),
    )


def find_kind_in_runs(tx: Transaction, cluster: str) -> str:
    """The kind of a cluster that an older version applied, by its latest run; empty for none."""
    row = tx.execute(
        "SELECT run.plan FROM step JOIN run ON run.number = step.run WHERE step.cluster = ? AND run.fleet = ?"
        " ORDER BY run.number DESC LIMIT 1",
        (cluster, tx.fleet),
    ).fetchone()
    plan = json.loads(zlib.decompress(row["plan"])) if row else {"clusters": []}
    return next((one["kind"] for one in plan["clusters"] if one["cluster"] == cluster), "")


def _read_pending_calls(tx: Transaction) -> tuple[PendingCall, ...]:
    rows = tx.execute(
        "SELECT step.cluster, step.node, step.id, run.id AS run, step.until, step.state FROM step"
        " JOIN run ON run.number = step.run WHERE step.until > ? AND run.fleet = ?"
        " AND (step.state IS NULL OR step.state IN ('unknown', 'offered'))"
        " ORDER BY step.cluster, step.node, step.id",
        (tx.timestamp, tx.fleet),
    )
    return tuple(
        PendingCall(
            row["cluster"],
            row["node"],
            row["id"],
            row["run"],
            parse_timestamp(row["until"]),
            is_offer=row["state"] == State.OFFERED,
        )
        for row in rows
    )


def _list_acted_revisions(tx: Transaction) -> tuple[tuple[str, str], ...]:
    rows = tx.execute(
        "SELECT revision, short FROM run WHERE number IN"
        " (SELECT max(number) FROM run WHERE acted AND fleet = ? GROUP BY revision) ORDER BY number",
        (tx.fleet,),
    )
    return tuple((row["revision"], row["short"]) for row in rows)


def _list_changes(tx: Transaction, condition: str, argument: str) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    rows = tx.execute(
        # The intent counts, not the outcome: a call whose answer was lost may have changed the node.
        "SELECT cluster, node, intended, run.number FROM step JOIN run ON run.number = step.run"  # noqa: S608
        f" WHERE intended >= ?1 AND {condition} AND run.fleet = ?3 ORDER BY intended, cluster, node",
        (format_timestamp(tx.now - WINDOW), argument, tx.fleet),
    )
    for row in rows:
        moment = parse_timestamp(row["intended"])
        if moment > tx.now:
            moment = _find_latest_moment(tx, row["number"], moment)
        # As an age: guards are pure and have no clock.
        hours = (tx.now - moment).total_seconds() / 3600
        found[row["cluster"]].append((row["node"], hours))
    return found


def _find_latest_moment(tx: Transaction, run: int, dated: datetime) -> datetime:
    """The latest moment at which a run can have made a change that is dated after now."""
    # The clock was ahead. Every later run began after this one, whatever its clock showed.
    (started,) = tx.execute("SELECT min(started) FROM run WHERE number > ?", (run,)).fetchone()
    return min(dated, parse_timestamp(started)) if started else dated


def _read_claims(tx: Transaction, condition: str, argument: str) -> dict[str, PlaceClaim]:
    labels = {one.number: one.label for one in read_fleets(tx)}
    # The claims of all other fleets: a node of this one must not be at such a place.
    rows = tx.execute(
        f"SELECT place, fleet, cluster, node FROM claim WHERE fleet != ?1 OR {condition}",  # noqa: S608
        (tx.fleet, argument),
    )
    return {
        row["place"]: PlaceClaim(row["fleet"], row["cluster"], row["node"], labels.get(row["fleet"], ""))
        for row in rows
    }
