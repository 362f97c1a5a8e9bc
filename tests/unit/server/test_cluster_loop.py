"""A cluster's loop: what makes it run a pass, and what it makes of each end."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from support.steps import make_step
from support.watch_server import CONVERGED, FOREVER, Rig, Script, fleet, until

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, InputError, StateError
from reconciler.server.cluster_loop import PATIENCE, ClusterLoop
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
        await asyncio.sleep(0.01)
    assert script.jobs == []


async def test_a_fleet_brings_a_pass_and_the_interval_brings_more():
    rig, script = Rig(interval=0.01), Script()
    async with running(script, rig) as loop:
        loop.take(fleet(), "webhook")
        await script.ran(3)
    assert [job.trigger for job in script.jobs[:3]] == ["webhook", "interval", "interval"]
    assert {job.cluster for job in script.jobs} == {"edge"}
    assert rig.sample("triggers_total", trigger="interval") >= 2


async def test_the_same_revision_again_brings_no_pass():
    rig, script = Rig(), Script()
    async with running(script, rig) as loop:
        loop.take(fleet("a"), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        loop.take(fleet("a"), "poll")
        await asyncio.sleep(0.01)
        assert len(script.jobs) == 1
        loop.take(fleet("b"), "poll")
        await script.ran(2)
    assert [job.fleet.revision.id[0] for job in script.jobs] == ["a", "b"]


async def test_what_did_not_settle_is_tried_again_before_the_interval():
    rig, script = Rig(interval=0.01), Script(FAILED, FAILED, CONVERGED)
    async with running(script, rig) as loop:
        loop.take(fleet(), "start")
        await script.ran(2)
        await until(lambda: rig.watch_state.clusters["edge"].tries == 2)
        await script.ran(4)
        await until(lambda: rig.watch_state.clusters["edge"].tries == 0)
    assert [job.trigger for job in script.jobs[:4]] == ["start", "retry", "retry", "interval"]
    assert rig.sample("passes_total", cluster="edge", result="failed") == 2


async def test_a_failing_cluster_backs_off_until_something_new_comes():
    rig, script = Rig(), Script(FAILED)
    async with running(script, rig) as loop:
        loop.take(fleet("a"), "start")
        await until(lambda: rig.watch_state.clusters["edge"].tries == 1)
        status = rig.watch_state.clusters["edge"]
        assert status.due - status.ended == pytest.approx(10, abs=1)  # the first span, at a draw of 1
        loop.take(fleet("b"), "webhook")
        await script.ran(2)
        assert rig.watch_state.clusters["edge"].target.id[0] == "b"
        await until(lambda: rig.watch_state.clusters["edge"].revision.id[0] == "b")
        assert rig.watch_state.clusters["edge"].tries == 1  # counted anew


async def test_a_newer_revision_stops_the_pass_under_way_and_runs_at_once():
    rig, script = Rig(), Script()
    script.gate = asyncio.Event()
    async with running(script, rig) as loop:
        loop.take(fleet("a"), "start")
        await script.ran(1)
        loop.take(fleet("b"), "poll")
        await script.ran(2)
        script.gate.set()
        await until(lambda: rig.watch_state.clusters["edge"].success)
    assert script.jobs[0].stop.is_set()
    assert rig.sample("passes_total", cluster="edge", result="stopped") == 1


async def test_a_cluster_that_left_rests_and_comes_back_in_the_same_loop():
    rig, script = Rig(interval=0.01), Script()
    async with running(script, rig) as loop:
        loop.take(fleet("a"), "start")
        await script.ran(1)
        loop.leave()
        await asyncio.sleep(0.05)
        before = len(script.jobs)
        assert rig.watch_state.clusters == {}
        await asyncio.sleep(0.05)
        assert len(script.jobs) == before
        loop.take(fleet("a"), "poll")
        await script.ran(before + 1)
        assert "edge" in rig.watch_state.clusters


async def test_told_to_stop_it_stops_the_pass_and_ends():
    rig, script = Rig(), Script()
    script.gate = asyncio.Event()
    async with running(script, rig) as loop:
        loop.take(fleet(), "start")
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
        loop.take(fleet(), "start")
        await script.ran(2)
    assert rig.sample("passes_total", cluster="edge", result="defect") == 1
    assert rig.sample("unexpected_errors_total", loop="cluster edge") == 1
    (line,) = [line for line in rig.lines("pass ended") if line["result"] == "defect"]
    assert line["message"].startswith("an unexpected error: ")
    (told,) = rig.lines("unexpected error in a pass")
    assert "others continue" in told["remedy"]
    assert any("watch_server.py" in frame for frame in told["trace"])
    assert "the-secret" not in rig.stream.getvalue()


async def test_an_unexpected_error_is_backed_off_and_its_trace_told_once():
    rig, script = Rig(interval=0.005), Script(RecursionError())
    async with running(script, rig) as loop:
        loop.take(fleet(), "start")
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
async def test_errors_on_purpose_become_results(error, result):
    rig, script = Rig(), Script(error)
    async with running(script, rig) as loop:
        loop.take(fleet(), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        assert rig.watch_state.clusters["edge"].pass_summary.result is result
    assert bool(rig.watch_state.store) is (result is PassResult.FAILED)


async def test_success_is_dated_only_where_every_node_was_heard():
    rig, script = Rig(), Script(PassSummary(PassResult.APPLIED, unheard_nodes=("edge-02",)), CONVERGED)
    async with running(script, rig) as loop:
        loop.take(fleet("a"), "start")
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        assert rig.watch_state.clusters["edge"].success == 0
        loop.take(fleet("b"), "poll")
        await until(lambda: rig.watch_state.clusters["edge"].success)


async def test_a_refusal_is_logged_once_for_each_revision():
    rig, script = Rig(interval=0.005), Script(REFUSED)
    async with running(script, rig) as loop:
        loop.take(fleet("a"), "start")
        await script.ran(4)
        assert len(rig.lines("plan refused")) == 1
        loop.take(fleet("b"), "poll")
        await until(lambda: len(rig.lines("plan refused")) == 2)
        await script.ran(8)
    first, second = rig.lines("plan refused")
    assert (first["code"], first["cluster"], first["revision"]) == ("quorum", "edge", "aaaaaaa")
    assert second["revision"] == "bbbbbbb"
    assert rig.sample("violations", cluster="edge", code="quorum") == 1


async def test_a_pass_that_acted_is_always_logged_with_its_run():
    applied = PassSummary(PassResult.APPLIED, run="r1", steps=2)
    rig, script = Rig(interval=0.005), Script(applied)
    async with running(script, rig) as loop:
        loop.take(fleet(), "start")
        await script.ran(3)
    assert len(rig.lines("pass ended")) >= 2
    assert rig.lines("pass ended")[0]["run"] == "r1"


async def test_a_long_step_keeps_the_loop_alive_for_as_long_as_it_may_take():
    rig, script = Rig(interval=FOREVER), Script()
    script.gate = asyncio.Event()
    async with running(script, rig) as loop:
        loop.take(fleet(), "start")
        await script.ran(1)
        script.jobs[0].listener.started(make_step(action="drain", settle=5000))
        now = rig.context.clock()
        assert rig.watch_state.heartbeats["cluster edge"] > now + 5000
        assert rig.watch_state.clusters["edge"].doing == "edge/a/drain"
        script.gate.set()
        await until(lambda: rig.watch_state.clusters["edge"].pass_summary)
        await until(lambda: rig.watch_state.heartbeats["cluster edge"] < now + FOREVER + PATIENCE + 10)
