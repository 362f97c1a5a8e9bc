"""What a store of any kind writes down survives, is found again, and never says more than is known."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, REVISION, FakeDriver, Wish, World, cluster

from reconciler.core.actor import Actor
from reconciler.core.arguments import RawArguments
from reconciler.core.fleet_matching import HOST, NEW, FleetIdentity
from reconciler.core.memory import PlaceClaim
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.pins import LeftRevision
from reconciler.core.plan import Plan, Revision
from reconciler.core.rollout_rules import RolloutProgress
from reconciler.errors import (
    ClusterBusy,
    FleetRefused,
    RunFenced,
    StateError,
    SuspendedMeanwhile,
    UsageError,
)
from reconciler.ports.store import AppliedMembers, ClusterFacts, OutboxMessage, RunStart, StepEnd
from reconciler.store.factory import make_run_id, open_store

OURS, THEIRS = FleetIdentity("/srv/ours", name="ours"), FleetIdentity("/srv/theirs", name="theirs")


class Ticking:
    """A clock that goes on by a second each time it is asked."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


def plan_of(name="edge", /, **values) -> Plan:
    entry = cluster(name, values)
    world = World(dict.fromkeys(values, "old"))
    driver = FakeDriver(world)
    seen = {name: world.answer(name) for name in values}
    return Plan(REVISION, "0.1.0", (driver.plan(Wish(entry), Observed(seen)),))


@pytest.fixture
def clock():
    return Ticking()


@pytest.fixture
def store(url, clock):
    numbers = iter(range(10_000))
    with open_store(url, clock=clock, name=lambda: f"run-{next(numbers):04}") as store:
        yield store


async def test_a_run_is_read_back_as_it_was_written(store):
    plan = plan_of(a="1", b="2")
    first, second = plan.steps()
    run = await store.begin_run(RunStart("webhook", plan))
    await store.record_intent(run, first)
    await store.record_outcomes(
        run,
        [
            StepEnd(
                Outcome(first, State.DONE, "it shows", 1.5, ("port",)), answer="accepted", facts={"k": "v"}
            )
        ],
    )
    await store.record_outcomes(run, [StepEnd(Outcome(second, State.SKIPPED, "stopped"))])
    await store.finish_run(run, 5)
    record = await store.run(run)
    assert record.plan.encode() == plan.encode()
    assert record.summary.trigger == "webhook"
    assert (record.summary.revision, record.summary.title) == (REVISION.id, REVISION.title)
    assert record.summary.digest == plan.digest
    assert record.summary.exit_status == 5
    assert record.summary.finished > record.summary.started
    assert record.summary.counts == {"done": 1, "skipped": 1}
    done, skipped = record.entries
    assert (done.state, done.reason, done.seconds, done.answer) == (State.DONE, "it shows", 1.5, "accepted")
    assert done.waiting_for_restart == ("port",)
    assert done.intended < done.ended
    assert (skipped.intended, skipped.state, skipped.reason) == (None, State.SKIPPED, "stopped")


async def test_another_process_sees_what_was_written(store, url):
    run = await store.begin_run(RunStart("command", plan_of(a="1")))
    with open_store(url) as other:
        assert [line.id for line in await other.runs()] == [run]
        assert (await other.run(run)).summary.counts == {"open": 1}


async def test_runs_come_newest_first_and_are_found_by_the_beginning_of_their_id(store):
    ids = [await store.begin_run(RunStart("command", plan_of(a=str(number)))) for number in range(12)]
    assert [line.id for line in await store.runs(3)] == ids[:-4:-1]
    assert [line.id for line in await store.runs(3, before=ids[-3])] == ids[-4:-7:-1]
    assert await store.runs(3, before=ids[0]) == await store.runs(3, before="run-0099") == ()
    assert (await store.run("run-0011")).summary.id == ids[11]
    with pytest.raises(UsageError, match=r"10 runs begin with 'run-000': run-0009, .* …"):
        await store.run("run-000")
    with pytest.raises(UsageError, match="no run 'run-0099'; similar ids: run-0009"):
        await store.run("run-0099")
    with pytest.raises(UsageError, match="no run 'zzz'; newest runs: run-0011, "):
        await store.run("zzz")
    with pytest.raises(UsageError, match="no run ''"):
        await store.run("")


