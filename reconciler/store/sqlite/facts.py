"""What was learnt of clusters and nodes and is remembered from run to run: functions over a connection."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime

from reconciler.core import attempts
from reconciler.core.fleet_identity import HOST
from reconciler.core.rollout import RolloutProgress
from reconciler.core.timestamps import format_timestamp
from reconciler.ports.store import ClusterFacts

REVISION = "revision"
"""Fact of a node: the revision that it was last seen to run."""

NODES = "nodes"
"""Fact of a cluster, under the empty node name: how many nodes its last applied desired state named."""

NAMES = "names"
"""Fact of a cluster, under the empty node name: the names of these nodes, as JSON."""

SOURCE = "source"
"""Fact of a cluster, under the empty node name: where its last applied desired state was read."""

KIND = "kind"
"""Fact of a cluster, under the empty node name: the product that its nodes run."""

FORMER = "former"
"""Fact of a cluster, under the empty node name: the names that it had before, as JSON, the latest last."""

APPLIED = "applied"
"""Fact of a cluster, under the empty node name: the revision that was applied last, as JSON."""

CONTENT = "content"
"""Fact of a cluster, under the empty node name: keyed fingerprint of what was applied last."""

ROLLOUT = "rollout"
"""Fact of a cluster, under the empty node name: how far its rollout has come, as JSON."""

SUSPENDED = "suspended"
"""Fact of a cluster, or of the fleet under the empty cluster name: `reconcile suspend` was given for it."""

ASKED = "asked"
"""Fact of a cluster, under the empty node name: the plan that last waited for an approval."""

APPROVED = "approved/"
"""What a fact of the fleet begins with that a plan may be applied; its digest follows."""

REJECTED = "rejected/"
"""What a fact of a cluster begins with that a revision is not to be tried again; its id follows."""

EPOCH = "epoch"
"""Fact of a cluster, under no node name: the number of its latest holder; of the fleet, the highest."""


def write_facts(
    connection: sqlite3.Connection,
    fleet: int,
    cluster: str,
    facts: Mapping[str, Mapping[str, str]],
    now: datetime,
) -> None:
    """Keep facts by node and key; an empty value forgets, an unchanged one keeps its `since`.

    Args:
        connection: in a transaction.
        fleet: the number of the fleet whose memory it is.
        cluster: whose facts.
        facts: node -> key -> value.
        now: since when they hold.
    """
    keep = (
        "INSERT INTO fact (fleet, cluster, node, key, value, since) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (fleet, cluster, node, key) DO UPDATE SET value = excluded.value,"
        " since = excluded.since WHERE value IS NOT excluded.value"
    )
    forget = "DELETE FROM fact WHERE (fleet, cluster, node, key) = (?, ?, ?, ?)"
    for node in sorted(facts):
        for key, value in sorted(facts[node].items()):
            if value:
                connection.execute(keep, (fleet, cluster, node, key, value, format_timestamp(now)))
            else:
                connection.execute(forget, (fleet, cluster, node, key))


def write_cluster_facts(
    connection: sqlite3.Connection, fleet: int, cluster: str, facts: Mapping[str, str], now: datetime
) -> None:
    """Keep facts of a cluster itself, or of the whole fleet under the empty name; by key."""
    write_facts(connection, fleet, cluster, {"": facts}, now)


def write_pass(
    connection: sqlite3.Connection, fleet: int, cluster: str, found: ClusterFacts, now: datetime
) -> None:
    """Write down what a pass established of a cluster."""
    own: dict[str, str] = {}
    if found.members is not None:
        own |= {
            NODES: str(found.members.count),
            NAMES: json.dumps(found.members.names),
            SOURCE: found.members.source,
            KIND: found.members.kind,
            ASKED: "",
        }
    if found.applied is not None:
        own[APPLIED] = json.dumps(found.applied.plain(), sort_keys=True)
        own[CONTENT] = found.content
    if found.ends_rollout:
        own[ROLLOUT] = ""
    write_cluster_facts(connection, fleet, cluster, own, now)
    runs = {node: {REVISION: revision} for node, revision in found.runs.items()}
    write_facts(connection, fleet, cluster, runs, now)
    write_facts(connection, fleet, cluster, found.facts, now)


def forget_members(connection: sqlite3.Connection, fleet: int, cluster: str, now: datetime) -> None:
    """Forget who a cluster's desired state named, and where they are."""
    connection.execute("DELETE FROM claim WHERE fleet = ? AND cluster = ?", (fleet, cluster))
    write_cluster_facts(connection, fleet, cluster, {NODES: "", NAMES: "", SOURCE: "", FORMER: ""}, now)


