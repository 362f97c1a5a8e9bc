"""The pass as a program calls it: a reader cannot write; a reconciler settles, applies and observes again."""

import asyncio
import dataclasses
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from support.driver import NOWHERE, FakeDriver, FleetSource, Killed, World, cluster, fleet

from reconciler.api.reader import Reader
from reconciler.api.reconciler import PassReport, Reconciler
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.outcome import State
from reconciler.errors import ClusterBusy, GuardRefusal, UsageError
from reconciler.planning.node_conditions import NodeCondition
from reconciler.ports.listener import PassListener
from reconciler.store.factory import open_store

ROOT = Path(__file__).parents[3]
TWO = fleet(cluster("edge", {"a": "new", "b": "new"}), cluster("lab", {"c": "new"}))


class Desk:
    """A world, a reader over it, and how often its ways were opened."""

    def __init__(self, store=None, **values):
        self.world, self.opened = World(values), 0
        self.reader = Reader(
            FleetSource(TWO), store, drivers={"fake": FakeDriver(self.world)}, connect=self.way
        )
        self.reconciler = Reconciler(self.reader, store) if store else None

    @asynccontextmanager
    async def way(self, host):
        self.opened += 1
        yield NOWHERE


class Heard(PassListener):
    def __init__(self):
        self.events = []

    def on_step_settled(self, outcome):
        self.events.append(f"settled {outcome.step.node}")

    def on_run_begun(self, run):
        self.events.append("begun")

    def on_step_ended(self, outcome):
        self.events.append(f"ended {outcome.step.node}")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


def nodes(plan_result):
    return [step.node for step in plan_result.plan.steps()]


async def test_a_reader_plans_all_of_a_fleet_a_cluster_or_a_node():
    reader = Desk(a="old", b="old", c="old").reader
    assert nodes(await reader.plan(TWO)) == ["a", "b", "c"]
    assert nodes(await reader.plan(TWO, cluster="lab")) == ["c"]
    assert nodes(await reader.plan(TWO, only="edge")) == ["a", "b"]
    assert nodes(await reader.plan(TWO, only="edge/b")) == ["b"]


async def test_a_cluster_that_the_fleet_does_not_have_is_not_taken_for_done():
    with pytest.raises(UsageError, match="no cluster 'hall'"):
        await Desk().reader.plan(TWO, cluster="hall")


async def test_a_reader_tells_status_without_a_store():
    status = await Desk(a="new", b="old", c="new").reader.status(TWO)
    states = {node.node: node.state for one in status.clusters for node in one.nodes}
    assert states == {
        "a": NodeCondition.AS_DESIRED,
        "b": NodeCondition.DIFFERS,
        "c": NodeCondition.AS_DESIRED,
    }
    assert not status.is_converged


def test_a_reader_has_nothing_to_write_with():
    """An import contract checks the module of the reader; this checks the attributes of an object."""
    held = {field.type for field in dataclasses.fields(Reader)}
    assert "StoreReader | None" in held
    assert not any(re.search(r"\bStore\b|Journal|Reconciler", str(kind)) for kind in held)


async def test_a_pass_opens_the_ways_to_the_nodes_once(store):
    cluster_input = Desk(store, a="old", b="old", c="old")
    heard = Heard()
    done = await cluster_input.reconciler.run(TWO, listener=heard)
    assert [outcome.state for outcome in done.report.outcomes] == [State.DONE] * 3
    assert cluster_input.opened == 1
    assert heard.events[0] == "begun"
    assert sorted(heard.events[1:]) == ["ended a", "ended b", "ended c"]
    assert (await cluster_input.reconciler.observe_again(done.plan_result)).plan.is_empty
    assert [line.trigger for line in await store.runs()] == ["program"]


async def test_open_steps_are_settled_before_the_plan_and_announced(store):
    cluster_input, heard = Desk(store, a="old", b="new", c="new"), Heard()
    cluster_input.world.fault("a", "killed after")
    with suppress(Killed):
        await cluster_input.reconciler.run(TWO)
    heir = Desk(store, a="new", b="new", c="new")
    done = await heir.reconciler.run(TWO, listener=heard)
    assert heard.events == ["settled a"]
    assert (done.report.run, heir.world.acts) == ("", [])


async def test_a_refusal_has_no_report_and_is_written_once(store):
    cluster_input = Desk(store, a="old")
    wrong = fleet(cluster("edge", {"a": "forbidden"}))
    for _ in range(3):
        done = await cluster_input.reconciler.run(wrong)
        assert done.report is None
        assert [one.code for one in done.plan_result.violations] == ["forbidden"]
    with pytest.raises(GuardRefusal):
        await cluster_input.reconciler.apply(done.plan_result)
    assert len(await store.runs()) == 1
    await Reconciler(cluster_input.reader, store).run(
        fleet(cluster("edge", {"a": "forbidden", "b": "forbidden"}))
    )
    assert len(await store.runs()) == 2
    assert cluster_input.world.acts == []


async def test_a_pass_that_is_stopped_before_its_plan_has_no_result(store):
    cluster_input, stop = Desk(store, a="old", b="old", c="old"), asyncio.Event()
    stop.set()
    assert await cluster_input.reconciler.run(TWO, stop=stop) == PassReport()
    assert (cluster_input.world.acts, await store.runs()) == ([], ())


async def test_a_cluster_that_another_run_holds_is_left_to_it(store):
    cluster_input = Desk(store, a="old", b="new", c="new")
    async with (await store.enter_fleet(FleetIdentity("/repo"))).lock("edge"):
        with pytest.raises(ClusterBusy):
            await cluster_input.reconciler.run(TWO, cluster="edge")
        assert (await cluster_input.reconciler.run(TWO, cluster="lab")).report.run == ""
    assert cluster_input.world.acts == []


def test_the_document_shows_the_program_that_its_commands_run():
    document = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    assert shown == (ROOT / "examples/api/one_pass.py").read_text(encoding="utf-8")
    assert "$ python examples/api/one_pass.py" in document