async def test_the_runs_and_steps_of_one_cluster_are_found_without_their_plans(store):
    def plan(name, value):
        entry, world = cluster(name, {"a": value, "b": value}), World({"a": "old", "b": "old"})
        seen = Observed({node: world.answer(node) for node in ("a", "b")})
        return FakeDriver(world).plan(Wish(entry), seen)

    both = await store.begin_run(
        RunStart("command", Plan(REVISION, "1", (plan("edge", "1"), plan("lab", "1"))))
    )
    (first, *_) = (one for one in (await store.run(both)).plan.steps() if one.cluster == "lab")
    await store.record_intent(both, first)
    await store.record_outcomes(both, [StepEnd(Outcome(first, State.DONE, "it shows"))])
    idle = await store.begin_run(RunStart("command", Plan(REVISION, "1", (plan("edge", "old"),))))
    lab = await store.begin_run(RunStart("command", Plan(REVISION, "1", (plan("lab", "2"),))))
    assert [one.id for one in await store.runs(cluster="lab")] == [lab, both]
    assert [one.id for one in await store.runs(1, cluster="lab")] == [lab]
    assert [one.id for one in await store.runs(cluster="lab", before=lab)] == [both]
    assert [one.id for one in await store.runs(cluster="edge")] == [both]
    assert await store.runs(cluster="none") == ()
    assert await store.count_cluster_steps([both, idle, "none"]) == {
        both: {"edge": {"open": 2}, "lab": {"done": 1, "open": 1}}
    }
    assert await store.count_cluster_steps([]) == {}


async def test_an_empty_history_is_reported(store):
    with pytest.raises(UsageError, match="the history is empty"):
        await store.run("x")


async def test_an_id_that_is_taken_is_not_used_again(url):
    names = iter(["same", "same", "other"])
    with open_store(url, name=lambda: next(names)) as store:
        assert await store.begin_run(RunStart("command", plan_of(a="1"))) == "same"
        assert await store.begin_run(RunStart("command", plan_of(a="1"))) == "other"


def test_ids_are_short_and_sort_by_time():
    early, late = make_run_id(lambda: NOON), make_run_id(lambda: NOON + timedelta(seconds=1))
    assert early.startswith("20261121-120000-")
    assert early < late
    assert len(early) == 20


async def test_an_intent_of_an_unknown_run_is_refused(store):
    (step,) = plan_of(a="1").steps()
    with pytest.raises(StateError, match="no longer in the journal"):
        await store.record_intent("gone", step)


async def test_unsettled_are_open_runs_and_unknown_results_without_a_later_result(store):
    plan = plan_of(a="1", b="2")
    first, second = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await store.record_intent(run, first)
    (left,) = await store.list_open_runs()
    assert [(entry.step, bool(entry.intended), entry.state) for entry in left.entries] == [
        (first, True, None),
        (second, False, None),
    ]
    await store.record_outcomes(
        run, [StepEnd(Outcome(first, State.UNKNOWN)), StepEnd(Outcome(second, State.FOUND))]
    )
    await store.finish_run(run, 5)
    assert [record.summary.id for record in await store.list_open_runs()] == [run]
    again = await store.begin_run(RunStart("command", plan))
    await store.record_outcomes(again, [StepEnd(Outcome(step, State.FOUND)) for step in plan.steps()])
    await store.finish_run(again, 0)
    assert await store.list_open_runs() == ()


async def test_a_step_stays_unknown_while_later_runs_only_do_other_nodes(store):
    plan = plan_of(a="1", b="2")
    first, second = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    for step in plan.steps():
        await store.record_intent(run, step)
    await store.record_outcomes(run, [StepEnd(Outcome(step, State.UNKNOWN)) for step in plan.steps()])
    await store.finish_run(run, 5)
    again = await store.begin_run(RunStart("command", plan))
    await store.record_intent(again, second)
    await store.record_outcomes(
        again, [StepEnd(Outcome(first, State.SKIPPED)), StepEnd(Outcome(second, State.DONE))]
    )
    await store.finish_run(again, 5)
    (left,) = await store.list_open_runs()
    assert (left.summary.id, [entry.step for entry in left.entries]) == (run, [first])


async def test_an_unknown_step_that_was_never_sent_is_settled(store):
    plan = plan_of(a="1")
    (step,) = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await store.record_outcomes(run, [StepEnd(Outcome(step, State.UNKNOWN))])
    await store.finish_run(run, 5)
    assert await store.list_open_runs() == ()


async def test_a_refusal_is_kept_with_its_verdicts_and_not_repeated(store):
    plan = plan_of(a="1")
    run = await store.record_refused_run(RunStart("interval", plan), "too many nodes")
    assert await store.record_refused_run(RunStart("interval", plan), "too many nodes") == run
    other = await store.record_refused_run(RunStart("interval", plan), "no quorum")
    lines = await store.runs()
    assert [(line.id, line.exit_status, line.note) for line in lines] == [
        (other, 3, "no quorum"),
        (run, 3, "too many nodes"),
    ]
    assert lines[0].counts == {}
    assert await store.list_open_runs() == ()


async def test_the_memory_leaves_out_the_nodes_of_some_clusters_and_not_their_history(store):
    for name in ("edge", "core"):
        await store.store_facts(name, {"a": {"revision": "one", "mode": "block"}})
        await store.record_pass(name, ClusterFacts(applied=REVISION))
    whole, part = await store.read_memory(), await store.read_memory(without_nodes={"core"})
    assert part.facts == {"edge": whole.facts["edge"]}
    assert part.get_cluster_memory("edge") == whole.get_cluster_memory("edge")
    assert part.get_cluster_memory("core") == replace(whole.get_cluster_memory("core"), shown_revisions={})


