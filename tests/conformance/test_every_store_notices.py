"""What people are told goes once into the outbox of any store, and leaves it when it is delivered."""

from datetime import timedelta

import pytest
from support.driver import NOON, REVISION, FakeDriver, Wish, World, cluster

from reconciler.core.actor import Actor
from reconciler.core.alerts import Alert, AlertEvent, AlertSeverity
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan
from reconciler.ports.notification_store import AlertScope, DeliveryEnd, TellingRules
from reconciler.ports.store import RunStart, StepEnd
from reconciler.store.factory import open_store
from reconciler.store.sql.notices import MOST_WAITING

OURS = FleetIdentity("/srv/ours", name="ours")
EVERYBODY = TellingRules(lambda _notice: ("ops #1",), timedelta(minutes=5))
EDGE = AlertScope("edge")


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def pass_minutes(self, minutes):
        self.now += timedelta(minutes=minutes)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def store(url, clock):
    with open_store(url, clock=clock) as store:
        yield await store.enter_fleet(OURS)


def unread(*nodes, severity=AlertSeverity.WARNING):
    return Alert(
        AlertEvent.NODES_UNREAD, severity, f"edge: {len(nodes)} nodes are not read", nodes, "edge",
        end_title="edge: every node is read",
    )  # fmt: skip


async def take(store, holder="one", address="ops #1"):
    return await store.take_notices(address, holder, 60.0, lambda _state, _now: True)


async def deliver(store):
    """The titles that wait, which then count as delivered."""
    taken = await take(store)
    if taken is None:
        return []
    await store.end_delivery("ops #1", "one", taken.last, DeliveryEnd(kept_times=3))
    return [notice.title for notice in taken.notices]


async def test_a_state_is_told_once_and_again_when_it_concerns_more(store):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    assert await deliver(store) == ["edge: 1 nodes are not read"]
    await store.record_alerts(EDGE, [unread("a", "b")], EVERYBODY)
    assert await deliver(store) == ["edge: 2 nodes are not read"]
    await store.record_alerts(EDGE, [unread("b")], EVERYBODY)
    assert await deliver(store) == []
    await store.record_alerts(EDGE, [unread("b", severity=AlertSeverity.ERROR)], EVERYBODY)
    assert await deliver(store) == ["edge: 1 nodes are not read"]


async def test_what_comes_and_goes_is_told_once_and_its_end_once(store, clock):
    for _ in range(4):
        await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
        clock.pass_minutes(1)
        await store.record_alerts(EDGE, [], EVERYBODY)
        clock.pass_minutes(4)
    assert await deliver(store) == ["edge: 1 nodes are not read"]
    clock.pass_minutes(2)
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == ["edge: every node is read"]
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == []


async def test_what_a_pass_found_nothing_out_about_goes_on(store, clock):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    await deliver(store)
    clock.pass_minutes(10)
    scope = AlertScope("edge", kept=frozenset({AlertEvent.NODES_UNREAD}))
    await store.record_alerts(scope, [], EVERYBODY)
    clock.pass_minutes(10)
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == []


async def test_a_cluster_that_left_the_fleet_is_forgotten(store, clock):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    await deliver(store)
    await store.forget_alerts(["core"])
    clock.pass_minutes(10)
    await store.record_alerts(EDGE, [], EVERYBODY)
    assert await deliver(store) == []


async def test_an_order_is_told_with_who_and_why_and_none_from_before_the_first_call(store):
    await store.suspend("core", "earlier", Actor("lee"))
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == []
    await store.suspend("edge", "<!channel> fire", Actor("kim", "ops-1"))
    await store.resume("", Actor("kim"))
    await store.record_look("edge", Actor("kim"))
    await store.tell_history(EVERYBODY)
    taken = await take(store)
    assert [one.event for one in taken.notices] == [AlertEvent.SUSPENDED, AlertEvent.RESUMED]
    assert taken.notices[0].details == ("by kim on ops-1", "reason: <!channel> fire")
    assert taken.notices[1].title.startswith("all clusters: ")
    await store.tell_history(EVERYBODY)
    assert (await store.list_addresses())["ops #1"].waiting == 2


async def test_an_old_order_is_passed_over(store, clock):
    await store.tell_history(EVERYBODY)
    await store.suspend("edge", "fire", Actor("kim"))
    clock.pass_minutes(25 * 60)
    await store.tell_history(EVERYBODY)
    await store.resume("edge", Actor("kim"))
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == ["edge: changes are permitted again"]


