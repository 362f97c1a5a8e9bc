"""A store of an older version of the program is migrated and used."""

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.driver import NOWHERE, REVISION, FakeDriver, Wish, World, cluster

from reconciler.core.actor import Actor
from reconciler.core.canonical import fingerprint_with_key
from reconciler.core.fleet_matching import FleetIdentity, resolve_fleet
from reconciler.core.memory import PlaceClaim
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan
from reconciler.ports.store import RunStart, StepEnd
from reconciler.rollout.recovery import NOTE, settle_open_runs
from reconciler.store.factory import open_store
from reconciler.store.sqlite import FILE, rekeying, schema

LEFT = Path(__file__).parents[2] / "cases/store/tables-4.sql"
"""What version 0.1.0 wrote before its store stood behind a port: a run that was done and whose message waits,
one that failed, one that was killed after its call, orders of all kinds, a rollout that has begun."""


@pytest.fixture
def left(tmp_path):
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.executescript(LEFT.read_text(encoding="utf-8"))
    return tmp_path


async def test_what_it_remembers_is_recalled(left):
    with open_store(left) as store:
        (fleet,) = await store.fleets()
        memory = await store.select_fleet(
            resolve_fleet(FleetIdentity("/repo", roots=("f" * 40,)), [fleet]).number
        ).read_memory()
        orders = await store.orders()
        letters = await store.list_due()
        runs = [(line.id, line.exit_status, line.counts) for line in await store.runs()]
    edge, live = memory.get_cluster_memory("edge"), memory.get_cluster_memory("live")
    assert (edge.nodes, edge.names, edge.source, edge.applied) == (1, {"a"}, "/repo", REVISION)
    assert {node: run.revision for node, run in edge.shown_revisions.items()} == {"a": REVISION.id}
    assert [one.reason for one in edge.suspended] == ["a storm", "it looks odd"]
    assert edge.rejected == {"d" * 40: "wave 1 failed its gates: a: too slow"}
    assert edge.approved == {"f1" * 32}
    assert live.progress.nodes == {"x"}
    assert memory.list_node_facts("edge")["a"]["set_by_us"] == "new"
    assert memory.claims == {"192.0.2.1:80": PlaceClaim(fleet.number, "edge", "a", "/repo")}
    assert [(one.cluster, one.digest) for one in orders.requests] == [("live", "e1" * 32)]
    assert [outbox_message.id for outbox_message in letters] == ["cd4fc1740d347fbf8e956e786e29f8a4"]
    assert runs == [
        ("run-killed", None, {"open": 1}),
        ("run-lost", 1, {"failed": 1}),
        ("run-done", 0, {"done": 1}),
    ]


async def test_a_cluster_of_it_keeps_all_under_another_name(left):
    with open_store(left) as store:
        (fleet,) = await store.fleets()
        own = store.select_fleet(fleet.number)
        before = (await own.read_memory()).cluster_memory["edge"]
        await own.rename_cluster("edge", "core", Actor(user="ann"))
        memory = await own.read_memory()
        (settled,) = await settle_open_runs(own, {"fake": FakeDriver(World({"c": "new"}))}, NOWHERE)
    after = memory.cluster_memory["core"]
    assert before.kind == after.kind == "fake", "its runs tell, where no fact does"
    assert replace(after, former_names=(), suspended=(), recent_changes=()) == replace(
        before, suspended=(), recent_changes=()
    )
    assert [one.reason for one in after.suspended] == [one.reason for one in before.suspended]
    assert memory.list_node_facts("core")["a"]["set_by_us"] == "new"
    assert memory.claims["192.0.2.1:80"].cluster == "core"
    assert (settled.step.cluster, settled.state) == ("core", State.DONE)


async def test_a_step_that_it_was_killed_in_is_settled_by_reading(left):
    world = World({"c": "new"})
    with open_store(left) as store:
        (settled,) = await settle_open_runs(store, {"fake": FakeDriver(world)}, NOWHERE)
        record = await store.run("run-killed")
    assert (settled.step.id, settled.state) == ("edge/c/set", State.DONE)
    assert (record.summary.exit_status, record.summary.note) == (0, NOTE)
    assert world.acts == []