async def test_the_open_runs_of_a_cluster_are_those_with_a_step_of_it(store):
    plans = {name: plan_of(name, a="1") for name in ("edge", "core", "dock")}
    runs = {name: await store.begin_run(RunStart("command", plan)) for name, plan in plans.items()}
    (lost,) = plans["core"].steps()
    await store.record_intent(runs["core"], lost)
    await store.record_outcomes(runs["core"], [StepEnd(Outcome(lost, State.UNKNOWN))])
    await store.finish_run(runs["core"], 1)
    await store.finish_run(runs["dock"], 0)
    assert [one.summary.id for one in await store.list_open_runs()] == [runs["edge"], runs["core"]]
    for name, found in (("edge", [runs["edge"]]), ("core", [runs["core"]]), ("dock", []), ("none", [])):
        records = await store.list_open_runs(name)
        assert [one.summary.id for one in records] == found
        assert [one for one in await store.list_open_runs() if one.summary.id in found] == list(records)


async def test_the_memory_of_one_cluster_is_its_part_of_the_whole(store):
    for name in ("edge", "core"):
        await store.store_facts(name, {"a": {"revision": "one", "mode": "block"}})
        await store.record_pass(name, ClusterFacts(applied=REVISION))
        await store.claim_places({f"{name}:80": (name, "a")}, ())
    plan = plan_of(a="1")
    run = await store.begin_run(RunStart("command", plan))
    await store.record_intent(run, next(iter(plan.steps())))
    await store.suspend("edge", "a fault", Actor())
    await store.suspend("", "all", Actor())
    whole, one = await store.read_memory(), await store.read_cluster_memory("edge")
    changes = whole.get_cluster_memory("edge").recent_changes
    assert [node for node, _ in changes] == ["a"]
    own = one.get_cluster_memory("edge")
    assert [node for node, _ in own.recent_changes] == ["a"]
    assert replace(own, recent_changes=changes) == whole.get_cluster_memory("edge")
    assert {one.cluster for one in own.suspended} == {"", "edge"}
    assert set(one.cluster_memory) == set(one.facts) == {"edge"}
    part = await store.read_memory(without_nodes={"core"})
    assert set(whole.claims) == {"edge:80", "core:80"}
    assert set(part.claims) == {"edge:80"}
    assert part.get_cluster_memory("edge").recent_changes
    others = await store.select_fleet(NEW).read_memory(without_nodes={"core"})
    assert set(others.claims) == {"edge:80", "core:80"}, "another fleet needs all claims of this one"


async def test_facts_keep_their_since_until_they_change(store):
    await store.store_facts("edge", {"a": {"revision": "one", "mode": "block"}})
    first = (await store.read_memory()).get_cluster_memory("edge").shown_revisions["a"]
    for _ in range(3):
        await store.store_facts("edge", {"a": {"revision": "one"}})
        assert (await store.read_memory()).get_cluster_memory("edge").shown_revisions["a"] == first, (
            "looked at, and not changed"
        )
    await store.store_facts("edge", {"a": {"revision": "two"}})
    second = (await store.read_memory()).get_cluster_memory("edge").shown_revisions["a"]
    assert second.revision == "two"
    assert second.since > first.since
    assert (await store.read_memory()).facts == {"edge": {"a": {"revision": "two", "mode": "block"}}}
    await store.store_facts("edge", {"a": {"mode": ""}})
    assert (await store.read_memory()).facts == {"edge": {"a": {"revision": "two"}}}


async def test_only_a_completed_step_adds_facts(store):
    plan = plan_of(a="1", b="2")
    run = await store.begin_run(RunStart("command", plan))
    for step, state in zip(plan.steps(), (State.DONE, State.FAILED), strict=True):
        await store.record_outcomes(run, [StepEnd(Outcome(step, state), facts={"mode": "block"})])
    memory = await store.read_memory()
    assert memory.list_node_facts("edge") == {"a": {"mode": "block"}}


async def test_a_used_confirmation_stays_used(store):
    plan = plan_of(a="1")
    run = await store.begin_run(RunStart("command", plan))
    await store.record_outcomes(
        run, [StepEnd(Outcome(next(plan.steps()), State.DONE), used_confirmations={"collapsed": "why"})]
    )
    assert (await store.read_memory()).list_node_facts("edge") == {"a": {"collapsed": "why"}}