async def fail_run(store, *, state=State.FAILED):
    world = World({"a": "old"})
    plan = FakeDriver(world).plan(Wish(cluster("edge", {"a": "1"})), Observed({"a": world.answer("a")}))
    run = await store.begin_run(RunStart("interval", Plan(REVISION, "0.1.0", (plan,))))
    (step,) = plan.steps
    await store.record_intent(run, step)
    await store.record_outcomes(run, [StepEnd(Outcome(step, state, "it answered 500"))])
    await store.finish_run(run, 5 if state is State.FAILED else 0)
    return run


async def test_a_failed_run_is_told_until_a_good_pass(store, clock):
    await store.tell_history(EVERYBODY)
    await fail_run(store, state=State.DONE)
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == []
    run = await fail_run(store)
    await store.tell_history(EVERYBODY)
    taken = await take(store)
    (notice,) = taken.notices
    assert notice.event is AlertEvent.RUN_FAILED
    assert "a: it answered 500" in notice.details
    assert run in notice.remedy
    await store.end_delivery("ops #1", "one", taken.last, DeliveryEnd())
    await fail_run(store)  # the retry of the same node
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == []
    await store.record_alerts(EDGE, [], EVERYBODY)
    clock.pass_minutes(6)
    await store.tell_history(EVERYBODY)
    assert await deliver(store) == ["edge: as desired again"]


async def test_a_rejected_revision_is_told_with_the_pass_of_its_cluster(store):
    await store.record_alerts(EDGE, [], EVERYBODY)
    assert await deliver(store) == []
    async with store.lock("edge"):
        await store.reject("edge", REVISION, "the metric rose", ends_rollout=True)
    await store.record_alerts(EDGE, [], EVERYBODY)
    taken = await take(store)
    (notice,) = taken.notices
    assert (notice.event, notice.severity) == (AlertEvent.REVISION_REJECTED, AlertSeverity.CRITICAL)
    assert taken.state.is_urgent
    assert notice.details == ("the metric rose",)


async def test_one_process_sends_at_a_time_and_a_killed_one_only_delays(store, clock):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    first = await take(store, "one")
    assert await take(store, "two") is None
    clock.pass_minutes(2)  # the first was killed
    second = await take(store, "two")
    assert second.notices == first.notices
    await store.end_delivery("ops #1", "one", first.last, DeliveryEnd("late", give_up=timedelta()))
    assert (await store.list_addresses())["ops #1"].holder == "two"
    await store.end_delivery("ops #1", "two", second.last, DeliveryEnd(kept_times=1))
    assert await take(store, "three") is None


async def test_what_comes_in_during_a_delivery_waits_for_the_next(store):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    taken = await take(store)
    await store.record_alerts(EDGE, [unread("a", "b")], EVERYBODY)
    await store.end_delivery("ops #1", "one", taken.last, DeliveryEnd())
    assert await deliver(store) == ["edge: 2 nodes are not read"]


async def test_a_failure_keeps_notices_until_they_are_too_old(store, clock):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    failed = DeliveryEnd("it answered 500", NOON + timedelta(minutes=1), timedelta(hours=1))
    taken = await take(store)
    assert await store.end_delivery("ops #1", "one", taken.last, failed) == 0
    state = (await store.list_addresses())["ops #1"]
    assert (state.waiting, state.failures, state.problem) == (1, 1, "it answered 500")
    assert state.next_try == NOON + timedelta(minutes=1)
    clock.pass_minutes(61)
    taken = await take(store)
    assert await store.end_delivery("ops #1", "one", taken.last, failed) == 1
    state = (await store.list_addresses())["ops #1"]
    assert (state.waiting, state.given_up) == (0, 1)


async def test_an_outbox_without_room_counts_what_it_drops(store):
    many = [
        Alert(
            AlertEvent.DRIFT, AlertSeverity.WARNING, f"number {number}", cluster="edge", subject=str(number)
        )
        for number in range(MOST_WAITING + 7)
    ]
    await store.record_alerts(EDGE, many, EVERYBODY)
    taken = await take(store)
    assert len(taken.notices) == MOST_WAITING
    assert taken.state.dropped == 7
    assert taken.notices[-1].title == f"number {MOST_WAITING + 6}"


async def test_notices_of_an_address_that_nobody_has_any_more_are_given_up(store, clock):
    await store.record_alerts(EDGE, [unread("a")], EVERYBODY)
    assert await store.drop_addresses([], timedelta(hours=1)) == 0
    clock.pass_minutes(61)
    assert await store.drop_addresses(["ops #1"], timedelta(hours=1)) == 0
    assert await store.drop_addresses([], timedelta(hours=1)) == 1
    assert await store.list_addresses() == {}


async def test_a_store_of_one_host_knows_no_silent_one(store):
    assert await store.list_silent_hosts() == ()
