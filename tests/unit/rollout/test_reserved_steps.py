"""What a run does with nodes that are reserved before it, or while it runs."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, World, cluster
from support.rollouts import Bench, Returning, states

from reconciler.core.actor import Actor
from reconciler.core.operations import Operation
from reconciler.core.plan import Effect
from reconciler.core.reservations import ALLOW_STOP, RELEASE, Reservation
from reconciler.errors import GuardRefusal
from reconciler.planning.plan_pass import check_guards
from reconciler.store.factory import open_store


class Interrupting(Returning):
    """A product whose steps restart their nodes."""

    def plan(self, desired, observed):
        found = super().plan(desired, observed)
        return replace(found, steps=tuple(replace(step, effect=Effect.RESTART) for step in found.steps))


class Site(Bench):
    """Passes over a cluster whose nodes people reserve."""

    def __init__(self, store, values, driver=Returning):
        super().__init__(store, World(values), driver)

    def operation(self, name, node, kind=ALLOW_STOP):
        return Operation(
            id=name,
            kind=kind,
            cluster="hall",
            targets=(node,),
            actor=Actor("kim"),
            at=NOON,
            deadline=NOON,
            direct=True,
            waves=((node,),),
        )

    async def reserve(self, node, minutes=15):
        until = NOON + timedelta(minutes=minutes)
        one = Reservation(
            id=f"of-{node}", cluster="hall", node=node, actor=Actor("kim"), at=NOON, until=until
        )
        return await self.store.record_answer(
            self.operation(one.id, node), one, await self.store.see_cluster("hall")
        )

    async def release(self, node):
        await self.store.release(self.operation(f"end-of-{node}", node, RELEASE))

    async def codes(self, wanted):
        return [one.code for one in (await self.plan_result(wanted)).plan.findings()]


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


def hall(*, values=None, **more):
    return cluster("hall", values or dict.fromkeys("abc", "new"), settle=0.01, **more)


OLD = dict.fromkeys("abc", "old")


async def test_the_other_nodes_are_changed_and_the_reserved_one_after_its_release(store):
    site = Site(store, dict(OLD))
    await site.reserve("a")
    report = await site.run(hall())
    assert states(report) == {"b": "done", "c": "done"}
    assert (await site.codes(hall())) == ["node-reserved"]
    await site.release("a")
    assert states(await site.run(hall())) == {"a": "done"}


async def test_a_reservation_ends_by_its_time_once_the_node_is_seen(store, clock):
    site = Site(store, dict(OLD))
    await site.reserve("a")
    site.world.silent.add("a")
    clock.now += timedelta(hours=3)
    found = await site.plan_result(hall())
    assert found.guard_contexts[0].reserved.names == {"a"}, "it was stopped, and is not back yet"
    site.world.silent.clear()
    await site.run(hall())
    assert await store.reservations() == ()
    assert site.world.read("a") == "new"


async def test_a_wave_waits_for_a_reserved_node_and_the_wave_before_it_is_done(store):
    site = Site(store, dict(OLD))
    wanted = hall(rollout={"waves": [1, 1, 1]})
    plan = await site.plan_result(wanted)

    async def reserve():
        await site.reserve("b")

    site.soak.meanwhile = reserve
    report = await site.apply(plan)
    assert states(report) == {"a": "done", "b": "skipped", "c": "skipped"}
    assert [one.code for one in report.findings] == ["wave-waits"]
    assert "b: it is reserved until" in report.findings[0].message
    again = await site.plan_result(wanted)
    assert list(again.plan.steps()) == [], "no other node of the rollout is changed before it"
    await site.release("b")
    site.soak.meanwhile = lambda: None
    await site.run(wanted)
    assert site.world.values == dict.fromkeys("abc", "new")


async def test_a_node_that_is_reserved_between_plan_and_call_is_not_changed(store):
    site = Site(store, dict(OLD))
    plan = await site.plan_result(hall())
    await site.reserve("a")
    report = await site.apply(plan)
    assert states(report) == {"a": "skipped", "b": "done", "c": "done"}


async def test_a_node_that_is_reserved_between_judgement_and_intent_is_not_changed(store):
    """The last gap: the step was judged, and its intent is about to be written."""
    site = Site(store, {"a": "old", "b": "new"})
    observe, asked = site.driver.observe_step, []

    async def reserving(step, transports):
        if not asked:
            asked.append(step.node)
            await site.reserve(step.node)
        return await observe(step, transports)

    site.driver.observe_step = reserving
    report = await site.run(hall(values={"a": "new", "b": "new"}))
    assert states(report) == {"a": "skipped"}
    assert site.world.acts == []


@pytest.mark.parametrize(("driver", "changed"), [(Interrupting, {}), (Returning, {"b": "done"})])
async def test_a_restart_waits_while_another_node_is_reserved_and_a_harmless_change_does_not(
    store, driver, changed
):
    site = Site(store, {"a": "new", "b": "old", "c": "new"}, driver)
    await site.reserve("a")
    assert states(await site.run(hall())) == changed


async def test_a_restart_is_judged_with_what_was_reserved_during_the_run(store):
    site = Site(store, {"a": "old", "b": "new", "c": "new"}, Interrupting)
    plan = await site.plan_result(hall())
    await site.reserve("c")
    report = await site.apply(plan)
    (outcome,) = report.outcomes
    assert outcome.state.value == "skipped"
    assert "it must stay available now: c is reserved until" in outcome.reason


async def test_a_yes_is_not_given_while_a_step_on_the_node_is_open(store):
    site = Site(store, {"a": "old", "b": "new"})
    seen = await store.see_cluster("hall")
    act, answers = site.driver.act, []

    async def asking(step, transports, payloads):
        answers.append((await store.see_cluster("hall")).busy)
        until = NOON + timedelta(minutes=15)
        one = Reservation(id="x", cluster="hall", node="b", actor=Actor(), at=NOON, until=until)
        answers.append(await store.record_answer(site.operation("x", "b"), one, seen))
        return await act(step, transports, payloads)

    site.driver.act = asking
    await site.run(hall(values={"a": "new", "b": "new"}))
    assert answers == [{"a"}, False]
    assert (await store.see_cluster("hall")).busy == set()


async def test_a_plan_that_names_a_reserved_node_is_held(store):
    """As a plan file would that was made before: the guard is the second net."""
    site = Site(store, dict(OLD))
    plan = await site.plan_result(hall())
    await site.reserve("a")
    reserved = (await site.plan_result(hall())).guard_contexts[0].reserved
    (case,) = plan.guard_contexts
    held = check_guards(plan.fleet, [replace(case, reserved=reserved)], site.drivers)
    assert [one.code for one in held.in_force if one.hold] == ["node-reserved"]
    with pytest.raises(GuardRefusal, match="a is reserved until"):
        await site.apply(replace(plan, violations=held.in_force))


async def test_many_reservations_are_described_once_and_not_for_each_step(store, monkeypatch):
    described = []
    describe = Reservation.description.fget
    monkeypatch.setattr(
        Reservation, "description", property(lambda one: described.append(one.node) or describe(one))
    )
    nodes = [f"n{number}" for number in range(80)]
    site = Site(store, dict.fromkeys(nodes, "old"))
    for node in nodes[:40]:
        await site.reserve(node)
    found = await site.plan_result(hall(values=dict.fromkeys(nodes, "new")))
    assert len(list(found.plan.steps())) == 40
    planned = len(described)
    assert planned <= 3 * 40
    report = await site.apply(found)
    assert list(states(report).values()) == ["done"] * 40
    assert len(described) - planned <= 3 * 40