async def test_the_past_counts_nodes_and_what_was_sent_to_them(store):
    plan = plan_of(a="1", b="2")
    first, second = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await store.record_intent(run, first)
    await store.record_outcomes(run, [StepEnd(Outcome(step, State.FAILED)) for step in (first, second)])
    await store.record_pass("edge", ClusterFacts(members=AppliedMembers(2, ("a", "b"), "/repo")))
    memory = await store.read_memory()
    cluster_memory = memory.cluster_memory["edge"]
    assert (cluster_memory.nodes, cluster_memory.names, cluster_memory.source) == (2, {"a", "b"}, "/repo")
    ((node, hours),) = cluster_memory.recent_changes
    assert node == "a"
    assert 0 < hours < 0.01
    assert memory.facts == {}


async def test_a_change_made_while_the_clock_was_ahead_is_as_old_as_the_next_run_shows(store, clock):
    plan = plan_of(a="1")
    (step,) = plan.steps()

    async def change():
        run = await store.begin_run(RunStart("command", plan))
        await store.record_intent(run, step)
        await store.record_outcomes(run, [StepEnd(Outcome(step, State.DONE))])
        await store.finish_run(run, 0)

    async def read_ages():
        return [hours for _, hours in (await store.read_memory()).cluster_memory["edge"].recent_changes]

    clock.now = NOON + timedelta(days=2)
    await change()
    clock.now = NOON
    assert (await read_ages())[0] == pytest.approx(-48, abs=0.1)
    await change()
    clock.now = NOON + timedelta(hours=3)
    assert await read_ages() == [pytest.approx(3, abs=0.1)] * 2


async def test_a_pass_over_all_of_a_cluster_answers_its_request_and_one_over_a_part_does_not(store):
    await store.request_approval("edge", "d1", "c0ffee0", "2 steps")
    await store.record_pass("edge", ClusterFacts(applied=REVISION, shown_revisions={"a": REVISION.id}))
    cluster_memory, standing = (await store.read_memory()).get_cluster_memory("edge"), await store.orders()
    assert (cluster_memory.applied, cluster_memory.shown_revisions["a"].revision, cluster_memory.nodes) == (
        REVISION,
        REVISION.id,
        0,
    )
    assert [(one.cluster, one.digest, one.description) for one in standing.requests] == [
        ("edge", "d1", "2 steps")
    ]
    await store.record_pass("edge", ClusterFacts(members=AppliedMembers(1, ("a",), "/repo")))
    assert (await store.orders()).requests == ()
    await store.forget_members("edge")
    cluster_memory = (await store.read_memory()).get_cluster_memory("edge")
    assert (cluster_memory.nodes, cluster_memory.names, cluster_memory.source, cluster_memory.applied) == (
        0,
        frozenset(),
        "",
        REVISION,
    )


async def test_an_open_rollout_is_kept_until_it_ends_or_its_revision_is_rejected(store):
    for ends in (
        lambda: store.store_progress("edge", None),
        lambda: store.reject("edge", REVISION, "wave 1 failed", ends_rollout=True),
        lambda: store.record_pass("edge", ClusterFacts(ends_rollout=True)),
    ):
        await store.store_progress(
            "edge", RolloutProgress("content", number=1, total=3, wave=("edge/a/set",))
        )
        await store.reject("edge", REVISION, "wave 1 failed", ends_rollout=False)
        assert (await store.read_memory()).get_cluster_memory("edge").progress.nodes == {"a"}
        await ends()
        assert (await store.read_memory()).get_cluster_memory("edge").progress is None
    assert (await store.read_memory()).get_cluster_memory("edge").rejected == {REVISION.id: "wave 1 failed"}


async def test_a_pin_is_remembered_with_its_begin_until_it_ends(store):
    new, old, other = (Revision("/repo", digit * 40, digit) for digit in "321")
    left = (LeftRevision(new.id, "3", "k3"),)
    await store.pin("edge", old, left, Actor("kim", why="it broke"))
    await store.reject("edge", other, "wave 1 failed", ends_rollout=False)
    cluster_memory = (await store.read_memory()).get_cluster_memory("edge")
    pin = cluster_memory.pin
    assert (pin.revision, pin.left, pin.by, pin.reason) == (old, left, "kim", "it broke")
    assert cluster_memory.rejected == {other.id: "wave 1 failed"}
    assert (await store.orders()).pins == (pin,)
    await store.pin("edge", old, left, Actor("lee"))
    assert (await store.orders()).pins == (pin,), "the same again: it stays known who began it"
    await store.pin("edge", other, (*left, LeftRevision(old.id)), Actor("lee"))
    assert [(one.by, one.revision) for one in (await store.orders()).pins] == [("lee", other)]
    await store.pin("edge", new, (), Actor("kim", why="fixed"))
    cluster_memory = (await store.read_memory()).get_cluster_memory("edge")
    assert (cluster_memory.pin, cluster_memory.rejected) == (None, {other.id: "wave 1 failed"})
    acts = [(one.kind, one.actor.why) for one in await store.list_past_orders()]
    assert acts == [
        ("unpin", "rolled back to 3: fixed"),
        ("pin", "at 1, rolled back from 3, " + "2" * 40),
        ("pin", "at 2, rolled back from 3: it broke"),
    ]


