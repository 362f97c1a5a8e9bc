"""The loop of a cluster: what triggers a pass, and what follows from each result."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.inventories import inventory
from support.steps import make_step
from support.watch_server import CONVERGED, FOREVER, Rig, Script, fleet, until

from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, InputError, StateError
from reconciler.server.cluster_loop import ClusterLoop
from reconciler.server.cluster_pass import PATIENCE
from reconciler.server.pass_result import PassResult, PassSummary

FAILED = PassSummary(PassResult.FAILED, message="edge/a/upload: 500")
REFUSED = PassSummary(
    PassResult.REFUSED,
    pending=1,
    violations=(Diagnostic(Severity.ERROR, "quorum", "would lose it", "wait", target="edge"),),
)


@asynccontextmanager
async def running(script, rig):
    loop = ClusterLoop("edge", script, rig.context)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        loop.stop()
        async with asyncio.timeout(10):
            await task


async def test_nothing_happens_before_the_first_fleet():
    rig, script = Rig(), Script()
    async with running(script, rig):
        await until(lambda: rig.watch_state.heartbeats)
    assert script.jobs == []


async def test_a_fleet_and_each_interval_cause_a_pass():
    rig, script = Rig(interval=0.01), Script()
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "webhook")
        await script.ran(3)
    assert [job.trigger for job in script.jobs[:3]] == ["webhook", "interval", "interval"]
    assert {job.cluster for job in script.jobs} == {"edge"}
    assert rig.sample("triggers_total", trigger="interval") >= 2


async def test_the_same_revision_again_causes_no_pass():
    rig, script = Rig(), Script()
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        loop.use_fleet(fleet("a"), "poll")
        await asyncio.sleep(0.01)
        assert len(script.jobs) == 1
        loop.use_fleet(fleet("b"), "poll")
        await script.ran(2)
    assert [job.fleet.revision.id[0] for job in script.jobs] == ["a", "b"]


async def test_a_newer_list_of_the_same_instances_causes_no_pass_and_counts_for_the_next():
    rig, script = Rig(), Script()
    newer = inventory(i_1="10.0.0.1")
    async with running(script, rig) as loop:
        loop.use_inventory(newer)  # without a fleet there is nothing to use it for
        loop.use_fleet(Fleet(fleet("a").revision, None, ()), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        loop.use_inventory(newer)
        await asyncio.sleep(0.01)
        assert len(script.jobs) == 1
        loop.request_pass("request")
        await script.ran(2)
    assert script.jobs[0].fleet.inventory is not newer
    assert script.jobs[1].fleet.inventory is newer


async def test_an_unsettled_pass_is_retried_before_the_interval():
    rig, script = Rig(interval=0.01), Script(FAILED, FAILED, CONVERGED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(2)
        await until(lambda: rig.watch_state.clusters["edge"].tries == 2)
        await script.ran(4)
        await until(lambda: rig.watch_state.clusters["edge"].tries == 0)
    assert [job.trigger for job in script.jobs[:4]] == ["start", "retry", "retry", "interval"]
    assert rig.sample("passes_total", cluster="edge", result="failed") == 2


async def test_the_watch_wakes_when_the_hold_ends_although_the_interval_is_longer():
    held = replace(REFUSED, hold_end=datetime.now(UTC) + timedelta(milliseconds=60))
    rig, script = Rig(), Script(held, CONVERGED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(2)
        assert datetime.now(UTC) >= held.hold_end
    assert [job.trigger for job in script.jobs] == ["start", "hold-ends"]
    assert rig.sample("triggers_total", trigger="hold-ends") == 1


async def test_a_hold_that_ends_after_the_interval_changes_nothing():
    held = replace(REFUSED, hold_end=datetime.now(UTC) + timedelta(hours=1))
    rig, script = Rig(interval=0.01), Script(held)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(2)
    assert script.jobs[1].trigger == "interval"


async def test_a_failing_cluster_backs_off_until_a_new_revision():
    rig, script = Rig(), Script(FAILED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await until(lambda: rig.watch_state.clusters["edge"].tries == 1)
        status = rig.watch_state.clusters["edge"]
        assert status.due - status.ended == pytest.approx(10, abs=1)  # the first span, at a draw of 1
        loop.use_fleet(fleet("b"), "webhook")
        await script.ran(2)
        assert rig.watch_state.clusters["edge"].target.id[0] == "b"
        await until(lambda: rig.watch_state.clusters["edge"].revision.id[0] == "b")
        assert rig.watch_state.clusters["edge"].tries == 1  # counted from the new revision on


async def test_a_newer_revision_stops_the_pass_under_way_and_runs_at_once():
    rig, script = Rig(), Script()
    script.gate = asyncio.Event()
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await script.ran(1)
        loop.use_fleet(fleet("b"), "poll")
        await script.ran(2)
        script.gate.set()
        await until(lambda: rig.watch_state.clusters["edge"].success)
    assert script.jobs[0].stop.is_set()
    assert rig.sample("passes_total", cluster="edge", result="stopped") == 1


async def test_a_removed_cluster_has_no_pass_and_returns_in_the_same_loop():
    rig, script = Rig(interval=0.01), Script()
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await script.ran(1)
        loop.pause()
        assert rig.watch_state.clusters == {}
        for _ in range(3):  # the loop goes round without a pass, except for one that had begun
            before, beat = len(script.jobs), dict(rig.watch_state.heartbeats)
            await until(lambda beat=beat: rig.watch_state.heartbeats != beat)
        assert len(script.jobs) == before
        loop.use_fleet(fleet("a"), "poll")
        await script.ran(before + 1)
        assert "edge" in rig.watch_state.clusters


async def test_stop_stops_the_pass_and_ends_the_loop():
    rig, script = Rig(), Script()
    script.gate = asyncio.Event()
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(1)
    assert script.jobs[0].stop.is_set()
    assert len(script.jobs) == 1


@pytest.mark.parametrize(
    "error",
    [
        KeyError("the-secret"),
        RecursionError("the-secret"),
        MemoryError("the-secret"),
        ExceptionGroup("the-secret", [ValueError("the-secret")]),
        SystemExit("the-secret"),
        asyncio.CancelledError("the-secret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_unexpected_error_is_this_clusters_failed_pass_and_quotes_nothing(error):
    rig, script = Rig(interval=0.01), Script(error, CONVERGED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(2)
    assert rig.sample("passes_total", cluster="edge", result="defect") == 1
    assert rig.sample("unexpected_errors_total", loop="cluster edge") == 1
    (line,) = [line for line in rig.lines("pass ended") if line["result"] == "defect"]
    assert line["message"].startswith("an unexpected error: ")
    (logged,) = rig.lines("unexpected error in a pass")
    assert "others continue" in logged["remedy"]
    assert any("watch_server.py" in frame for frame in logged["trace"])
    assert "the-secret" not in rig.stream.getvalue()


async def test_a_repeated_unexpected_error_is_retried_with_backoff_and_logged_once():
    rig, script = Rig(interval=0.005), Script(RecursionError())
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await until(lambda: rig.sample("unexpected_errors_total", loop="cluster edge") == 4)
        assert rig.watch_state.clusters["edge"].tries >= 3
    assert len(rig.lines("unexpected error in a pass")) == 1


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ClusterBusy("cluster edge is being changed by process 7"), PassResult.BUSY),
        (StateError("the state file: the disk is full"), PassResult.FAILED),
        (InputError([]), PassResult.INVALID),
    ],
)
async def test_expected_errors_become_results(error, result):
    rig, script = Rig(), Script(error)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        assert rig.watch_state.clusters["edge"].pass_summary.result is result
    assert bool(rig.watch_state.store) is (result is PassResult.FAILED)


async def test_nodes_that_are_waited_for_cause_a_pass_soon_and_no_backoff():
    waiting = PassSummary(PassResult.WAITING, recheck=0.005)
    rig, script = Rig(interval=100), Script(waiting, waiting, CONVERGED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(3)
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary.result is PassResult.CONVERGED)
    assert [job.trigger for job in script.jobs] == ["start", "offers", "offers"]
    assert rig.watch_state.clusters["edge"].tries == 0


async def test_a_request_of_a_command_causes_a_pass_if_there_is_a_fleet():
    rig, script = Rig(), Script()
    async with running(script, rig) as loop:
        loop.request_pass("request")
        loop.use_fleet(fleet(), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        loop.request_pass("request")
        await script.ran(2)
    assert [job.trigger for job in script.jobs] == ["start", "request"]


async def test_success_is_recorded_only_if_every_node_answered():
    rig, script = Rig(), Script(PassSummary(PassResult.APPLIED, unread_nodes=("edge-02",)), CONVERGED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        assert rig.watch_state.clusters["edge"].success == 0
        loop.use_fleet(fleet("b"), "poll")
        await until(lambda: rig.watch_state.clusters["edge"].success)


async def test_a_refusal_is_logged_once_for_each_revision():
    rig, script = Rig(interval=0.005), Script(REFUSED)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await script.ran(4)
        assert len(rig.lines("plan refused")) == 1
        loop.use_fleet(fleet("b"), "poll")
        await until(lambda: len(rig.lines("plan refused")) == 2)
        await script.ran(8)
    first, second = rig.lines("plan refused")
    assert (first["code"], first["cluster"], first["revision"]) == ("quorum", "edge", "aaaaaaa")
    assert second["revision"] == "bbbbbbb"
    assert rig.sample("violations", cluster="edge", code="quorum") == 1


async def test_what_is_about_another_cluster_is_not_told_as_a_refusal_of_this_one():
    gone = Diagnostic(
        Severity.ERROR, "cluster-vanished", "it is missing", "put it back", target="live", hold=True
    )
    rig, script = Rig(interval=0.005), Script(PassSummary(PassResult.CONVERGED, violations=(gone,)))
    async with running(script, rig) as loop:
        loop.use_fleet(fleet("a"), "start")
        await script.ran(2)
    assert not rig.lines("plan refused")
    assert [line["code"] for line in rig.lines("another cluster is refused")] == ["cluster-vanished"]
    assert rig.sample("violations", cluster="live", code="cluster-vanished") == 1
    assert rig.sample("violations", cluster="edge", code="cluster-vanished") is None


async def test_a_pass_that_acted_is_always_logged_with_its_run():
    applied = PassSummary(PassResult.APPLIED, run="r1", steps=2)
    rig, script = Rig(interval=0.005), Script(applied)
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(3)
    assert len(rig.lines("pass ended")) >= 2
    assert rig.lines("pass ended")[0]["run"] == "r1"


async def test_a_long_step_keeps_the_loop_alive_for_as_long_as_it_may_take():
    rig, script = Rig(interval=FOREVER), Script()
    script.gate = asyncio.Event()
    async with running(script, rig) as loop:
        loop.use_fleet(fleet(), "start")
        await script.ran(1)
        script.jobs[0].listener.on_step_started(make_step(action="drain", settle=5000))
        now = rig.context.clock()
        assert rig.watch_state.heartbeats["cluster edge"] > now + 5000
        assert rig.watch_state.clusters["edge"].doing == "edge/a/drain"
        script.gate.set()
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        await until(lambda: rig.watch_state.heartbeats["cluster edge"] < now + FOREVER + PATIENCE + 10)
