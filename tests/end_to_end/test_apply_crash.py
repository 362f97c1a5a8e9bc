"""The reconciler dies at every point of its journal; the next run does nothing twice and tells the truth."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import support
from support.driver import NOWHERE, FakeDriver, FakeNode, Killed, Set, World, cluster, fleet
from support.journal import Breaking

from reconciler.core.outcome import State
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.rollout import recovery as resuming
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.rollout.recovery import NOTE, settle_open_runs
from reconciler.store.factory import open_store

NODES = {
    "a": FakeNode(name="a", value="1"),
    "b": FakeNode(name="b", value="1", after=("a",)),
    "c": FakeNode(name="c", value="1", after=("b",)),
}
EDGE = cluster("edge", NODES, settle=0.05)
WRITES = 9
"""Journal writes of the run: begin, three intents, three outcomes, finish, facts."""


def die():
    raise Killed


async def one_pass(world, store, journal=None):
    drivers = {"fake": FakeDriver(world)}
    seen = await run_plan_pass(
        fleet(EDGE), drivers=drivers, transports=NOWHERE, recalled=await store.read_memory()
    )
    return await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=journal or store)


async def take_up(world, folder):
    """What the next run does: settle, survey, apply."""
    with open_store(folder) as store:
        settled = await settle_open_runs(store, {"fake": FakeDriver(world)}, NOWHERE)
        report = await one_pass(world, store)
        assert await store.list_open_runs() == ()
        records = [await store.run(line.id) for line in await store.runs()]
    return settled, report, records


def check_truth(world, records):
    """Nothing was done twice, all is done, and no record claims what did not happen."""
    assert sorted(world.acts) == ["a", "b", "c"]
    assert world.values == {"a": "1", "b": "1", "c": "1"}
    done = [entry.step.node for record in records for entry in record.entries if entry.state is State.DONE]
    assert sorted(done) == ["a", "b", "c"]
    for record in records:
        assert record.summary.finished
        assert record.summary.exit_status is not None
        for entry in record.entries:
            assert entry.state in {State.DONE, State.FAILED, State.SKIPPED}
            assert entry.intended or entry.state is State.SKIPPED


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, WRITES + 1))
async def test_death_at_any_journal_write(tmp_path, at, after):
    world = World()
    with open_store(tmp_path) as store, pytest.raises(Killed):
        await one_pass(world, store, Breaking(store, at, after=after, die=die))
    _, report, records = await take_up(world, tmp_path)
    assert report.is_success
    check_truth(world, records)


async def test_there_is_no_other_journal_write(tmp_path):
    world = World()
    with open_store(tmp_path) as store:
        report = await one_pass(world, store, Breaking(store, WRITES + 1, after=False, die=die))
    assert report.is_success


@pytest.mark.parametrize("fault", ["killed before", "killed after"])
@pytest.mark.parametrize("node", list(NODES))
async def test_death_on_either_side_of_an_effect(tmp_path, node, fault):
    world = World()
    world.fault(node, fault)
    with open_store(tmp_path) as store, pytest.raises(Killed):
        await one_pass(world, store)
    settled, report, records = await take_up(world, tmp_path)
    (outcome,) = [outcome for outcome in settled if outcome.step.node == node]
    assert outcome.state is (State.DONE if fault == "killed after" else State.FAILED)
    assert report.is_success
    check_truth(world, records)
    killed = records[-1]
    assert killed.summary.note == NOTE
    assert [entry.state for entry in killed.entries if entry.intended is None] == [State.SKIPPED] * (
        2 - list(NODES).index(node)
    )


async def test_a_step_killed_in_flight_gets_its_time_to_show(tmp_path):
    world = World()
    world.fault("a", "killed before")
    edge = cluster("edge", {"a": "1"}, settle=20)
    drivers = {"fake": FakeDriver(world)}
    with open_store(tmp_path) as store:
        seen = await run_plan_pass(fleet(edge), drivers=drivers, transports=NOWHERE)
        with pytest.raises(Killed):
            await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store)
        world.late["a"] = (3, "1")
        (outcome,) = await asyncio.wait_for(settle_open_runs(store, drivers, NOWHERE), 10)
    assert outcome.state is State.DONE


async def test_what_cannot_be_read_stays_unknown_until_it_can(tmp_path):
    world = World()
    world.fault("a", "killed after")
    drivers = {"fake": FakeDriver(world)}
    with open_store(tmp_path) as store:
        with pytest.raises(Killed):
            await one_pass(world, store)
        world.silent.add("a")
        settled = await settle_open_runs(store, drivers, NOWHERE)
        assert {outcome.step.node: outcome.state for outcome in settled} == {
            "a": State.UNKNOWN,
            "b": State.SKIPPED,
            "c": State.SKIPPED,
        }
        (line,) = await store.runs()
        assert line.exit_status == 5
        assert await settle_open_runs(store, drivers, NOWHERE) == ()
        world.silent.clear()
        (outcome,) = await settle_open_runs(store, drivers, NOWHERE)
        assert outcome.state is State.DONE
        assert await settle_open_runs(store, drivers, NOWHERE) == ()
        assert (await store.run(line.id)).entries[0].state is State.DONE


async def test_an_end_that_apply_could_not_tell_is_settled_by_the_next_run(tmp_path):
    world = World()
    world.fault("a", "blind")
    with open_store(tmp_path) as store:
        report = await one_pass(world, store)
        assert [outcome.state for outcome in report.outcomes] == [
            State.UNKNOWN,
            State.SKIPPED,
            State.SKIPPED,
        ]
        before = (await store.run(report.run)).entries[0]
        world.silent.clear()
        (outcome,) = await settle_open_runs(store, {"fake": FakeDriver(world)}, NOWHERE)
        assert outcome.state is State.DONE
        after = (await store.run(report.run)).entries[0]
        assert (after.seconds, after.answer) == (before.seconds, before.answer)
    assert world.acts == ["a"]


async def test_apply_itself_settles_before_it_writes(tmp_path):
    world = World()
    world.fault("b", "killed after")
    with open_store(tmp_path) as store:
        with pytest.raises(Killed):
            await one_pass(world, store)
        assert (await one_pass(world, store)).is_success
        killed = [await store.run(line.id) for line in await store.runs()][-1]
    assert [entry.state for entry in killed.entries] == [State.DONE, State.DONE, State.SKIPPED]
    assert world.acts == ["a", "b", "c"]


async def test_a_live_run_is_not_taken_for_a_killed_one(tmp_path):
    world = World()
    world.gate = asyncio.Event()
    drivers = {"fake": FakeDriver(world)}
    with open_store(tmp_path) as store, open_store(tmp_path) as other:
        running = asyncio.create_task(one_pass(world, store))
        await asyncio.wait_for(world.entered.wait(), 5)
        assert await settle_open_runs(other, drivers, NOWHERE) == ()
        world.gate.set()
        report = await running
        assert report.is_success
        (line,) = await other.runs()
        assert (line.counts, line.note) == ({"done": 3}, "")


async def test_another_version_s_steps_are_not_judged(tmp_path, monkeypatch):
    world = World()
    world.fault("a", "killed after")
    with open_store(tmp_path) as store:
        with pytest.raises(Killed):
            await one_pass(world, store)
        monkeypatch.setattr(resuming, "__version__", "99.0")
        looks = len(world.looks)
        settled = await settle_open_runs(store, {"fake": FakeDriver(world)}, NOWHERE)
    assert len(world.looks) == looks
    assert settled[0].state is State.UNKNOWN
    assert "of this program planned the step" in settled[0].reason


async def test_a_step_whose_arguments_are_of_a_later_version_stays_open_with_a_sentence(tmp_path):
    class Later(Set):
        schema_version = 2

    class Upgraded(FakeDriver):
        actions = {"set": Later}  # noqa: RUF012  (a table)

    world = World()
    world.fault("a", "killed after")
    with open_store(tmp_path) as store:
        with pytest.raises(Killed):
            await one_pass(world, store)
        looks = len(world.looks)
        settled = await settle_open_runs(store, {"fake": Upgraded(world)}, NOWHERE)
        assert await settle_open_runs(store, {"fake": Upgraded(world)}, NOWHERE) == ()
        assert await store.is_open("edge")
    assert len(world.looks) == looks
    assert settled[0].state is State.UNKNOWN
    assert "they have version 1, but this program reads version 2" in settled[0].reason


async def test_a_product_that_is_gone_leaves_its_steps_unknown(tmp_path):
    world = World()
    world.fault("a", "killed after")
    with open_store(tmp_path) as store:
        with pytest.raises(Killed):
            await one_pass(world, store)
        settled = await settle_open_runs(store, {}, NOWHERE)
    assert settled[0].state is State.UNKNOWN


PROGRAM = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
from support.driver import FakeDriver, FakeNode, NOWHERE, World, cluster, fleet
from support.journal import Breaking, kill
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.store.factory import open_store

class OnDisk(World):
    def read(self, node):
        path = folder / "nodes" / node
        return path.read_text() if path.exists() else ""
    def write(self, node, value):
        (folder / "nodes" / node).write_text(value)
        with (folder / "acts").open("a") as acts:
            acts.write(node + "\\n")
        if point == f"effect {node}":
            kill()

async def main():
    nodes = {
        "a": FakeNode(name="a", value="1"),
        "b": FakeNode(name="b", value="1", after=("a",)),
        "c": FakeNode(name="c", value="1", after=("b",)),
    }
    drivers = {"fake": FakeDriver(OnDisk())}
    here = fleet(cluster("edge", nodes, settle=0.05))
    seen = await run_plan_pass(here, drivers=drivers, transports=NOWHERE)
    with open_store(folder / "state") as store:
        where, _, at = point.partition(" ")
        number = int(at) if at.isdigit() else 0
        journal = Breaking(store, number, after=where == "after", die=kill)
        await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=journal)

folder, point = pathlib.Path(sys.argv[2]), sys.argv[3]
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "point", ["after 1", "after 2", "effect a", "before 5", "effect b", "after 7", "before 8"]
)
async def test_kill_9_at_any_point_of_a_real_process(tmp_path, point):
    (tmp_path / "nodes").mkdir()
    here = str(Path(support.__file__).parents[1])
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, here, str(tmp_path), point], timeout=60, check=False
    )
    assert process.returncode == -9
    acts = tmp_path / "acts"
    world = World(
        {path.name: path.read_text() for path in (tmp_path / "nodes").iterdir()},
        acts=acts.read_text().split() if acts.exists() else [],
    )
    _, report, records = await take_up(world, tmp_path / "state")
    assert report.is_success
    check_truth(world, records)