async def test_a_pin_ends_by_name_for_the_host_too(store):
    revision = Revision("/repo", "2" * 40, "2")
    await store.pin("edge", revision, (LeftRevision("3" * 40),), Actor("kim"))
    host = store.select_fleet(HOST)
    assert list(await host.unpin("edge-2", Actor("kim"))) == []
    assert list(await host.unpin("edge", Actor("kim", why="done"))) == ["2"]
    assert (await store.orders()).pins == ()
    assert list(await host.unpin("edge", Actor("kim"))) == []


async def test_a_suspension_holds_for_its_cluster_or_for_all_until_it_is_resumed(store):
    await store.suspend("", "a storm", Actor("lee"))
    await store.suspend("edge", "it looks odd", Actor("kim"))
    memory = await store.read_memory()
    assert [one.reason for one in memory.get_cluster_memory("edge").suspended] == ["a storm", "it looks odd"]
    assert [one.reason for one in memory.get_cluster_memory("live").suspended] == ["a storm"]
    await store.resume("", Actor("kim"))
    assert [one.reason for one in (await store.read_memory()).get_cluster_memory("edge").suspended] == [
        "it looks odd"
    ]


async def test_an_approval_is_for_one_run(store):
    await store.approve("d1", Actor("kim"), "looked at it")
    assert (await store.read_memory()).get_cluster_memory("edge").approved == {"d1"}
    (found,) = (await store.orders()).approvals
    assert (found.digest, found.by, found.reason) == ("d1", "kim", "looked at it")
    await store.use_approval("d1")
    assert (await store.read_memory()).get_cluster_memory("edge").approved == frozenset()


async def test_approvals_of_two_persons_stay_side_by_side_and_are_used_together(store):
    await store.approve("d1", Actor("kim"), "looked at it")
    await store.approve("d1", Actor("lee"), "me too")
    await store.approve("d1", Actor("lee"), "looked again")
    await store.approve("d12", Actor("lee"), "another plan")
    found = (await store.orders()).approvals
    assert [(one.digest, one.by, one.reason) for one in found] == [
        ("d1", "kim", "looked at it"),
        ("d1", "lee", "looked again"),
        ("d12", "lee", "another plan"),
    ]
    await store.use_approval("d1")
    assert (await store.read_memory()).get_cluster_memory("edge").approved == {"d12"}


async def test_the_place_of_a_node_is_claimed_by_the_last_fleet_that_wrote_there(store):
    ours, theirs = await store.enter_fleet(OURS), await store.enter_fleet(THEIRS)
    await ours.claim_places({"192.0.2.1:80": ("edge", "a"), "192.0.2.2:80": ("edge", "b")}, ())
    await theirs.claim_places({"192.0.2.1:80": ("edge", "a")}, ())
    await ours.claim_places({}, ["192.0.2.1:80", "192.0.2.2:80"])
    memory = await theirs.read_memory()
    assert memory.claims == {"192.0.2.1:80": PlaceClaim(memory.fleet, "edge", "a", "theirs")}


async def test_one_run_at_a_time_holds_a_cluster(store, url):
    with open_store(url) as other:
        async with store.lock("edge"):
            with pytest.raises(ClusterBusy, match=r"cluster edge is being changed by .*process \d+"):
                async with other.lock("edge"):
                    pass
            async with other.lock("live"):
                pass
        async with other.lock("edge"):
            pass


async def test_a_cluster_name_of_any_length_can_be_locked(store):
    async with store.lock("x" * 253):
        with pytest.raises(ClusterBusy):
            async with store.lock("x" * 253):
                pass
        async with store.lock("x" * 252 + "y"):
            pass


async def test_a_message_is_enqueued_once_and_leaves_the_outbox_when_sent(store):
    plan = plan_of(a="1", b="2")
    run = await store.begin_run(RunStart("command", plan))
    first, second = plan.steps()
    for _ in range(2):
        await store.record_outcomes(
            run, [StepEnd(Outcome(first, State.DONE), outbox_message=OutboxMessage("one", b'{"a":1}'))]
        )
    await store.record_outcomes(
        run, [StepEnd(Outcome(second, State.DONE), outbox_message=OutboxMessage("two", b"{}", wanted=False))]
    )
    (outbox_message,) = await store.list_due()
    assert (outbox_message.id, outbox_message.body) == ("one", b'{"a":1}')
    await store.mark_failed("one", "it answered 503", refused=False)
    assert await store.count_pending() == 1
    assert await store.list_due(beyond=outbox_message.number) == ()
    await store.mark_sent("one")
    assert (await store.list_due(), await store.count_pending()) == ((), 0)
    one, two = (await store.run(run)).messages
    assert (one.step, one.attempts, one.error, bool(one.delivered)) == (first.id, 2, "", True)
    assert (two.body, two.wanted, two.delivered) == ("{}", False, None)