async def test_its_epochs_are_gone_on_with(left):
    with open_store(left) as store:
        async with store.select_fleet(1).lock("edge"):
            pass
    with closing(sqlite3.connect(left / FILE)) as file:
        number = file.execute(
            "SELECT value FROM fact WHERE fleet = 1 AND cluster = 'edge' AND key = 'epoch'"
        ).fetchone()
    assert number == ("4",)


CLEAR, OTHER, CUT = "ab" * 32, "cd" * 32, "ef" * 8
"""Fingerprints over settings with secrets, as older versions kept them."""


async def test_fingerprints_that_older_versions_kept_in_clear_are_keyed(left):
    with closing(sqlite3.connect(left / FILE)) as file:
        (packed,) = file.execute("SELECT plan FROM run WHERE id = 'run-done'").fetchone()
        plan = json.loads(zlib.decompress(packed))
        (step,) = plan["clusters"][0]["steps"]
        step["arguments"] = {"before": CLEAR, "more": [{"after": OTHER}], "word": "set"}
        packed = zlib.compress(json.dumps(plan).encode())
        file.execute("UPDATE run SET plan = ?, digest = ? WHERE id = 'run-done'", (packed, OTHER))
        tried = json.dumps({"aim": CLEAR, "shown": {"/x": CUT}, "reason": CLEAR[:8]})
        file.execute("UPDATE fact SET value = ? WHERE node = 'b' AND key LIKE 'attempt/%'", (tried,))
        file.commit()
    with open_store(left) as store:
        record = await store.run("run-done")
        (fleet,) = await store.fleets()
        memory = await store.select_fleet(fleet.number).read_memory()
    (step,) = record.plan.steps()
    keyed_clear = fingerprint_with_key(memory.key, CLEAR)
    assert step.arguments.plain() == {
        "before": keyed_clear,
        "more": [{"after": fingerprint_with_key(memory.key, OTHER)}],
        "word": "set",
    }
    facts = memory.list_node_facts("edge")["b"]
    (tried,) = [json.loads(value) for key, value in facts.items() if key.startswith("attempt/")]
    assert memory.get_cluster_memory("live").progress.content == fingerprint_with_key(memory.key, "content")
    assert tried == {
        "aim": keyed_clear,
        "shown": {"/x": fingerprint_with_key(memory.key, CUT)[:16]},
        "reason": CLEAR[:8],
    }
    kept = b"".join(file.read_bytes() for file in left.glob(f"{FILE}*"))
    assert not [text for text in (CLEAR, OTHER, CUT) if text.encode() in kept]


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
async def test_tables_of_each_earlier_version_are_brought_up_to_date(tmp_path, version):
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        rekeying.define_functions(file, lambda: b"key")
        for statements in schema.MIGRATIONS[:version]:
            for statement in statements:
                file.execute(statement)
        file.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        file.execute(f"PRAGMA user_version = {version}")
        if version < 5:
            file.execute("INSERT INTO fact VALUES ('edge', '', 'nodes', '3', '2026-11-21T12:00:00.000Z')")
        else:
            file.execute("INSERT INTO fact VALUES (0, 'edge', '', 'nodes', '3', '2026-11-21T12:00:00.000Z')")
        file.commit()
    entry, world = cluster("edge", {"a": "new"}), World({"a": "old"})
    plan = Plan(REVISION, "0", (FakeDriver(world).plan(Wish(entry), Observed({"a": world.answer("a")})),))
    (step,) = plan.steps()
    with open_store(tmp_path) as store:
        run = await store.begin_run(RunStart("command", plan))
        await store.record_intent(run, step)
        await store.record_outcomes(run, [StepEnd(Outcome(step, State.DONE), facts={"mode": "block"})])
        memory = await store.read_memory()
    assert (memory.get_cluster_memory("edge").nodes, memory.list_node_facts("edge")["a"]["mode"]) == (
        3,
        "block",
    )