def write_progress(
    connection: sqlite3.Connection, fleet: int, cluster: str, progress: RolloutProgress | None, now: datetime
) -> None:
    """Write down how far a rollout has come; None where it is over."""
    write_cluster_facts(connection, fleet, cluster, {ROLLOUT: progress.plain() if progress else ""}, now)


def write_claims(
    connection: sqlite3.Connection,
    fleet: int,
    taken: Mapping[str, tuple[str, str]],
    given_up: Iterable[str],
    now: datetime,
) -> None:
    """Write down which places a fleet looks after, as cluster and node, and which it names no more."""
    mine = [(place, fleet) for place in given_up]
    connection.executemany("DELETE FROM claim WHERE place = ? AND fleet = ?", mine)
    connection.executemany(
        "INSERT INTO claim (place, fleet, cluster, node, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT (place)"
        " DO UPDATE SET fleet = excluded.fleet, cluster = excluded.cluster, node = excluded.node,"
        " since = excluded.since WHERE (fleet, cluster, node)"
        " IS NOT (excluded.fleet, excluded.cluster, excluded.node)",
        [(place, fleet, *owner, format_timestamp(now)) for place, owner in sorted(taken.items())],
    )


def read_fact(connection: sqlite3.Connection, fleet: int, cluster: str, node: str, key: str) -> str:
    """One fact; empty where there is none."""
    row = connection.execute(
        "SELECT value FROM fact WHERE fleet = ? AND cluster = ? AND node = ? AND key = ?",
        (fleet, cluster, node, key),
    ).fetchone()
    return str(row["value"]) if row else ""


def forget_attempts(connection: sqlite3.Connection, fleet: int, cluster: str) -> tuple[str, ...]:
    """Forget the tries of a cluster, or of all; gives the nodes that had some, as `cluster/node`.

    Args:
        connection: in a transaction.
        fleet: whose; the host's are those of all fleets.
        cluster: its name, or empty for all.
    """
    where = "key LIKE ? AND ? IN ('', cluster) AND ? IN (0, fleet)"
    values = (f"{attempts.FACT}%", cluster, fleet)
    rows = connection.execute(
        f"SELECT DISTINCT cluster, node FROM fact WHERE {where} ORDER BY cluster, node",  # noqa: S608
        values,
    ).fetchall()
    connection.execute(f"DELETE FROM fact WHERE {where}", values)  # noqa: S608
    return tuple(f"{row['cluster']}/{row['node']}" for row in rows)


def read_epoch(connection: sqlite3.Connection, fleet: int, cluster: str) -> int:
    """The number of a cluster's latest holder; of the host's empty cluster, the highest given; else 0."""
    return int(read_fact(connection, fleet, cluster, "", EPOCH) or 0)


def advance_epoch(connection: sqlite3.Connection, fleet: int, cluster: str, now: datetime) -> int:
    """The number of a new holder of a cluster, higher than any before, written down as the latest.

    It is counted over all clusters, so that a cluster whose facts were forgotten gives no number twice.
    """
    number = read_epoch(connection, HOST, "") + 1
    for owner, place in ((HOST, ""), (fleet, cluster)):
        write_cluster_facts(connection, owner, place, {EPOCH: str(number)}, now)
    return number