async def test_a_message_that_is_refused_again_and_again_stays_in_the_history_alone(store):
    plan = plan_of(a="1")
    (step,) = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await store.record_outcomes(
        run, [StepEnd(Outcome(step, State.DONE), outbox_message=OutboxMessage("one", b"{}"))]
    )
    for _ in range(100):
        await store.mark_failed("one", "no answer", refused=False)
    assert await store.count_pending() == 1
    for _ in range(5):
        await store.mark_failed("one", "it answered 400", refused=True)
    assert await store.count_pending() == 0
    assert (await store.run(run)).messages[0].error == "it answered 400"


async def test_many_tasks_write_through_one_connection(store):
    plan = plan_of(**{f"n{number}": "new" for number in range(60)})
    run = await store.begin_run(RunStart("command", plan))

    async def one(step):
        await store.record_intent(run, step)
        await store.record_outcomes(run, [StepEnd(Outcome(step, State.DONE))])

    await asyncio.gather(*(one(step) for step in plan.steps()))
    assert (await store.run(run)).summary.counts == {"done": 60}


async def test_a_failed_write_leaves_nothing_half_written(store):
    plan = plan_of(a="1", b="2")
    run = await store.begin_run(RunStart("command", plan))
    first, second = plan.steps()
    with pytest.raises(StateError):
        await store.record_outcomes(
            run,
            [
                StepEnd(Outcome(first, State.DONE), outbox_message=OutboxMessage("one", b"{}")),
                StepEnd(Outcome(second, State.DONE), outbox_message=OutboxMessage("two", object())),
            ],
        )
    assert await store.count_pending() == 0
    assert [entry.state for entry in (await store.run(run)).entries] == [None, None]


async def test_a_holder_whose_lock_was_taken_over_cannot_intend_any_more(kind, url, tmp_path):
    plan = plan_of(a="1")
    (step,) = plan.steps()
    with open_store(url) as old, open_store(url) as new:
        run = await old.begin_run(RunStart("command", plan))
        async with old.lock(step.cluster):
            await old.record_intent(run, step)
            kind.lose_locks(tmp_path)
            async with new.lock(step.cluster):
                with pytest.raises(RunFenced, match=r"a later run took over from run .* \[fenced\]"):
                    await old.record_intent(run, step)
                await new.record_intent(run, step)
            with pytest.raises(RunFenced):
                await old.record_intent(run, step)


class TestIntentFacts:
    """What a step says from the moment of its intent: a run that is killed leaves no doubt about it."""

    @pytest.fixture
    def plan(self):
        plan = plan_of(a="1")
        (own,) = plan.clusters
        (step,) = own.steps
        taught = {"a": {"began": "yes"}, "b": {"began": "yes"}}
        step = replace(step, arguments=RawArguments({**step.arguments.plain(), "intent_facts": taught}))
        return replace(plan, clusters=(replace(own, steps=(step,)),))

    async def known(self, store):
        facts = (await store.read_memory()).facts.get("edge", {})
        return {node for node, own in facts.items() if "began" in own}

    async def test_they_are_on_disk_before_the_call_and_stay_where_the_run_is_killed(self, store, plan):
        (step,) = plan.steps()
        run = await store.begin_run(RunStart("command", plan))
        assert await self.known(store) == set()
        await store.record_intent(run, step)
        assert await self.known(store) == {"a", "b"}

    @pytest.mark.parametrize("state", State)
    async def test_only_a_step_that_is_shown_to_have_had_no_effect_takes_them_back(self, store, plan, state):
        (step,) = plan.steps()
        run = await store.begin_run(RunStart("command", plan))
        await store.record_intent(run, step)
        await store.record_outcomes(run, [StepEnd(Outcome(step, state))])
        assert await self.known(store) == (set() if state is State.FAILED else {"a", "b"})


