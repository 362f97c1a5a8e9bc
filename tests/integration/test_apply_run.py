"""A whole run over the fake product and the real store: what is done, what is not, and what is kept of it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, REVISION, FakeDriver, FakeNode, World, cluster
from support.rollouts import Bench, states
from support.waiting import wait_until

from reconciler.core.outcome import State
from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, GuardRefusal, StateError
from reconciler.ports.listener import PassListener
from reconciler.rollout.apply_pass import RunContext
from reconciler.store.factory import open_store


class Ears(PassListener):
    def __init__(self):
        self.heard = []

    def on_step_started(self, step):
        self.heard.append(("started", step.node))

    def on_step_ended(self, outcome):
        self.heard.append((outcome.state.value, outcome.step.node))


@pytest.fixture
def bench(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield Bench(store, driver=FakeDriver)


async def test_everything_is_done_and_the_second_pass_finds_nothing(bench):
    edge, live = cluster("edge", {"a": "1", "b": "2"}), cluster("live", {"c": "3"})
    report_listener = Ears()
    report = await bench.apply(
        await bench.plan_result(live, edge), listener=report_listener, run_context=RunContext("webhook")
    )
    assert [outcome.step.id for outcome in report.outcomes] == ["edge/a/set", "edge/b/set", "live/c/set"]
    assert report.exit_status == 0
    assert bench.world.values == {"a": "1", "b": "2", "c": "3"}
    assert sorted(report_listener.heard) == [(what, node) for what in ("done", "started") for node in "abc"]
    record = await bench.store.run(report.run)
    assert (record.summary.trigger, record.summary.exit_status) == ("webhook", 0)
    assert record.summary.counts == {"done": 3}
    assert [
        entry
        for entry in record.entries
        if not (entry.intended and entry.ended and (entry.answer == "accepted"))
    ] == []
    again = await bench.plan_result(edge, live)
    assert again.plan.is_empty
    assert (await bench.apply(again)).outcomes == ()
    assert len(await bench.store.runs()) == 1


async def test_a_failing_node_stops_only_what_comes_after_it(bench):
    chain = {
        "a": FakeNode(name="a", value="1"),
        "b": FakeNode(name="b", value="1", after=("a",)),
        "c": FakeNode(name="c", value="1", after=("b",)),
        "d": FakeNode(name="d", value="1"),
    }
    bench.world.fault("a", "refused")
    report = await bench.run(cluster("edge", chain), cluster("live", {"e": "1"}))
    assert states(report) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "done", "e": "done"}
    reasons = {outcome.step.node: outcome.reason for outcome in report.outcomes}
    assert reasons["b"] == "it comes after edge/a/set, which failed"
    assert reasons["c"] == "it comes after edge/b/set, which was not performed"
    assert report.exit_status == 5
    assert (await bench.store.run(report.run)).summary.exit_status == 5


async def test_a_lost_answer_does_not_make_a_second_call(bench):
    bench.world.fault("a", "lost")
    report = await bench.run(cluster("edge", {"a": "1"}))
    assert states(report) == {"a": "done"}
    assert bench.world.acts == ["a"]


async def test_no_more_nodes_are_changed_at_once_than_allowed(bench):
    bench.world.gate = asyncio.Event()
    running = asyncio.create_task(
        bench.run(cluster("edge", {f"n{number}": "1" for number in range(12)}, concurrency=3))
    )
    await asyncio.wait_for(bench.world.entered.wait(), 5)
    await wait_until(lambda: bench.world.under_way == 3)
    bench.world.gate.set()
    assert (await running).is_success
    assert bench.world.peak == 3


async def test_clusters_do_not_wait_for_each_other(bench):
    bench.world.gate = asyncio.Event()
    clusters = [cluster(name, {f"{name}1": "1"}, concurrency=1) for name in ("a", "b", "c")]
    running = asyncio.create_task(bench.run(*clusters))
    await wait_until(lambda: bench.world.under_way == 3)
    bench.world.gate.set()
    assert (await running).is_success


async def test_a_stop_completes_what_is_under_way_and_skips_the_rest(bench):
    bench.world.gate, stop = asyncio.Event(), asyncio.Event()
    seen = await bench.plan_result(cluster("edge", {"a": "1", "b": "1", "c": "1"}, concurrency=1))
    running = asyncio.create_task(bench.apply(seen, stop=stop))
    await asyncio.wait_for(bench.world.entered.wait(), 5)
    stop.set()
    bench.world.gate.set()
    report = await running
    assert states(report) == {"a": "done", "b": "skipped", "c": "skipped"}
    assert "asked to stop" in report.outcomes[1].reason
    record = await bench.store.run(report.run)
    assert record.summary.finished
    assert [entry.state for entry in record.entries] == [State.DONE, State.SKIPPED, State.SKIPPED]
    assert await bench.store.list_open_runs() == ()


async def test_a_refused_plan_writes_nothing_and_is_in_the_history(bench):
    seen = await bench.plan_result(cluster("a", {"x": "1"}), cluster("b", {"y": "forbidden"}))
    with pytest.raises(GuardRefusal, match="y may not"):
        await bench.apply(replace(seen, all_or_nothing=True))
    assert bench.world.values == {}
    assert bench.world.acts == []
    (line,) = await bench.store.runs()
    assert (line.exit_status, line.note, line.counts) == (3, "y may not", {})
    assert (await bench.store.read_memory()).cluster_memory == {}


async def test_a_cluster_held_by_another_run_is_left_to_it(bench, tmp_path):
    seen = await bench.plan_result(cluster("edge", {"a": "1"}), cluster("live", {"b": "1"}))
    with open_store(tmp_path / "state") as other:
        async with other.lock("edge"):
            report = await bench.apply(seen)
    assert states(report) == {"a": "skipped", "b": "done"}
    assert "cluster edge is being changed by process" in report.outcomes[0].reason
    assert bench.world.acts == ["b"]


async def test_a_run_whose_every_cluster_is_held_does_nothing_and_says_so(bench, tmp_path):
    seen = await bench.plan_result(cluster("edge", {"a": "1"}))
    with open_store(tmp_path / "state") as other:
        async with other.lock("edge"):
            with pytest.raises(ClusterBusy):
                await bench.apply(seen)
    assert bench.world.acts == []
    assert await bench.store.runs() == ()
    assert (await bench.apply(seen)).is_success


async def test_locks_end_with_the_run(bench):
    bench.world.fault("a", "refused")
    edge = cluster("edge", {"a": "1"})
    await bench.run(edge)
    assert (await bench.run(edge)).is_success


async def test_the_lock_of_a_cluster_that_is_done_is_free_while_others_go_on(bench):
    bench.world.gate = asyncio.Event()
    seen = await bench.plan_result(
        cluster("edge", {"a": FakeNode(name="a", value="1", person=True)}), cluster("live", {"b": "1"})
    )
    running = asyncio.create_task(bench.apply(seen))
    await asyncio.wait_for(bench.world.entered.wait(), 5)

    async def is_free():
        try:
            async with bench.store.lock("edge"):
                return True
        except ClusterBusy:
            return False

    await wait_until(is_free)
    assert not running.done()
    bench.world.gate.set()
    assert states(await running) == {"a": "waiting", "b": "done"}


async def test_a_person_is_waited_for_and_the_run_says_so(bench):
    nodes = {
        "a": FakeNode(name="a", value="1", person=True),
        "b": FakeNode(name="b", value="1", after=("a",)),
    }
    report = await bench.run(cluster("edge", nodes))
    assert states(report) == {"a": "waiting", "b": "skipped"}
    assert report.outcomes[1].reason == "it comes after edge/a/set, which waits for an operator"
    assert bench.world.acts == []
    bench.world.values["a"] = "1"
    assert states(await bench.run(cluster("edge", nodes))) == {"b": "done"}


async def test_a_world_that_moved_on_since_the_plan_is_not_touched(bench):
    bench.world.values = {"a": "old", "b": "old"}
    seen = await bench.plan_result(cluster("edge", {"a": "new", "b": "new"}))
    bench.world.values = {"a": "else", "b": "else"}
    report = await bench.apply(seen)
    assert states(report) == {"a": "changed", "b": "changed"}
    assert report.exit_status == 4
    assert bench.world.acts == []


async def test_a_journal_that_cannot_be_written_keeps_every_call_back(bench, monkeypatch):
    async def full(*_, **__):
        raise StateError("the disk is full")

    monkeypatch.setattr(bench.store, "record_intent", full)
    with pytest.raises(StateError, match="disk is full"):
        await bench.run(cluster("edge", {"a": "1", "b": "1"}))
    assert bench.world.acts == []
    monkeypatch.undo()
    assert (await bench.run(cluster("edge", {"a": "1", "b": "1"}))).is_success


async def test_facts_learnt_by_a_step_reach_the_next_survey(bench):
    await bench.run(cluster("edge", {"a": "1"}))
    known = (await bench.store.read_memory()).list_node_facts("edge")
    assert known["a"]["set_by_us"] == "1"


class TestApplied:
    """Which nodes are said to run which revision."""

    NEXT = Revision("/repo", "f00d" + "0" * 36, "f00d000", "Next")

    async def revisions(self, bench):
        return {
            node: applied.revision
            for node, applied in (await bench.store.read_memory())
            .get_cluster_memory("edge")
            .shown_revisions.items()
        }

    async def test_changed_and_unchanged_nodes_but_not_failed_or_silent_ones(self, bench):
        bench.world.values = {"same": "1", "silent": "1"}
        bench.world.silent = {"silent"}
        bench.world.fault("bad", "refused")
        await bench.run(cluster("edge", {"same": "1", "silent": "1", "good": "1", "bad": "1"}))
        assert await self.revisions(bench) == {"same": REVISION.id, "good": REVISION.id}

    async def test_a_pass_without_changes_counts_too(self, bench):
        edge = cluster("edge", {"a": "1"})
        await bench.run(edge)
        await bench.run(edge, revision=self.NEXT)
        assert await self.revisions(bench) == {"a": self.NEXT.id}
        assert len(await bench.store.runs()) == 1

    async def test_since_is_when_the_revision_came_not_when_it_was_last_seen(self, tmp_path):
        now = [NOON]
        with open_store(tmp_path, clock=lambda: now[0]) as store:
            bench = Bench(store, World())
            edge = cluster("edge", {"a": "1"})
            await bench.run(edge)
            now[0] += timedelta(hours=1)
            await bench.run(edge)
            assert (await store.read_memory()).get_cluster_memory("edge").shown_revisions["a"].since == NOON

    async def test_only_one_node_speaks_for_itself_alone(self, bench):
        bench.world.values = {"a": "1"}
        await bench.run(cluster("edge", {"a": "1", "b": "1"}), only="b")
        assert await self.revisions(bench) == {"b": REVISION.id}
        assert (await bench.store.read_memory()).cluster_memory["edge"].nodes == 0

    async def test_a_failed_membership_change_leaves_the_whole_cluster_in_doubt(self, bench):
        bench.world.values = {"a": "1"}
        bench.world.fault("b", "refused")
        nodes = {"a": "1", "b": FakeNode(name="b", value="1", membership=True)}
        await bench.run(cluster("edge", nodes))
        assert await self.revisions(bench) == {}

    async def test_the_number_of_nodes_is_remembered_for_the_next_guard(self, bench):
        await bench.run(cluster("edge", dict.fromkeys("abcdef", "1")))
        assert (await bench.store.read_memory()).cluster_memory["edge"].nodes == 6
        seen = await bench.plan_result(cluster("edge", {"a": "1"}))
        assert [violation.code for violation in seen.violations] == ["desired-shrank"]

    async def test_a_run_that_changed_nothing_does_not_move_that_number(self, bench):
        await bench.run(cluster("edge", dict.fromkeys("abcdef", "1")))
        bench.world.fault("a", "refused")
        await bench.run(cluster("edge", {name: "2" if name == "a" else "1" for name in "abcde"}))
        assert (await bench.store.read_memory()).cluster_memory["edge"].nodes == 6

    async def test_a_node_with_a_warning_is_not_called_converged(self, bench):
        class Doubtful(FakeDriver):
            def plan(self, desired, observed):
                finding = Diagnostic(Severity.WARNING, "waits", "it waits for a restart", target="edge/a")
                return replace(super().plan(desired, observed), findings=(finding,))

        bench.world.values = {"a": "1", "b": "1"}
        bench.drivers = {"fake": Doubtful(bench.world)}
        await bench.run(cluster("edge", {"a": "1", "b": "1"}))
        assert await self.revisions(bench) == {"b": REVISION.id}
