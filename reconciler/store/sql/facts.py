"""Facts about clusters and nodes that outlive a run: functions over a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from reconciler.core import attempts
from reconciler.core.fleet_matching import HOST
from reconciler.ports.store import ClusterFacts
from reconciler.store.sql.transaction import Transaction

# Keys of facts. Those of a cluster are under the empty node name, those of a fleet under the empty cluster
# name.
REVISION = "revision"  # of a node: the revision that it ran when last seen
NODES = "nodes"  # of a cluster: number of nodes in the desired state that was applied last
NAMES = "names"  # of a cluster: the names of these nodes, as JSON
SOURCE = "source"  # of a cluster: source of the desired state that was applied last
KIND = "kind"  # of a cluster: its product
FORMER = "former"  # of a cluster: its earlier names, as JSON, the latest last
APPLIED = "applied"  # of a cluster: the revision that was applied last, as JSON
CONTENT = "content"  # of a cluster: keyed fingerprint of what was applied last
ROLLOUT = "rollout"  # of a cluster: progress of its rollout, as JSON
RETURN = "return"  # of a cluster: what is still to do for the offers of failed waves, as JSON
SUSPENDED = "suspended"  # of a cluster or the fleet: suspended by `reconcile suspend`
ASKED = "asked"  # of a cluster: the plan that waited for an approval last
APPROVED = "approved/"  # of the fleet, followed by DIGEST/PERSON: a plan that may be applied
REJECTED = "rejected/"  # of a cluster, followed by an id: a revision that is not to be tried again
PINNED = "pinned"  # of a cluster: where a rollback pinned it, as JSON
EPOCH = "epoch"  # of a cluster: number of its latest lock holder; of the host: the highest given

_FEW = 4
"""Facts that are written without reading first which of them are new."""


def write_facts(tx: Transaction, cluster: str, facts: Mapping[str, Mapping[str, str]]) -> None:
    """Write facts, node -> key -> value; an empty value deletes, an unchanged one keeps its `since`."""
    wanted = [(node, key, value) for node in sorted(facts) for key, value in sorted(facts[node].items())]
    if len(wanted) > _FEW:
        # A pass that finds everything as before writes nothing: neither statements for each node nor rows.
        rows = tx.execute(
            "SELECT node, key, value FROM fact WHERE fleet = ? AND cluster = ?", (tx.fleet, cluster)
        )
        known = {(row["node"], row["key"]): row["value"] for row in rows}
        wanted = [(node, key, value) for node, key, value in wanted if known.get((node, key), "") != value]
    keep = (
        "INSERT INTO fact (fleet, cluster, node, key, value, since) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (fleet, cluster, node, key) DO UPDATE SET value = excluded.value,"
        " since = excluded.since WHERE fact.value != excluded.value"
    )
    forget = "DELETE FROM fact WHERE (fleet, cluster, node, key) = (?, ?, ?, ?)"
    own = (tx.fleet, cluster)
    tx.execute_many(forget, [(*own, node, key) for node, key, value in wanted if not value])
    tx.execute_many(keep, [(*own, *fact, tx.timestamp) for fact in wanted if fact[2]])


def write_cluster_facts(tx: Transaction, cluster: str, facts: Mapping[str, str]) -> None:
    """Write facts of a cluster, or of the fleet under the empty name; by key."""
    write_facts(tx, cluster, {"": facts})


def write_pass(tx: Transaction, cluster: str, found: ClusterFacts) -> None:
    """Write what a pass found out about a cluster."""
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
    write_cluster_facts(tx, cluster, own)
    write_facts(tx, cluster, {node: {REVISION: revision} for node, revision in found.shown_revisions.items()})
    write_facts(tx, cluster, found.facts)


def forget_members(tx: Transaction, cluster: str) -> None:
    """Delete the members of a cluster and their places."""
    tx.execute("DELETE FROM claim WHERE fleet = ? AND cluster = ?", (tx.fleet, cluster))
    write_cluster_facts(tx, cluster, {NODES: "", NAMES: "", SOURCE: "", FORMER: "", PINNED: ""})


def write_claims(tx: Transaction, taken: Mapping[str, tuple[str, str]], given_up: Iterable[str]) -> None:
    """Write the places that a fleet claims, as cluster and node, and delete those it gave up."""
    mine = [(place, tx.fleet) for place in given_up]
    tx.execute_many("DELETE FROM claim WHERE place = ? AND fleet = ?", mine)
    tx.execute_many(
        "INSERT INTO claim (place, fleet, cluster, node, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT (place)"
        " DO UPDATE SET fleet = excluded.fleet, cluster = excluded.cluster, node = excluded.node,"
        " since = excluded.since WHERE (claim.fleet, claim.cluster, claim.node)"
        " != (excluded.fleet, excluded.cluster, excluded.node)",
        [(place, tx.fleet, *owner, tx.timestamp) for place, owner in sorted(taken.items())],
    )


def read_fact(tx: Transaction, cluster: str, node: str, key: str) -> str:
    """One fact; empty if there is none."""
    row = tx.execute(
        "SELECT value FROM fact WHERE fleet = ? AND cluster = ? AND node = ? AND key = ?",
        (tx.fleet, cluster, node, key),
    ).fetchone()
    return str(row["value"]) if row else ""


def find_suspension(tx: Transaction, cluster: str) -> str:
    """What is suspended by command, to begin "… suspended": the cluster, or all of them; else empty."""
    # A suspension belongs to the host, so that it stops every fleet.
    row = tx.execute(
        "SELECT cluster FROM fact WHERE fleet = ? AND cluster IN ('', ?) AND node = '' AND key = ?"
        " ORDER BY cluster LIMIT 1",
        (HOST, cluster, SUSPENDED),
    ).fetchone()
    if row is None:
        return ""
    return f"cluster {cluster} was" if row["cluster"] else "all clusters were"


def forget_attempts(tx: Transaction, cluster: str, node: str = "") -> tuple[str, ...]:
    """Delete the attempts of a cluster, of all, or at one node; gives the nodes that had some."""
    where = "key LIKE ? AND ? IN ('', cluster) AND ? IN ('', node) AND ? IN (0, fleet)"
    values = (f"{attempts.FACT}%", cluster, node, tx.fleet)
    rows = tx.execute(
        f"SELECT DISTINCT cluster, node FROM fact WHERE {where} ORDER BY cluster, node",  # noqa: S608
        values,
    ).fetchall()
    tx.execute(f"DELETE FROM fact WHERE {where}", values)  # noqa: S608
    return tuple(f"{row['cluster']}/{row['node']}" for row in rows)


def read_epoch(tx: Transaction, cluster: str) -> int:
    """The number of the latest lock holder of a cluster; for the host the highest given; else 0."""
    return int(read_fact(tx, cluster, "", EPOCH) or 0)


def advance_epoch(tx: Transaction, cluster: str) -> int:
    """Write and give the number of a new lock holder of a cluster, higher than any before."""
    # Counted over all clusters, so that a cluster whose facts were deleted never gives a number twice.
    host = tx.for_fleet(HOST)
    number = read_epoch(host, "") + 1
    write_cluster_facts(host, "", {EPOCH: str(number)})
    write_cluster_facts(tx, cluster, {EPOCH: str(number)})
    return number