async def test_clusters_of_one_name_in_two_fleets_are_separate(store):
    ours, theirs = await store.enter_fleet(OURS), await store.enter_fleet(THEIRS)
    plan = plan_of(a="1")
    (step,) = plan.steps()
    async with ours.lock("edge"), theirs.lock("edge"):
        run = await ours.begin_run(RunStart("command", plan))
        await ours.record_intent(run, step, {"attempt/set": "1"})
        await ours.record_outcomes(
            run, [StepEnd(Outcome(step, State.UNKNOWN), until=NOON + timedelta(hours=1))]
        )
        await ours.finish_run(run, 5)
    await ours.record_pass(
        "edge", ClusterFacts(members=AppliedMembers(1, ("a",), "/srv/ours"), applied=REVISION)
    )
    await ours.store_progress("edge", RolloutProgress("content", 1, 3))
    await ours.reject("edge", REVISION, "too slow", ends_rollout=False)
    await ours.request_approval("edge", "d1", "c0ffee0", "1 step")
    await store.approve("d1", Actor("kim"), "looked at it")
    memory, other = await ours.read_memory(), await theirs.read_memory()
    assert memory.get_cluster_memory("edge").approved == {"d1"}
    assert memory.pending_calls
    assert memory.applied_revisions
    assert (other.cluster_memory, other.facts, other.applied_revisions, other.pending_calls) == (
        {},
        {},
        (),
        (),
    )
    assert other.get_cluster_memory("edge").approved == frozenset()
    assert await ours.is_open("edge")
    assert not await theirs.is_open("edge")
    assert [record.summary.id for record in await ours.list_open_runs()] == [run]
    assert await theirs.list_open_runs() == ()
    assert (await theirs.runs(), (await theirs.orders()).rejections) == ((), ())
    assert await theirs.forget_attempts("edge") == ()
    await theirs.forget_members("edge")
    await theirs.use_approval("d1")
    after = await ours.read_memory()
    assert (
        after.facts,
        after.get_cluster_memory("edge").nodes,
        after.get_cluster_memory("edge").approved,
    ) == (memory.facts, 1, {"d1"})
    await ours.use_approval("d1")
    assert (await ours.read_memory()).get_cluster_memory("edge").approved == frozenset()


async def test_facts_of_another_fleet_do_not_settle_an_open_step(store):
    ours, theirs = await store.enter_fleet(OURS), await store.enter_fleet(THEIRS)
    plan = plan_of(a="1")
    (step,) = plan.steps()
    run = await ours.begin_run(RunStart("command", plan))
    await ours.record_intent(run, step)
    await ours.record_outcomes(run, [StepEnd(Outcome(step, State.UNKNOWN))])
    await ours.finish_run(run, 5)
    other = await theirs.begin_run(RunStart("command", plan))
    await theirs.record_outcomes(other, [StepEnd(Outcome(step, State.FOUND))])
    await theirs.finish_run(other, 0)
    assert [record.summary.id for record in await ours.list_open_runs()] == [run]


async def test_a_suspension_by_command_stops_every_fleet_of_the_host(store):
    ours, theirs = await store.enter_fleet(OURS), await store.enter_fleet(THEIRS)
    await store.suspend("", "a storm", Actor("kim"))
    await store.suspend("edge", "it looks odd", Actor("lee"))
    for fleet in (ours, theirs, store.select_fleet(NEW)):
        assert [one.reason for one in (await fleet.read_memory()).get_cluster_memory("edge").suspended] == [
            "a storm",
            "it looks odd",
        ]
        assert [one.reason for one in (await fleet.read_memory()).get_cluster_memory("live").suspended] == [
            "a storm"
        ]
    await store.resume("edge", Actor("kim"))
    await store.resume("", Actor("kim"))
    assert (await ours.read_memory()).get_cluster_memory("edge").suspended == ()


async def test_a_confirmed_history_is_not_asked_about_again(store):
    before = FleetIdentity("/srv/ours", name="ours", roots=("a" * 40,))
    ours = await store.enter_fleet(before)
    found = ClusterFacts(members=AppliedMembers(1, ("a",), "/srv/ours", "fake"), applied=REVISION)
    await ours.record_pass("edge", found)
    (fleet,) = await store.fleets()
    for roots, applied in ((before.roots, REVISION), (("b" * 40,), None)):
        await store.rebind(fleet.number, replace(before, source="/srv/anew", roots=roots))
        cluster_memory = (await ours.read_memory()).cluster_memory["edge"]
        assert (cluster_memory.nodes, cluster_memory.kind, cluster_memory.applied) == (1, "fake", applied)


async def test_a_fleet_keeps_its_memory_whatever_it_is_called_from_now_on(store):
    first = await store.enter_fleet(FleetIdentity("/srv/ours", roots=("a" * 40,)))
    await first.store_facts("edge", {"a": {"mode": "block"}})
    for later in (
        FleetIdentity("https://git.example/ours.git", name="edge", roots=("a" * 40,)),
        FleetIdentity("/srv/clone", name="core", renamed_from="edge", roots=("a" * 40,), path="moved"),
    ):
        assert (await (await store.enter_fleet(later)).read_memory()).list_node_facts("edge") == {
            "a": {"mode": "block"}
        }
    (fleet,) = await store.fleets()
    assert (fleet.name, fleet.roots, fleet.path) == ("core", ("a" * 40,), "moved")
    assert fleet.sources == ("/srv/ours", "https://git.example/ours.git", "/srv/clone")


async def test_a_fleet_that_is_refused_leaves_no_trace(store):
    await store.enter_fleet(FleetIdentity("/srv/ours", name="edge", roots=("a" * 40,)))
    before = await store.fleets()
    with pytest.raises(FleetRefused):
        await store.enter_fleet(FleetIdentity("/srv/theirs", name="edge", roots=("b" * 40,)))
    assert await store.fleets() == before


