"""Rollouts of the fake product with the real store: which waves pass, stop or are undone."""

import asyncio
import contextlib
from datetime import UTC, date, datetime, timedelta

import pytest
from support.driver import NOWHERE, REVISION, FakeDriver, FakeNode, World, cluster
from support.journal import Breaking
from support.rollouts import Bench, Returning, states

from reconciler.core.actor import Actor
from reconciler.core.change_windows import Window
from reconciler.core.outcome import State
from reconciler.core.pins import LeftRevision
from reconciler.core.plan import Revision
from reconciler.core.policy import ChangeRules, Override, Policy
from reconciler.core.rollout_rules import Gates, MetricGate, Rollout
from reconciler.errors import GuardRefusal, StateError
from reconciler.ports.driver import Driver
from reconciler.ports.listener import PassListener
from reconciler.rollout.gates import sleep_real_time
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

OLD = dict.fromkeys("abcd", "old")
NEW = dict.fromkeys("abcd", "new")
NEXT = Revision("/repo", "decade" + "0" * 34, "decade0", "Mend it")


@pytest.fixture
def bench(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield Bench(store, World(dict(OLD)))


def edge(nodes=None, **rollout):
    return cluster("edge", nodes or NEW, rollout=Rollout(**rollout))


def codes(report):
    return [finding.code for finding in report.findings]


async def test_each_wave_soaks_and_is_read_back(bench):
    seen = []
    bench.soak.meanwhile = lambda: seen.append(dict(bench.world.values))
    report = await bench.run(edge(canary=1, waves=2, soak="5m"))
    assert report.exit_status == 0
    assert bench.soak.waited == [300, 300, 300]
    assert [sum(value == "new" for value in values.values()) for values in seen] == [1, 3, 4]
    assert bench.world.values == NEW
    assert (await bench.plan_result(edge(canary=1))).plan.is_empty


async def test_steps_of_a_later_wave_may_come_after_those_of_an_earlier_one(bench):
    chain = {
        "a": FakeNode(name="a", value="new"),
        "b": FakeNode(name="b", value="new", after=("a",)),
        "c": FakeNode(name="c", value="new", after=("b", "a"), membership=True),
    }
    report = await bench.run(edge(chain, waves=1))
    assert report.is_success
    assert bench.world.acts == ["a", "b", "c"]


async def test_without_a_rollout_nothing_soaks_and_a_failure_stops_nobody_else(bench):
    bench.world.fault("a", "refused")
    report = await bench.run(cluster("edge", NEW))
    assert states(report) == {"a": "failed", "b": "done", "c": "done", "d": "done"}
    assert bench.soak.waited == []
    assert [step for step in report.plan.steps() if step.wave != 0] == []
    assert not (await bench.store.orders()).rejections


async def test_a_step_that_fails_stops_all_further_waves_and_rejects_the_revision(bench):
    bench.world.fault("b", "refused")
    report = await bench.run(edge(canary=1, waves=2))
    assert states(report) == {"a": "done", "b": "failed", "c": "done", "d": "skipped"}
    assert codes(report) == ["gate-failed"]
    assert report.exit_status == 5
    assert "wave 2 failed its gates: edge/b/set" in report.findings[0].message
    assert "the rollout stops: wave 2 failed" in report.outcomes[3].reason
    again = await bench.plan_result(edge(canary=1, waves=2))
    assert [violation.code for violation in again.violations] == ["revision-rejected"]
    with pytest.raises(GuardRefusal):
        await bench.apply(again)
    mended = edge(dict.fromkeys("abcd", "mended"), canary=1, waves=2)
    assert (await bench.run(mended, revision=NEXT)).is_success


async def test_another_revision_with_the_same_content_does_not_send_again_what_was_refused(bench):
    bench.world.fault("a", "refused")
    await bench.run(edge(canary=1))
    again = await bench.plan_result(edge(canary=1), revision=NEXT)
    assert [one.code for one in again.violations] == ["revision-rejected"]
    assert [(one.code, one.target) for one in again.plan.findings()] == [("node-stalled", "edge/a")]
    with pytest.raises(GuardRefusal):
        await bench.apply(again)
    assert bench.world.acts == []


@pytest.mark.parametrize("waves", [None, 2])
async def test_a_suspension_or_a_rollback_during_the_reading_stops_the_plan(bench, waves):
    wanted = edge(waves=waves) if waves else cluster("edge", NEW)
    seen = await bench.plan_result(wanted)
    await bench.store.suspend("", "a storm", Actor("kim"))
    report = await bench.apply(seen)
    assert (states(report), bench.world.acts) == (dict.fromkeys("abcd", "skipped"), [])
    assert codes(report) == ["suspended"]
    await bench.store.resume("", Actor("kim"))
    seen = await bench.plan_result(wanted)
    left = LeftRevision(seen.plan.revision.id, "", seen.guard_contexts[0].content)
    await bench.store.pin("edge", NEXT, (left,), Actor("kim"))
    assert codes(await bench.apply(seen)) == ["rolled-back"]
    assert bench.world.acts == []


async def test_an_override_of_the_fleet_file_lets_a_rejected_revision_be_tried_again(bench):
    bench.world.fault("a", "refused")
    await bench.run(edge(canary=1))
    allowed = Override(
        guard="revision-rejected", target="edge", until=date(9999, 1, 1), reason="the cable was out"
    )
    await bench.store.forget_attempts("edge")
    assert (await bench.run(edge(canary=1), overrides=(allowed,))).is_success
    assert bench.world.values == NEW


async def test_a_node_that_reverts_during_the_soak_undoes_its_wave(bench):
    """The canary passes; in the second wave one node drops what it was given."""

    def stray():
        if len(bench.soak.waited) == 2:
            bench.world.values["b"] = "odd"

    bench.soak.meanwhile = stray
    report = await bench.run(edge(canary=1, waves=2, soak=1, on_failure="return"))
    # b no longer is as its inverse needs it to be, so it is left alone and said
    assert states(report) == {"a": "done", "b": "done", "c": "undone", "d": "skipped"}
    assert bench.world.values == {"a": "new", "b": "odd", "c": "old", "d": "old"}
    assert codes(report) == ["gate-failed", "not-undone"]
    assert "b: b holds odd" in report.findings[0].message
    assert report.exit_status == 5


async def test_a_wave_is_undone_in_reverse_by_a_run_of_its_own(bench):
    chain = {
        "a": FakeNode(name="a", value="new"),
        "b": FakeNode(name="b", value="new", after=("a",)),
        "c": FakeNode(name="c", value="new"),
    }
    bench.world.fault("c", "refused")
    report = await bench.run(edge(chain, on_failure="return"))
    assert states(report) == {"a": "undone", "b": "undone", "c": "failed"}
    assert bench.world.acts == ["a", "b", "b", "a"]
    assert {name: bench.world.values[name] for name in "abc"} == {"a": "old", "b": "old", "c": "old"}
    assert report.exit_status == 1
    undoing, first = await bench.store.runs()
    assert (undoing.trigger, undoing.exit_status, undoing.revision) == ("undo", 0, REVISION.id)
    assert undoing.note == f"undoes steps of run {first.id}"
    record = await bench.store.run(undoing.id)
    assert [entry.step.id for entry in record.entries] == ["edge/b/set/undo", "edge/a/set/undo"]
    assert record.entries[1].step.after == ("edge/b/set/undo",)
    assert [entry for entry in record.entries if not entry.intended] == []
    assert (await bench.store.run(first.id)).summary.counts == {"undone": 2, "failed": 1}
    assert "wave 1 failed its gates" in first.note
    assert undoing.id in report.outcomes[0].reason


async def test_a_step_without_an_inverse_is_reported(bench):
    bench.driver.final.add("a")
    bench.world.fault("b", "refused")
    report = await bench.run(edge(on_failure="return", waves=2))
    assert states(report) == {"a": "done", "b": "failed", "c": "skipped", "d": "skipped"}
    assert codes(report) == ["gate-failed", "not-undone"]
    assert "edge/a/set was not undone: set it back" in report.findings[1].message
    assert len(await bench.store.runs()) == 1


async def test_a_product_without_undo_undoes_nothing(tmp_path):
    with open_store(tmp_path / "state") as store:
        bench = Bench(store, World(dict(OLD)), FakeDriver)
        bench.world.fault("b", "refused")
        report = await bench.run(edge(on_failure="return", waves=2))
        assert states(report)["a"] == "done"
        assert codes(report) == ["gate-failed", "not-undone"]


async def test_an_effect_that_was_found_is_not_undone(bench):
    seen = await bench.plan_result(edge(on_failure="return", waves=2))
    bench.world.values["a"] = "new"
    bench.world.fault("b", "refused")
    report = await bench.apply(seen)
    assert states(report)["a"] == "found"
    assert bench.world.values["a"] == "new"


async def test_a_revision_is_rejected_before_anything_is_undone(bench):
    """Killed at the first write of the way back, the next run must not try the next nodes."""

    class Killed(BaseException):
        pass

    bench.world.fault("b", "refused")
    seen = await bench.plan_result(edge(on_failure="return", waves=2))
    kept, begun = bench.store, []

    class Dying:
        def __getattr__(self, name):
            return getattr(kept, name)

        async def enter_fleet(self, identity):
            return self

        async def begin_run(self, opening):
            if opening.trigger == "undo":
                raise Killed
            begun.append(opening)
            return await kept.begin_run(opening)

    bench.store = Dying()
    with pytest.raises(Killed):
        await bench.apply(seen)
    bench.store = kept
    assert begun
    again = await bench.plan_result(edge(on_failure="return", waves=2))
    assert [violation.code for violation in again.violations] == ["revision-rejected"]


async def test_no_wave_follows_an_incomplete_one_and_nothing_is_rejected(bench):
    seen = await bench.plan_result(edge(canary=2))
    bench.world.values["a"] = "touched by somebody"
    report = await bench.apply(seen)
    assert states(report) == {"a": "changed", "b": "done", "c": "skipped", "d": "skipped"}
    assert codes(report) == ["wave-incomplete"]
    assert not (await bench.store.orders()).rejections
    assert (await bench.run(edge(canary=2))).is_success


async def test_the_next_wave_waits_for_a_manual_step(bench):
    nodes = {"a": FakeNode(name="a", value="new", person=True), "b": FakeNode(name="b", value="new")}
    report = await bench.run(edge(nodes, waves=1))
    assert states(report) == {"a": "waiting", "b": "skipped"}
    assert codes(report) == ["wave-incomplete"]


async def test_a_stop_during_the_soak_begins_no_further_wave_and_rejects_nothing(bench):
    stop = asyncio.Event()
    bench.soak.meanwhile = stop.set
    report = await bench.apply(await bench.plan_result(edge(canary=1, on_failure="return")), stop=stop)
    assert states(report) == {"a": "done", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert "asked to stop" in report.outcomes[1].reason
    assert not (await bench.store.orders()).rejections
    assert bench.world.values["a"] == "new"


async def test_a_suspension_during_the_soak_holds_the_next_wave(bench):
    bench.soak.meanwhile = lambda: bench.store.suspend("edge", "it looks odd", Actor("kim"))
    report = await bench.run(edge(canary=1))
    assert states(report) == {"a": "done", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert codes(report) == ["suspended"]
    assert "it looks odd" in report.outcomes[1].reason
    await bench.store.resume("edge", Actor("kim"))
    bench.soak.meanwhile = lambda: None
    assert (await bench.run(edge(canary=1))).is_success


async def test_a_window_that_closes_during_the_soak_holds_the_next_wave(tmp_path):
    now = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
    with open_store(tmp_path / "state", clock=lambda: now) as store:
        bench = Bench(store, World(dict(OLD)))
        nights = ChangeRules(windows=(Window(cron="0 2 * * *", duration="1h"),))

        def pass_by():
            nonlocal now
            now += timedelta(hours=1)

        bench.soak.meanwhile = pass_by
        report = await bench.run(edge(canary=1, soak="1h"), change_rules=nights)
        assert states(report) == {"a": "done", "b": "skipped", "c": "skipped", "d": "skipped"}
        assert codes(report) == ["outside-window"]
        again = await bench.plan_result(edge(canary=1), change_rules=nights)
        assert [violation.code for violation in again.violations] == ["outside-window"]


def metric(**more):
    return Gates(metrics=(MetricGate(name="errors_total", **more),))


async def test_a_metric_that_is_worse_on_changed_nodes_undoes_the_wave(bench):
    bench.driver.errors = dict.fromkeys("abcd", 100.0)

    def errors():
        bench.driver.errors |= {"a": 150.0, "b": 101.0, "c": 101.0, "d": 100.0}

    bench.soak.meanwhile = errors
    report = await bench.run(edge(canary=1, soak=10, on_failure="return", gates=metric()))
    assert states(report) == {"a": "undone", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert codes(report) == ["gate-failed"]
    assert "the rate of errors_total of a is 5, on unchanged nodes it is 0.1" in report.findings[0].message


async def test_a_metric_that_is_no_worse_lets_the_next_wave_begin(bench):
    bench.driver.errors = dict.fromkeys("abcd", 100.0)
    found = edge(canary=1, waves=2, gates=metric(compare="value"))
    report = await bench.run(found)
    # after the last wave there is no unchanged node any more: that cannot be judged
    assert [outcome.state for outcome in report.outcomes] == [State.DONE] * 4
    assert codes(report) == ["gate-unclear"]
    assert report.exit_status == 5


async def test_a_missing_metric_stops_the_rollout_and_undoes_nothing(bench):
    report = await bench.run(edge(canary=1, soak=10, on_failure="return", gates=metric()))
    assert states(report) == {"a": "done", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert codes(report) == ["gate-unclear"]
    assert (await bench.store.orders()).rejections


async def test_the_last_wave_has_to_pass_its_gates_too(bench):
    bench.soak.meanwhile = lambda: bench.world.values.update(a="odd")
    report = await bench.run(edge(soak=1))
    assert [outcome for outcome in report.outcomes if outcome.state is not State.DONE] == []
    assert codes(report) == ["gate-failed"]
    assert (report.is_success, report.exit_status) == (False, 5)


async def test_a_read_back_can_be_left_out(bench):
    bench.soak.meanwhile = lambda: bench.world.values.update(a="odd")
    assert (await bench.run(edge(gates=Gates(read_back=False)))).is_success


async def test_undone_nodes_do_not_run_the_revision(bench):
    await bench.run(edge(dict.fromkeys("abcd", "old")), revision=NEXT)
    bench.world.fault("b", "refused")
    await bench.run(edge(on_failure="return", waves=2))
    applied = (await bench.store.read_memory()).get_cluster_memory("edge").shown_revisions
    assert {node: one.revision for node, one in applied.items()} == dict.fromkeys("abcd", NEXT.id)


async def test_an_approval_is_requested_for_one_plan_and_used_once(bench):
    policies = {"edge": Policy(approve=("membership",))}
    nodes = {"a": FakeNode(name="a", value="new", membership=True)}
    seen = await bench.plan_result(edge(nodes), policies=policies)
    with pytest.raises(GuardRefusal):
        await bench.apply(seen)
    (asked,) = (await bench.store.orders()).requests
    assert asked.digest == seen.plan.ids["edge"]
    assert "edge/a/set (membership)" in asked.description
    await bench.store.approve(asked.digest, Actor("kim"), "looked at it")
    assert (await bench.run(edge(nodes), policies=policies)).is_success
    left = await bench.store.orders()
    assert (left.requests, left.approvals) == ((), ())
    bench.world.values["a"] = "old"
    drifted = await bench.plan_result(edge(nodes), policies=policies)
    assert drifted.plan.ids["edge"] == asked.digest
    assert [violation.code for violation in drifted.violations] == ["approval-needed"]


async def test_an_approval_of_another_plan_does_not_help(bench):
    policies = {"edge": Policy(approve=("membership",))}
    one, two = ({"a": FakeNode(name="a", value=value, membership=True)} for value in ("new", "newer"))
    approved = (await bench.plan_result(edge(one), policies=policies)).plan.ids["edge"]
    await bench.store.approve(approved, Actor("kim"), "")
    assert not (await bench.plan_result(edge(one), policies=policies)).violations
    assert (await bench.plan_result(edge(two), policies=policies)).violations


async def test_a_failure_of_the_journal_ends_the_run(bench):
    def break_() -> None:
        raise StateError("the disk is full")

    seen = await bench.plan_result(edge(waves=1))
    bench.store = Breaking(bench.store, 4, after=False, die=break_)
    with pytest.raises(StateError):
        await bench.apply(seen)
    assert bench.world.values == {"a": "new", "b": "old", "c": "old", "d": "old"}


async def test_a_stop_ends_a_soak():
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(sleep_real_time(3600, stop), 5)
    await sleep_real_time(0, asyncio.Event())
    await sleep_real_time(0.001, asyncio.Event())


def test_the_fake_product_has_the_capabilities_of_rollouts():
    assert Returning.undo is not Driver.undo
    assert Returning.capabilities.metrics
    assert FakeDriver.undo is Driver.undo


class Killed(BaseException):
    """The reconciler's process ends here."""


def _die():
    raise Killed


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 18))
async def test_after_a_kill_at_any_write_nothing_is_done_twice_and_no_wave_skips_its_gates(bench, at, after):
    """The second wave fails and is undone; after a kill at any write the next runs are correct."""
    kept, wanted = bench.store, edge(waves=1, on_failure="return", gates=metric(compare="value"))
    bench.driver.errors = dict.fromkeys("abcd", 1.0)
    bench.soak.meanwhile = lambda: bench.driver.errors.update(b=9.0) if len(bench.soak.waited) == 2 else None
    seen = await bench.plan_result(wanted)
    bench.store = Breaking(kept, at, after=after, die=_die)
    with contextlib.suppress(Killed):
        await bench.apply(seen)
    bench.store = kept
    bench.soak.meanwhile = lambda: bench.driver.errors.update(b=1.0)
    bench.driver.errors["b"] = 1.0
    assert bench.world.values["c"] == bench.world.values["d"] == "old"
    await settle_open_runs(kept, {"fake": bench.driver}, NOWHERE)
    assert await kept.list_open_runs() == ()
    rejected = bool((await kept.orders()).rejections)
    again = await bench.plan_result(wanted)
    assert [one.code for one in again.violations] == ["revision-rejected"] * rejected
    if not rejected:  # it died before the wave was judged: the next run judges its own waves
        await bench.apply(again)
        assert bench.world.values == NEW
    acts = bench.world.acts
    assert [node for node in "acd" if node in acts if acts.count(node) != 1] == []
    assert acts.count("b") == (1 if not rejected or bench.world.values["b"] == "new" else 2)
    records = [await kept.run(line.id) for line in await kept.runs()]
    assert [(record, entry) for record in records for entry in record.entries if not entry.state] == []


async def test_a_listener_is_called_for_each_soak(bench):
    heard = []

    class Listener(PassListener):
        def on_soaking(self, cluster, wave, seconds):
            heard.append((cluster, wave, seconds))

    await bench.apply(await bench.plan_result(edge(canary=1, waves="100%", soak="5m")), listener=Listener())
    assert heard == [("edge", 1, 300), ("edge", 2, 300)]
