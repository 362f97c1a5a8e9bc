"""Clusters that are changed after others: in one run, over several, and what holds them up."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, NOWHERE, FakeNode, World, cluster, fleet
from support.rollouts import Bench, states

from reconciler.core.actor import Actor
from reconciler.core.change_windows import Suspend
from reconciler.core.drift import Drift
from reconciler.core.pins import LeftRevision, Pin, PinEffect, PinState
from reconciler.core.policy import Override, Policy
from reconciler.core.selection import Selection
from reconciler.errors import GuardRefusal
from reconciler.guards.cluster_order import check_cluster_order
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.status import compute_status
from reconciler.ports.store import OpenOrders
from reconciler.store.factory import open_store

CODE = "waits-for-cluster"
OLD = dict.fromkeys(("e1", "e2", "l1", "z1"), "old")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield store


@pytest.fixture
def bench(store):
    return Bench(store, World(dict(OLD)))


def wanted(*, edge=None, **more):
    """Three clusters: lab after edge, zoo after lab."""
    return (
        cluster("edge", edge or dict.fromkeys(("e1", "e2"), "new"), settle=0.01, **more),
        cluster("lab", {"l1": "new"}, settle=0.01, after=("edge",)),
        cluster("zoo", {"z1": "new"}, settle=0.01, after=("lab",)),
    )


def reasons(result):
    return {one.cluster: one.message for one in result.violations if one.code == CODE}


async def test_clusters_are_changed_one_after_the_other(bench):
    result = await bench.plan_result(*wanted())
    assert result.violations == ()
    notes = [one.message for one in result.fleet.warnings if one.code == CODE]
    assert notes == [
        "lab begins after edge is as desired: 2 changes are planned for it",
        "zoo begins after lab is as desired: 1 change is planned for it",
    ]
    report = await bench.apply(result)
    assert set(states(report).values()) == {"done"}
    assert bench.world.acts[2:] == ["l1", "z1"]


async def test_if_the_earlier_one_fails_nothing_is_sent_to_those_after_it(bench):
    result = await bench.plan_result(*wanted())
    bench.world.fault("e1", "refused")
    report = await bench.apply(result)
    assert states(report) == {"e1": "failed", "e2": "done", "l1": "skipped", "z1": "skipped"}
    assert "lab waits for edge: edge/e1/set was not done" in report.outcomes[2].reason
    assert "zoo waits for lab: lab waits for edge" in report.outcomes[3].reason


async def test_the_gates_of_the_earlier_one_count(bench):
    gates = {"waves": [1], "gates": {"metrics": [{"name": "errors_total", "compare": "value", "ignore": 1}]}}
    result = await bench.plan_result(*wanted(rollout=gates))
    bench.driver.errors = {"e1": 9.0, "e2": 1.0}
    report = await bench.apply(result)
    assert states(report) == {"e1": "done", "e2": "skipped", "l1": "skipped", "z1": "skipped"}
    assert "failed its gates" in report.outcomes[2].reason


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda bench: bench.world.silent.add("e1"), "e1 could not be read"),
        (lambda bench: None, "it is refused: edge: 2 of 2 nodes would be changed"),
    ],
)
async def test_what_holds_the_earlier_one_up_holds_those_after_it_up(bench, prepare, words):
    prepare(bench)
    result = await bench.plan_result(*wanted(), policies={"edge": Policy(max_changed="1")})
    found = reasons(result)
    assert words in found["lab"]
    assert "lab waits for edge" in found["zoo"]
    assert result.refused_clusters <= {"edge"}


async def test_a_suspended_cluster_with_changes_holds_up_and_one_that_is_as_desired_does_not(bench):
    suspended = {"suspend": Suspend(reason="the racks are moved")}
    result = await bench.plan_result(*wanted(**suspended))
    assert "the fleet file suspends changes: the racks are moved [suspended]" in reasons(result)["lab"]
    bench.world.values |= {"e1": "new", "e2": "new"}
    report = await bench.run(*wanted(**suspended))
    assert states(report) == {"l1": "done", "z1": "done"}


async def test_a_held_node_that_differs_holds_up(bench, store):
    until = NOON.replace(year=2126)
    await store.hold(0, "edge", "e1", until, Actor("kim", why="the card"))
    result = await bench.plan_result(*wanted())
    assert "e1 is held, and not as desired" in reasons(result)["lab"]
    bench.world.values["e1"] = "new"
    assert reasons(await bench.plan_result(*wanted())) == {}


async def test_a_cluster_that_the_run_leaves_out_is_read_and_holds_up(bench):
    for selection in (Selection(skip=("edge",)), Selection(only=("lab", "zoo")), Selection(skip=("e1",))):
        result = await bench.plan_result(*wanted(), only=selection)
        assert "2 changes are planned for it, and this run does not change it" in reasons(result)["lab"]
    bench.world.values |= {"e1": "new", "e2": "new"}
    result = await bench.plan_result(*wanted(), only=Selection(skip=("edge",)))
    assert reasons(result) == {}
    assert [plan.cluster for plan in result.plan.clusters] == ["lab", "zoo"]


async def test_the_pass_of_a_watch_over_one_cluster_reads_the_earlier_one(bench):
    whole = fleet(*wanted())

    async def look(**more):
        recalled = await bench.store.read_memory()
        return await run_plan_pass(
            whole, drivers=bench.drivers, transports=NOWHERE, recalled=recalled, cluster="lab", **more
        )

    assert "edge" in reasons(await look())["lab"]
    assert reasons(await look(reads_earlier=False)) == {}, "a rollback names what goes back"
    with pytest.raises(GuardRefusal, match="lab waits for edge"):
        await bench.apply(await look())
    bench.world.values |= {"e1": "new", "e2": "new"}
    assert states(await bench.apply(await look())) == {"l1": "done"}


async def test_a_cluster_without_changes_waits_for_nobody(bench):
    bench.world.values["l1"] = "new"
    result = await bench.plan_result(*wanted())
    assert reasons(result) == {}
    assert set(result.first) == set(), "lab has nothing to do, so that zoo waits for nothing"


async def test_an_override_sets_the_order_aside(bench):
    until = NOON.date() + timedelta(days=40_000)
    override = Override(guard=CODE, target="lab", until=until, reason="agreed by everybody")
    bench.world.silent.add("e1")
    result = await bench.plan_result(*wanted(), overrides=(override,))
    assert [one.code for one, _ in result.overridden] == [CODE]
    assert "lab" not in reasons(result)


async def test_the_status_says_what_a_cluster_waits_for(bench):
    status = compute_status(await bench.plan_result(*wanted()), OpenOrders(), None)
    assert [[one.message for one in each.holds] for each in status.clusters] == [
        [],
        ["lab begins after edge is as desired: 2 changes are planned for it"],
        ["zoo begins after lab is as desired: 1 change is planned for it"],
    ]
    bench.world.silent.add("e1")
    status = compute_status(await bench.plan_result(*wanted()), OpenOrders(), None)
    assert "lab waits for edge: e1 could not be read" in status.clusters[1].holds[0].message
    assert status.clusters[1].violations == ()


async def test_nodes_that_wait_for_a_person_hold_up(bench):
    edge = {"e1": FakeNode(name="e1", value="new", person=True), "e2": "new"}
    report = await bench.run(*wanted(edge=edge))
    assert states(report) == {"e1": "waiting", "e2": "done", "l1": "skipped", "z1": "skipped"}


async def test_a_cluster_that_is_pinned_after_a_rollback_holds_up(bench):
    """It is as desired at the revision where it is pinned, and not at this one."""
    result = await bench.plan_result(*wanted())
    edge, lab, _ = result.guard_contexts
    pin = Pin("edge", None, (LeftRevision("f7dd"),), "kim", "it looks odd", NOON)
    edge = replace(
        edge, plan=replace(edge.plan, steps=()), pin=PinState(pin, PinEffect.HOLDS), as_desired=frozenset()
    )
    order = check_cluster_order([edge, lab], {}, ())
    assert "lab waits for edge: it is pinned at an earlier revision" in order.violations[0].message


async def test_drift_that_is_only_reported_holds_up_the_cluster_after_it(bench):
    (edge, *others) = (await bench.plan_result(*wanted())).guard_contexts
    plan = replace(edge.plan, steps=())
    seen = replace(edge, plan=plan, drift={"e1": Drift("e1", is_kept=True), "e2": Drift("e2")})
    order = check_cluster_order([seen, *others], {}, [])
    assert [one.message for one in order.violations if one.cluster == "lab"] == [
        "lab waits for edge: e1 was changed behind our back, which is only reported"
    ]
