"""What was learnt of clusters and nodes and is remembered from run to run."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.core import attempts, progress
from reconciler.core.history import Applied, Claim, Memory, Past, UnderWay
from reconciler.core.plan import Revision
from reconciler.core.progress import Progress
from reconciler.core.timestamps import moment, stamp
from reconciler.store.sqlite.orders import Orders, orders

REVISION = "revision"
"""Fact of a node: the revision that it was last seen to run."""

NODES = "nodes"
"""Fact of a cluster, under the empty node name: how many nodes its last applied desired state named."""

NAMES = "names"
"""Fact of a cluster, under the empty node name: the names of these nodes, as JSON."""

SOURCE = "source"
"""Fact of a cluster, under the empty node name: where its last applied desired state was read."""

APPLIED = "applied"
"""Fact of a cluster, under the empty node name: the revision that was applied last, as JSON."""

EPOCH = "epoch"
"""Fact of a cluster, under no node name: the number of its latest holder; of the fleet, the highest."""

WINDOW = timedelta(days=31)
"""How long a change counts for budgets: the longest window that a policy may name."""


def remember(
    connection: sqlite3.Connection, cluster: str, facts: Mapping[str, Mapping[str, str]], now: datetime
) -> None:
    """Keep facts by node and key; an empty value forgets, an unchanged one keeps its `since`."""
    for node in sorted(facts):
        for key, value in sorted(facts[node].items()):
            if value:
                connection.execute(
                    "INSERT INTO fact (cluster, node, key, value, since) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (cluster, node, key) DO UPDATE SET value = excluded.value,"
                    " since = excluded.since WHERE value IS NOT excluded.value",
                    (cluster, node, key, value, stamp(now)),
                )
            else:
                connection.execute(
                    "DELETE FROM fact WHERE cluster = ? AND node = ? AND key = ?", (cluster, node, key)
                )


def learn(
    connection: sqlite3.Connection,
    fleet: str,
    cluster: str,
    facts: Mapping[str, Mapping[str, str]],
    now: datetime,
) -> None:
    """Keep what steps taught of a fleet's nodes, by node and key; an empty value forgets."""
    for node in sorted(facts):
        for key, value in sorted(facts[node].items()):
            if value:
                connection.execute(
                    "INSERT INTO learnt (fleet, cluster, node, key, value, since) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (fleet, cluster, node, key) DO UPDATE SET value = excluded.value,"
                    " since = excluded.since WHERE value IS NOT excluded.value",
                    (fleet, cluster, node, key, value, stamp(now)),
                )
            else:
                connection.execute(
                    "DELETE FROM learnt WHERE fleet = ? AND cluster = ? AND node = ? AND key = ?",
                    (fleet, cluster, node, key),
                )


def claim(
    connection: sqlite3.Connection, taken: Mapping[str, Claim], given_up: Iterable[str], now: datetime
) -> None:
    """Write down which fleet writes to which places, and which places a fleet names no more."""
    connection.executemany("DELETE FROM claim WHERE place = ?", [(place,) for place in given_up])
    connection.executemany(
        "INSERT OR REPLACE INTO claim (place, fleet, cluster, node, since) VALUES (?, ?, ?, ?, ?)",
        [(place, one.fleet, one.cluster, one.node, stamp(now)) for place, one in sorted(taken.items())],
    )


def _claims(connection: sqlite3.Connection) -> dict[str, Claim]:
    rows = connection.execute("SELECT place, fleet, cluster, node FROM claim")
    return {row["place"]: Claim(row["fleet"], row["cluster"], row["node"]) for row in rows}


def _learnt(connection: sqlite3.Connection) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """Fleet -> cluster -> node -> key -> value."""
    found: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for row in connection.execute("SELECT fleet, cluster, node, key, value FROM learnt"):
        nodes = found.setdefault(row["fleet"], {}).setdefault(row["cluster"], {})
        nodes.setdefault(row["node"], {})[row["key"]] = row["value"]
    return found


def value(connection: sqlite3.Connection, cluster: str, node: str, key: str) -> str:
    """One fact; empty where there is none."""
    row = connection.execute(
        "SELECT value FROM fact WHERE cluster = ? AND node = ? AND key = ?", (cluster, node, key)
    ).fetchone()
    return str(row["value"]) if row else ""


def forget_attempts(connection: sqlite3.Connection, cluster: str) -> tuple[str, ...]:
    """Forget the tries of a cluster, or of all; gives the nodes that had some, as `cluster/node`."""
    where = "key LIKE ? AND ? IN ('', cluster)"
    values = (f"{attempts.FACT}%", cluster)
    rows = connection.execute(
        f"SELECT DISTINCT cluster, node FROM fact WHERE {where} ORDER BY cluster, node",  # noqa: S608
        values,
    ).fetchall()
    connection.execute(f"DELETE FROM fact WHERE {where}", values)  # noqa: S608
    return tuple(f"{row['cluster']}/{row['node']}" for row in rows)


