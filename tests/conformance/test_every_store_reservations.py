"""Reservations in a store of any kind: each is decided once, ends once, and keeps its cluster."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, REVISION, FakeDriver, Wish, World, cluster

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.observation import Observed
from reconciler.core.operations import Operation, OperationResult, OperationState
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan
from reconciler.core.reservations import ALLOW_STOP, RELEASE, Reservation, SeenCluster
from reconciler.errors import ClusterBusy, ReservedMeanwhile
from reconciler.ports.store import RunStart, StepEnd
from reconciler.store.factory import open_store

KIM = Actor("kim", "ops-1", why="new memory")


class Now:
    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Now()


@pytest.fixture
def store(url, clock):
    with open_store(url, clock=clock) as store:
        yield store


def question(name, node="a", kind=ALLOW_STOP, state=OperationState.DONE):
    return Operation(
        id=name,
        kind=kind,
        cluster="edge",
        targets=(node,),
        actor=KIM,
        at=NOON,
        deadline=NOON + timedelta(minutes=15),
        direct=True,
        waves=((node,),),
        results={node: OperationResult(node, state, at=NOON)},
    )


def reservation(name, node="a"):
    until = NOON + timedelta(minutes=15)
    return Reservation(id=name, cluster="edge", node=node, actor=KIM, at=NOON, until=until)


async def answer_yes(store, name, node="a"):
    return await store.record_answer(
        question(name, node), reservation(name, node), await store.see_cluster("edge")
    )


def plan_of(**values) -> Plan:
    entry, world = cluster("edge", values), World(dict.fromkeys(values, "old"))
    seen = {name: world.answer(name) for name in values}
    return Plan(REVISION, "0.1.0", (FakeDriver(world).plan(Wish(entry), Observed(seen)),))


async def test_a_yes_is_read_back_and_its_question_is_over(store):
    assert await answer_yes(store, "one")
    assert await store.reservations("edge") == (reservation("one"),)
    assert (await store.read_memory()).get_cluster_memory("edge").reservations == (reservation("one"),)
    assert await store.reservations("other") == ()
    assert await store.open_operations() == ()
    assert await store.operations() == (question("one"),)


async def test_a_no_leaves_its_question_and_no_reservation(store):
    no = question("one", state=OperationState.FAILED)
    assert await store.record_answer(no, None, SeenCluster(busy=frozenset("z")))
    assert (await store.reservations(), await store.operations()) == ((), (no,))


async def test_of_two_yeses_that_saw_the_same_cluster_one_is_recorded(store):
    seen = await store.see_cluster("edge")
    assert await store.record_answer(question("one"), reservation("one"), seen)
    assert not await store.record_answer(question("two", "b"), reservation("two", "b"), seen)
    assert [one.node for one in await store.reservations()] == ["a"]
    assert [one.id for one in await store.operations()] == ["one"]


async def test_a_yes_is_not_recorded_once_a_step_was_sent_that_it_did_not_see(store):
    seen, plan = await store.see_cluster("edge"), plan_of(b="1")
    (step,) = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await store.record_intent(run, step, reserved=frozenset())
    assert not await store.record_answer(question("one"), reservation("one"), seen)
    assert await store.see_cluster("edge") == SeenCluster(busy=frozenset("b"))
    await store.record_outcomes(run, [StepEnd(Outcome(step, State.DONE))])
    assert await store.see_cluster("edge") == SeenCluster()


async def test_a_step_of_a_killed_run_keeps_its_node_busy(store, clock):
    plan = plan_of(b="1")
    (step,) = plan.steps()
    await store.record_intent(await store.begin_run(RunStart("command", plan)), step)
    clock.now += timedelta(days=2)
    assert (await store.see_cluster("edge")).busy == {"b"}


async def test_a_step_is_not_sent_once_a_node_was_reserved_that_it_was_not_judged_with(store):
    plan = plan_of(b="1")
    (step,) = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await answer_yes(store, "one")
    with pytest.raises(ReservedMeanwhile):
        await store.record_intent(run, step, reserved=frozenset())
    assert not (await store.see_cluster("edge")).busy
    await store.record_intent(run, step, reserved=frozenset({"one", "ended"}))


async def test_a_release_ends_every_reservation_of_the_node_and_a_second_one_nothing(store):
    await answer_yes(store, "one")
    await answer_yes(store, "two")
    await answer_yes(store, "other", "b")
    assert await store.release(question("three", kind=RELEASE)) == 2
    assert await store.release(question("four", kind=RELEASE)) == 0
    assert [one.id for one in await store.reservations()] == ["other"]
    assert [one.id for one in await store.operations()] == ["three", "other", "two", "one"]


async def test_a_reservation_that_is_over_stays_over(store):
    await answer_yes(store, "one")
    await store.end_reservations(["one", "never was"])
    await store.end_reservations(["one"])
    assert await store.reservations() == ()


async def test_fleets_do_not_see_each_others_reservations(store):
    ours = await store.enter_fleet(FleetIdentity("/srv/ours", name="ours"))
    theirs = await store.enter_fleet(FleetIdentity("/srv/theirs", name="theirs"))
    await answer_yes(ours, "one")
    assert await theirs.reservations() == ()
    assert await theirs.release(question("two", kind=RELEASE)) == 0
    assert (await theirs.see_cluster("edge")).reservations == frozenset()
    await theirs.end_reservations(["one"])
    assert [one.id for one in await ours.reservations()] == ["one"]


async def test_a_renamed_cluster_keeps_its_reservations(store):
    plan = plan_of(b="1")
    await store.begin_run(RunStart("command", plan))
    await answer_yes(store, "one")
    await store.rename_cluster("edge", "core", KIM)
    assert await store.reservations("edge") == ()
    assert await store.reservations("core") == (replace(reservation("one"), cluster="core"),)


async def test_they_outlive_the_process(url, clock):
    with open_store(url, clock=clock) as store:
        await answer_yes(store, "one")
    with open_store(url, clock=clock) as store:
        assert await store.reservations("edge") == (reservation("one"),)


async def test_questions_about_a_cluster_take_turns(store):
    async with store.lock_questions("edge", 1):
        async with store.lock("edge"), store.lock_questions("other", 0):
            pass
        with pytest.raises(ClusterBusy, match="another question about cluster edge"):
            async with store.lock_questions("edge", 0.1):
                pass
    async with store.lock_questions("edge", 0):
        pass
