"""What runs do with nodes that a person holds, before a run or while it goes on."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, NOWHERE, FakeNode, Killed, World, cluster
from support.rollouts import Bench, Returning, states

from reconciler.core.actor import Actor
from reconciler.core.change_windows import Hold
from reconciler.core.plan import Effect
from reconciler.errors import GuardRefusal
from reconciler.planning.plan_pass import check_guards
from reconciler.planning.status import compute_status
from reconciler.ports.store import OpenOrders
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

KIM = Actor("kim", why="the disk is replaced")
OLD = dict.fromkeys("abc", "old")


class Clock:
    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    with open_store(tmp_path / "state", clock=clock) as store:
        yield store


class Interrupting(Returning):
    """A product whose steps restart their nodes."""

    def plan(self, desired, observed):
        found = super().plan(desired, observed)
        return replace(found, steps=tuple(replace(step, effect=Effect.RESTART) for step in found.steps))


class Site(Bench):
    """Passes over a cluster whose nodes people hold."""

    def __init__(self, store, values=OLD, driver=Returning):
        super().__init__(store, World(dict(values)), driver)

    async def hold(self, node, hours=4.0, fleet=0):
        await self.store.hold(fleet, "hall", node, NOON + timedelta(hours=hours), KIM)

    async def release(self):
        return await self.store.end_holds([one.id for one in (await self.store.orders()).holds], KIM)

    async def codes(self, *wanted):
        return [one.code for one in (await self.plan_result(*wanted)).plan.findings()]


def hall(values=None, **more):
    return cluster("hall", values or dict.fromkeys("abc", "new"), settle=0.01, **more)


async def test_nothing_is_sent_to_a_held_node_until_it_is_released(store):
    site = Site(store)
    await site.hold("a")
    report = await site.run(hall())
    assert states(report) == {"b": "done", "c": "done"}
    assert report.exit_status == 0
    assert await site.codes(hall()) == ["node-held"]
    assert await site.release() == ("hall/a",)
    assert states(await site.run(hall())) == {"a": "done"}


async def test_a_hold_ends_by_itself_also_while_the_node_is_silent(store, clock):
    site = Site(store)
    await site.hold("a")
    site.world.silent.add("a")
    clock.now += timedelta(hours=4)
    found = await site.plan_result(hall())
    assert found.guard_contexts[0].reserved.names == frozenset()
    site.world.silent.clear()
    await site.run(hall())
    assert site.world.read("a") == "new"
    assert await store.reservations() == (), "it is recorded as over"


async def test_of_two_holds_the_later_end_counts_and_a_release_ends_both(store, clock):
    site = Site(store)
    await site.hold("a", hours=1)
    await site.hold("a", hours=3)
    clock.now += timedelta(hours=2)
    assert await site.codes(hall()) == ["node-held"]
    await site.hold("a", hours=9)
    assert await site.release() == ("hall/a",)
    assert (await site.plan_result(hall())).guard_contexts[0].reserved.names == frozenset()


async def test_a_rollout_goes_on_without_a_held_node(store):
    site = Site(store)
    await site.hold("a")
    report = await site.run(hall(rollout={"waves": [1]}))
    assert states(report) == {"b": "done", "c": "done"}


async def test_a_hold_between_two_waves_leaves_its_node_out(store):
    site = Site(store)
    wanted = hall(rollout={"waves": [1]})
    plan = await site.plan_result(wanted)

    async def hold():
        site.soak.meanwhile = lambda: None
        await site.hold("b")

    site.soak.meanwhile = hold
    report = await site.apply(plan)
    assert states(report) == {"a": "done", "b": "skipped", "c": "done"}
    assert site.world.values == {"a": "new", "b": "old", "c": "new"}
    assert await site.codes(wanted) == ["node-held"]


@pytest.mark.parametrize("moment", ["judged", "planned"])
async def test_a_hold_is_seen_before_the_next_call(store, moment):
    site = Site(store)
    plan = await site.plan_result(hall())
    if moment == "planned":
        await site.hold("a")
    else:
        observe = site.driver.observe_step

        async def holding(step, transports):
            if step.node == "a" and not (await store.orders()).holds:
                await site.hold("a")
            return await observe(step, transports)

        site.driver.observe_step = holding
    assert states(await site.apply(plan)) == {"a": "skipped", "b": "done", "c": "done"}
    assert site.world.values["a"] == "old"


async def test_a_failed_wave_is_not_undone_on_a_held_node(store):
    site = Site(store)
    wanted = hall(
        rollout={
            "waves": [2],
            "on_failure": "return",
            "gates": {"metrics": [{"name": "errors_total", "compare": "value", "ignore": 1}]},
        }
    )
    plan = await site.plan_result(wanted)

    async def hold():
        site.soak.meanwhile = lambda: None
        site.driver.errors |= {"a": 9.0, "b": 9.0, "c": 1.0}
        await site.hold("a")

    site.soak.meanwhile = hold
    report = await site.apply(plan)
    assert states(report) == {"a": "done", "b": "undone", "c": "skipped"}
    assert site.world.values == {"a": "new", "b": "old", "c": "old"}


@pytest.mark.parametrize("rules", [{}, {"rollout": {"waves": [1]}}], ids=["at once", "in waves"])
@pytest.mark.parametrize(("fault", "value"), [("killed after", "new"), ("killed before", "old")])
async def test_a_killed_run_is_settled_by_reading_though_its_node_is_held_since(store, fault, value, rules):
    site = Site(store)
    wanted = hall(concurrency=1, **rules)
    site.world.fault("a", fault)
    with pytest.raises(Killed):
        await site.run(wanted)
    await site.hold("a")
    calls = len(site.world.acts)
    settled = await settle_open_runs(store, site.drivers, NOWHERE)
    assert next((one.step.node, one.state.value) for one in settled) == (
        "a",
        "done" if value == "new" else "failed",
    )
    for _ in range(2):
        await site.run(wanted)
    assert site.world.values == {"a": value, "b": "new", "c": "new"}
    assert site.world.acts[calls:] == ["b", "c"], "nothing was sent to the held node"
    await site.release()
    await site.run(wanted)


async def test_another_node_is_not_interrupted_while_a_held_one_counts_as_away(store):
    site = Site(store, {"a": "new", "b": "old", "c": "new"}, Interrupting)
    await site.hold("a")
    assert states(await site.run(hall())) == {}
    assert await site.codes(hall()) == ["node-reserved"]


async def test_a_hold_of_the_host_counts_in_every_fleet(store):
    site = Site(store)
    await store.hold(0, "hall", "a", NOON + timedelta(hours=1), KIM)
    assert [one.node for one in (await store.select_fleet(7).orders()).holds] == ["a"]
    assert [one.node for one in await store.select_fleet(7).reservations("hall")] == ["a"]
    await store.hold(7, "hall", "b", NOON + timedelta(hours=1), KIM)
    assert [one.node for one in (await store.select_fleet(8).orders()).holds] == ["a"]
    assert await site.codes(hall()) == ["node-held"]


async def test_a_hold_in_the_fleet_file_counts_and_an_ended_one_is_a_warning(store, clock):
    site = Site(store)
    end = (NOON + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    held = FakeNode(name="a", value="new", hold=Hold(until=end, reason="the card is replaced"))
    wanted = hall({"a": held, "b": "new", "c": "new"})
    found = await site.plan_result(wanted)
    assert [step.node for step in found.plan.steps()] == ["b", "c"]
    note = next(one for one in found.fleet.warnings if one.code == "node-held")
    assert "held until" in note.message
    assert "by the fleet file: the card is replaced" in note.message
    assert "remove `hold`" in note.remedy
    clock.now += timedelta(hours=1)
    found = await site.plan_result(wanted)
    assert [step.node for step in found.plan.steps()] == ["a", "b", "c"]
    assert [one.code for one in found.fleet.warnings] == ["expired-hold"]


async def test_the_status_names_the_hold_and_the_node_that_differs(store):
    site = Site(store, {"a": "old", "b": "new", "c": "new"})
    await site.hold("a")
    await site.hold("b")
    status = compute_status(await site.plan_result(hall()), OpenOrders(), None)
    assert [(node.node, node.state.value) for node in status.clusters[0].nodes] == [
        ("a", "held"),
        ("b", "as desired"),
        ("c", "as desired"),
    ]
    assert [(one.node, one.actor.why) for one in status.holds] == [("a", KIM.why), ("b", KIM.why)]
    assert status.reservations == ()
    assert not status.is_converged


async def test_a_plan_that_was_made_before_a_hold_is_refused(store):
    site = Site(store)
    before = await site.plan_result(hall())
    await site.hold("a")
    reserved = (await site.plan_result(hall())).guard_contexts[0].reserved
    (case,) = before.guard_contexts

    held = check_guards(before.fleet, [replace(case, reserved=reserved)], site.drivers)
    assert [one.code for one in held.in_force] == ["node-held"]
    with pytest.raises(GuardRefusal, match="a is held until"):
        await site.apply(replace(before, violations=held.in_force))


async def test_orders_are_in_the_history(store):
    site = Site(store)
    await site.hold("a")
    await site.release()
    released, held = await store.list_past_orders()
    assert (held.kind, held.cluster, held.node, held.until) == (
        "hold",
        "hall",
        "a",
        NOON + timedelta(hours=4),
    )
    assert (released.kind, released.node, released.actor) == ("release", "a", KIM)