def epoch(connection: sqlite3.Connection, cluster: str) -> int:
    """The number of a cluster's latest holder; of the empty cluster, the highest that was given; else 0."""
    row = connection.execute(
        "SELECT value FROM fact WHERE cluster = ? AND node = '' AND key = ?", (cluster, EPOCH)
    ).fetchone()
    return int(row["value"]) if row else 0


def next_epoch(connection: sqlite3.Connection, cluster: str, now: datetime) -> int:
    """The number of a new holder of a cluster, higher than any before, written down as the latest."""
    number = epoch(connection, "") + 1
    for place in ("", cluster):
        remember(connection, place, {"": {EPOCH: str(number)}}, now)
    return number


def recall(connection: sqlite3.Connection, now: datetime) -> Memory:
    """All facts of nodes, and the past of every cluster."""
    facts: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    counts: dict[str, int] = {}
    names: dict[str, frozenset[str]] = {}
    sources: dict[str, str] = {}
    revisions: dict[str, Revision] = {}
    open_rollouts: dict[str, Progress | None] = {}
    runs: dict[str, dict[str, Applied]] = defaultdict(dict)
    for row in connection.execute(
        "SELECT cluster, node, key, value, since FROM fact ORDER BY cluster, node, key"
    ):
        if row["node"]:
            if row["key"] == REVISION:
                runs[row["cluster"]][row["node"]] = Applied(row["value"], moment(row["since"]))
            facts[row["cluster"]][row["node"]][row["key"]] = row["value"]
        elif row["key"] == NODES:
            counts[row["cluster"]] = int(row["value"])
        elif row["key"] == NAMES:
            names[row["cluster"]] = frozenset(json.loads(row["value"]))
        elif row["key"] == SOURCE:
            sources[row["cluster"]] = row["value"]
        elif row["key"] == progress.FACT:
            open_rollouts[row["cluster"]] = progress.load(row["value"])
        elif row["key"] == APPLIED:
            revisions[row["cluster"]] = Revision(**json.loads(row["value"]))
    changed, standing = _changed(connection, now), orders(connection)
    named = {one.cluster for one in standing.suspensions} | {one.cluster for one in standing.rejections}
    return Memory(
        facts={cluster: dict(nodes) for cluster, nodes in facts.items()},
        past={
            cluster: replace(
                _past(cluster, counts.get(cluster, 0), changed.get(cluster, []), standing),
                names=names.get(cluster, frozenset()),
                source=sources.get(cluster, ""),
                applied=revisions.get(cluster),
                progress=open_rollouts.get(cluster),
                runs=runs.get(cluster, {}),
            )
            for cluster in sorted(
                (
                    counts.keys()
                    | changed.keys()
                    | revisions.keys()
                    | open_rollouts.keys()
                    | runs.keys()
                    | named
                )
                - {""}
            )
        },
        everywhere=Past(
            suspended=tuple(one for one in standing.suspensions if not one.cluster),
            approved=frozenset(one.digest for one in standing.approvals),
        ),
        at=now,
        acted=_acted(connection),
        learnt=_learnt(connection),
        claims=_claims(connection),
        under_way=_under_way(connection, now),
    )


def _under_way(connection: sqlite3.Connection, now: datetime) -> tuple[UnderWay, ...]:
    rows = connection.execute(
        "SELECT step.cluster, step.node, step.id, run.id AS run, step.until FROM step"
        " JOIN run ON run.number = step.run WHERE step.until > ?"
        " AND (step.state IS NULL OR step.state = 'unknown') ORDER BY step.cluster, step.node, step.id",
        (stamp(now),),
    )
    return tuple(
        UnderWay(row["cluster"], row["node"], row["id"], row["run"], moment(row["until"])) for row in rows
    )


def _acted(connection: sqlite3.Connection) -> tuple[tuple[str, str], ...]:
    rows = connection.execute(
        "SELECT revision, short, max(number) AS last FROM run WHERE acted GROUP BY revision ORDER BY last"
    )
    return tuple((row["revision"], row["short"]) for row in rows)


def _past(cluster: str, nodes: int, changed: list[tuple[str, float]], standing: Orders) -> Past:
    return Past(
        nodes,
        tuple(changed),
        suspended=tuple(one for one in standing.suspensions if one.cluster == cluster),
        rejected={one.revision: one.reason for one in standing.rejections if one.cluster == cluster},
    )


def applied(connection: sqlite3.Connection) -> dict[str, dict[str, Applied]]:
    """Cluster -> node -> the revision it was last seen to run."""
    found: dict[str, dict[str, Applied]] = defaultdict(dict)
    rows = connection.execute(
        "SELECT cluster, node, value, since FROM fact WHERE key = ? AND node != '' ORDER BY cluster, node",
        (REVISION,),
    )
    for row in rows:
        found[row["cluster"]][row["node"]] = Applied(row["value"], moment(row["since"]))
    return dict(found)


def _changed(connection: sqlite3.Connection, now: datetime) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    rows = connection.execute(
        "SELECT cluster, node, intended FROM step WHERE intended >= ? ORDER BY intended, cluster, node",
        (stamp(now - WINDOW),),
    )
    for row in rows:
        hours = (now - moment(row["intended"])).total_seconds() / 3600
        found[row["cluster"]].append((row["node"], hours))
    return found