async def test_the_host_can_confirm_another_history(store):
    ours = await store.enter_fleet(FleetIdentity("/srv/ours", name="edge", roots=("a" * 40,)))
    await ours.store_facts("edge", {"a": {"mode": "block"}})
    taking_over = FleetIdentity("/srv/new", name="edge", roots=("b" * 40,))
    (fleet,) = await store.fleets()
    await store.rebind(fleet.number, taking_over)
    assert (await (await store.enter_fleet(taking_over)).read_memory()).list_node_facts("edge") == {
        "a": {"mode": "block"}
    }
    with pytest.raises(FleetRefused):
        await store.enter_fleet(FleetIdentity("/srv/ours", name="edge", roots=("a" * 40,)))


async def test_two_memories_of_one_fleet_become_one(store):
    """An older version kept the past by the source as it was spelt."""
    first, second = (
        await store.enter_fleet(FleetIdentity("/srv/f")),
        await store.enter_fleet(FleetIdentity("/mnt/f")),
    )
    await first.store_facts("edge", {"a": {"mode": "block"}})
    await second.store_facts("edge", {"a": {"mode": "open", "more": "1"}})
    run = await second.begin_run(RunStart("command", plan_of(a="1")))
    await store.enter_fleet(FleetIdentity("/mnt/f", roots=("a" * 40,)))
    one = await store.enter_fleet(FleetIdentity("/srv/f", roots=("a" * 40,)))
    assert (await one.read_memory()).list_node_facts("edge") == {"a": {"mode": "block", "more": "1"}}
    assert [line.id for line in await one.runs()] == [run]
    assert len(await store.fleets()) == 1


async def test_who_ordered_what_when_and_why_stays_in_the_history_after_use(store):
    kim = Actor("kim", "ops-1", "pts/3", claim="lee")
    await store.suspend("edge", "a storm", kim)
    await store.resume("edge", Actor("kim", "ops-1", why="it is over"))
    await store.approve("d1", kim, "looked at it")
    await store.use_approval("d1")
    found = await store.list_past_orders()
    assert [(one.kind, one.cluster, one.digest) for one in found] == [
        ("approval used", "", "d1"),
        ("approve", "", "d1"),
        ("resume", "edge", ""),
        ("suspend", "edge", ""),
    ]
    assert found[1].actor == replace(kim, why="looked at it")
    assert found[2].actor.why == "it is over"
    assert found[3].actor == replace(kim, why="a storm")
    assert found[0].at > found[1].at
    assert (await store.orders()).approvals == ()
    assert await store.list_past_orders(1) == found[:1]


async def test_an_approval_of_a_requested_plan_and_its_use_name_the_cluster(store):
    fleet = await store.enter_fleet(FleetIdentity("/srv/f"))
    await fleet.request_approval("edge", "d1", "d", "2 steps")
    await fleet.request_approval("core", "d2", "d", "1 step")
    await store.approve("d1", Actor("kim"), "looked at it")  # whoever approves names no cluster
    await fleet.use_approval("d1")
    found = await store.list_past_orders()
    assert [(one.kind, one.cluster) for one in found] == [("approval used", "edge"), ("approve", "edge")]


async def test_a_suspension_shows_the_user_beside_the_claim(store):
    await store.suspend("edge", "a storm", Actor("kim", "ops-1", "pts/3", claim="lee"))
    (one,) = (await store.orders()).suspensions
    assert one.by == "kim on ops-1 at pts/3, on behalf of lee (not checked)"


async def test_a_run_keeps_who_asked_for_it(store):
    kim = Actor("kim", "ops-1", "pts/3", "lee", "the new lists")
    run = await store.begin_run(RunStart("command", plan_of(a="1"), kim))
    assert (await store.run(run)).summary.actor == kim
    await store.record_refused_run(RunStart("command", plan_of(a="2"), kim), "too many")
    assert [line.actor for line in await store.runs()] == [kim, kim]


async def test_a_suspension_since_the_plan_was_judged_refuses_the_next_intent(store):
    plan = plan_of(a="1", b="2")
    first, second = plan.steps()
    run = await store.begin_run(RunStart("command", plan))
    await store.record_intent(run, first)
    for cluster_name, words in (("edge", "cluster edge was"), ("", "all clusters were")):
        await store.suspend(cluster_name, "3 a.m.", Actor("kim"))
        with pytest.raises(SuspendedMeanwhile, match=f"nothing was sent: {words} suspended meanwhile"):
            await store.record_intent(run, second)
        await store.resume(cluster_name, Actor("kim"))
    await store.suspend("other", "3 a.m.", Actor("kim"))
    assert (await store.run(run)).entries[1].intended is None
    await store.record_intent(run, second)
