"""Moves the records of a renamed cluster to its new name: functions over a transaction."""

from __future__ import annotations

import json
from dataclasses import replace

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import HOST
from reconciler.core.rollout_rules import load_progress, rename_progress
from reconciler.store.sql import facts
from reconciler.store.sql.memory import find_kind_in_runs
from reconciler.store.sql.node_tokens import rename_nodes
from reconciler.store.sql.order_records import write_order_record
from reconciler.store.sql.reservations import rename_reservations
from reconciler.store.sql.transaction import Transaction


def rename_cluster(tx: Transaction, former: str, name: str, by: Actor) -> None:
    """Move the memory of a cluster to a new name; the plans of its runs keep the former one."""
    # Checked again in this transaction: another process may have moved it since the memory was read.
    known = tx.execute(
        "SELECT 1 FROM fact WHERE (fleet, cluster) = (?1, ?2) UNION ALL SELECT 1 FROM step JOIN run"
        " ON run.number = step.run WHERE step.cluster = ?2 AND run.fleet = ?1 LIMIT 1",
        (tx.fleet, former),
    ).fetchone()
    applied = any(facts.read_fact(tx, name, "", key) for key in (facts.NODES, facts.APPLIED))
    if known is None or applied:
        return
    names = json.loads(facts.read_fact(tx, former, "", facts.FORMER) or "[]")
    rollout = load_progress(facts.read_fact(tx, former, "", facts.ROLLOUT))
    own = {
        facts.FORMER: json.dumps([*(one for one in names if one not in {former, name}), former]),
        # the plans of its runs have the kind under the former name only
        facts.KIND: facts.read_fact(tx, former, "", facts.KIND) or find_kind_in_runs(tx, former),
        facts.ROLLOUT: rename_progress(rollout, former, name).plain() if rollout else "",
    }
    # Without the epoch, a run that holds the lock of the former name is refused at its next intent.
    facts.write_cluster_facts(tx, former, {facts.EPOCH: "", facts.ROLLOUT: ""})
    _move_suspension(tx, former, name)
    tx.execute(
        "UPDATE fact SET cluster = ?1 WHERE fleet = ?2 AND cluster = ?3 AND key != ?4 AND NOT EXISTS"
        " (SELECT 1 FROM fact AS own WHERE own.fleet = ?2 AND own.cluster = ?1"
        " AND own.node = fact.node AND own.key = fact.key)",
        (name, tx.fleet, former, facts.SUSPENDED),
    )
    tx.execute(
        "DELETE FROM fact WHERE fleet = ? AND cluster = ? AND key != ?", (tx.fleet, former, facts.SUSPENDED)
    )
    tx.execute("UPDATE claim SET cluster = ? WHERE fleet = ? AND cluster = ?", (name, tx.fleet, former))
    tx.execute(
        "UPDATE step SET cluster = ? WHERE cluster = ? AND run IN (SELECT number FROM run WHERE fleet = ?)",
        (name, former, tx.fleet),
    )
    tx.execute("UPDATE operation SET cluster = ? WHERE fleet = ? AND cluster = ?", (name, tx.fleet, former))
    rename_nodes(tx, former, name)
    rename_reservations(tx, former, name)
    facts.write_cluster_facts(tx, name, own)
    write_order_record(tx, "rename", replace(by, why=f"renamed from {former}"), cluster=name)


def _move_suspension(tx: Transaction, former: str, name: str) -> None:
    """Copy a suspension to the new name; other fleets may still have a cluster of the former name."""
    tx.execute(
        "INSERT INTO fact (fleet, cluster, node, key, value, since)"
        " SELECT fleet, ?, node, key, value, since FROM fact"
        " WHERE (fleet, cluster, node, key) = (?, ?, '', ?) ON CONFLICT DO NOTHING",
        (name, HOST, former, facts.SUSPENDED),
    )
    others = tx.execute(
        "SELECT 1 FROM fact WHERE cluster = ? AND fleet NOT IN (?, ?) LIMIT 1", (former, tx.fleet, HOST)
    ).fetchone()
    if others is None:
        facts.write_cluster_facts(tx.for_fleet(HOST), former, {facts.SUSPENDED: ""})
