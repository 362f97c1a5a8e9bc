"""Passes over the fake product with a real store: a dry run cannot write, and no step is done twice."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.driver import NOWHERE, FakeDriver, FakeNode, FleetSource, Killed, World, cluster, fleet
from support.waiting import wait_until
from support.watch_server import Rig

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.actor import Actor
from reconciler.core.entries import FeedbackEntry
from reconciler.core.fleet_matching import HOST, FleetIdentity
from reconciler.core.selection import Selection
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy
from reconciler.feedback.sender import MessageSender
from reconciler.host.clock import utc_now
from reconciler.ports.listener import SILENT
from reconciler.ports.transport import Http, HttpAnswer, Transports
from reconciler.server.cluster_pass import PassJob
from reconciler.server.pass_result import PassResult
from reconciler.server.pass_runner import HALTED, ApplyPass, DryRunPass
from reconciler.server.progress_listener import WatchListener
from reconciler.store.factory import open_store

NO_STATE = Path("/nowhere/state")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


class Bench:
    """One world with a dry run and an applying pass over it."""

    def __init__(self, store=None, http=None, **world):
        self.world, self.rig = World(**world), Rig()
        self.drivers = {"fake": FakeDriver(self.world)}
        self.transports = Transports(http) if http else NOWHERE
        self.reader = Reader(FleetSource(), drivers=self.drivers, connect=self.way)
        self.dry_run = DryRunPass(self.reader, NO_STATE)
        self.store = store
        self.apply = ApplyPass(Reconciler(self.reader, store))

    @asynccontextmanager
    async def way(self, host):
        yield self.transports


def job(desired, name="edge", trigger="interval", stop=None, listener=SILENT):
    return PassJob(desired, name, trigger, listener, stop or asyncio.Event())


TWO = fleet(cluster("edge", {"a": "new", "b": "old"}))


async def test_a_dry_run_reports_drift_and_performs_nothing():
    bench = Bench(values={"a": "old", "b": "old"})
    pass_summary = await bench.dry_run(job(TWO))
    assert (pass_summary.result, pass_summary.pending) == (PassResult.DRIFT, 1)
    assert bench.world.acts == []
    assert bench.world.values["a"] == "old"


async def test_an_applied_pass_is_in_the_history_with_its_trigger(store):
    bench = Bench(store, values={"a": "old", "b": "old"})
    pass_summary = await bench.apply(job(TWO, trigger="webhook"))
    assert (pass_summary.result, pass_summary.steps, pass_summary.pending) == (PassResult.APPLIED, 1, 0)
    assert bench.world.values["a"] == "new"
    (line,) = await store.runs()
    assert (line.id, line.trigger) == (pass_summary.run, "webhook")
    assert (await bench.apply(job(TWO))).result is PassResult.CONVERGED
    assert bench.world.acts == ["a"]


async def test_only_the_jobs_cluster_is_touched(store):
    bench = Bench(store, values={"a": "old", "x": "old"})
    both = fleet(cluster("edge", {"a": "new"}), cluster("lab", {"x": "new"}))
    await bench.apply(job(both, "lab"))
    assert bench.world.acts == ["x"]


async def test_a_refusal_enters_the_history_once_until_it_changes(store):
    bench = Bench(store, values={"a": "old", "b": "old"})
    refused = fleet(cluster("edge", {"a": "forbidden", "b": "old"}))
    for _ in range(3):
        pass_summary = await bench.apply(job(refused))
        assert (pass_summary.result, pass_summary.pending) == (PassResult.REFUSED, 1)
    assert len(await store.runs()) == 1
    await bench.apply(job(fleet(cluster("edge", {"a": "forbidden", "b": "forbidden"}))))
    assert len(await store.runs()) == 2
    assert bench.world.acts == []


async def test_what_a_killed_run_left_is_settled_by_reading_not_by_doing_it_again(store):
    bench = Bench(store, values={"a": "old", "b": "old"})
    bench.world.fault("a", "killed after")
    with suppress(Killed):
        await bench.apply(job(TWO))
    assert [record.summary.finished for record in await store.list_open_runs()] == [None]

    later = Bench(store, values=bench.world.values)
    context = later.rig.context
    listener = WatchListener("edge", context.watch_state, context.metrics, context.log, lambda _: None)
    pass_summary = await later.apply(job(TWO, listener=listener))
    assert pass_summary.result is PassResult.CONVERGED
    assert later.world.acts == []
    assert await store.list_open_runs() == ()
    (line,) = later.rig.lines("step settled")
    assert (line["step"], line["state"]) == ("edge/a/set", "done")


async def test_open_steps_of_a_cluster_without_an_entry_are_settled_too(store):
    bench = Bench(store, values={"a": "old", "b": "old"})
    bench.world.fault("a", "killed before")
    with suppress(Killed):
        await bench.apply(job(TWO))
    later = Bench(store, values=bench.world.values)
    await later.apply(job(fleet(cluster("lab", {"x": "new"})), "lab"))
    assert await store.list_open_runs() == ()
    assert later.world.acts == ["x"]


async def test_a_cluster_that_another_run_holds_is_not_changed(store):
    bench = Bench(store, values={"a": "old"})
    async with (await store.enter_fleet(FleetIdentity("/repo"))).lock("edge"):
        with pytest.raises(ClusterBusy):
            await bench.apply(job(TWO))
    assert bench.world.acts == []
    assert (await bench.apply(job(TWO))).result is PassResult.APPLIED


async def test_stopped_in_the_middle_the_step_under_way_is_finished_and_no_other_begun(store):
    bench = Bench(store, values={"a": "old", "b": "older", "c": "old"})
    bench.world.gate = asyncio.Event()
    stop = asyncio.Event()
    desired = fleet(cluster("edge", {"a": "new", "b": "new", "c": "new"}, concurrency=1))
    task = asyncio.create_task(bench.apply(job(desired, stop=stop)))
    async with asyncio.timeout(10):
        await bench.world.entered.wait()
        stop.set()
        bench.world.gate.set()
        pass_summary = await task
    assert (pass_summary.result, pass_summary.pending) == (PassResult.STOPPED, 2)
    assert bench.world.acts == ["a"]
    assert await store.list_open_runs() == ()
    record = await store.run(pass_summary.run)
    assert [entry.state.value for entry in record.entries] == ["done", "skipped", "skipped"]


class Endless(FakeDriver):
    """A product whose nodes never answer."""

    async def observe(self, desired, transports):
        await asyncio.Event().wait()


async def test_a_stop_while_observing_does_not_wait_for_slow_nodes(store):
    bench = Bench(store)
    bench.drivers["fake"] = Endless(bench.world)
    stop = asyncio.Event()
    for perform in (bench.dry_run, bench.apply):
        stop.clear()
        task = asyncio.create_task(perform(job(TWO, stop=stop)))
        await asyncio.sleep(0.01)
        stop.set()
        async with asyncio.timeout(10):
            assert await task == HALTED


class EndlessLook(FakeDriver):
    """A product whose nodes never show the status of a step."""

    async def observe_step(self, step, transports):
        self.world.entered.set()
        await asyncio.Event().wait()


async def test_stopped_while_settling_what_a_killed_run_left_it_begins_nothing(store):
    bench = Bench(store, values={"a": "old", "b": "old"})
    bench.world.fault("a", "killed before")
    with suppress(Killed):
        await bench.apply(job(TWO))
    later = Bench(store, values=bench.world.values)
    later.drivers["fake"] = EndlessLook(later.world)
    stop = asyncio.Event()
    task = asyncio.create_task(later.apply(job(TWO, stop=stop)))
    async with asyncio.timeout(10):
        await later.world.entered.wait()
        stop.set()
        assert await task == HALTED
    assert later.world.acts == []
    assert len(await store.list_open_runs()) == 1


class StopsAfterPlanning(FakeDriver):
    """A product that stops the pass at its last reading."""

    def __init__(self, world, stop):
        super().__init__(world)
        self.stop = stop

    def plan(self, desired, observed):
        self.stop.set()
        return super().plan(desired, observed)


async def test_a_stop_that_comes_with_the_plan_lets_no_run_begin(store):
    bench, stop = Bench(store, values={"a": "old"}), asyncio.Event()
    bench.drivers["fake"] = StopsAfterPlanning(bench.world, stop)
    assert await bench.apply(job(TWO, stop=stop)) == HALTED
    assert bench.world.acts == []
    assert await store.runs() == ()


async def test_only_restricts_a_pass_to_one_node():
    bench = Bench(values={"a": "old", "b": "older"})
    narrow = DryRunPass(bench.reader, NO_STATE, only=Selection.of("a"))
    pass_summary = await narrow(job(fleet(cluster("edge", {"a": "new", "b": "new"}))))
    assert pass_summary.pending == 1


async def test_a_step_of_an_operator_waits(store):
    bench = Bench(store, values={"a": "old"})
    waits = fleet(cluster("edge", {"a": FakeNode(name="a", value="new", person=True)}))
    assert (await bench.apply(job(waits))).result is PassResult.WAITING
    bench.world.values["a"] = "new"
    assert (await bench.apply(job(waits))).result is PassResult.CONVERGED


class Sink(Http):
    """HTTP to the feedback sink alone: it fails at first, and is slow later."""

    def __init__(self):
        self.posts, self.away, self.gate = [], True, asyncio.Event()

    async def send(self, method, url, *, content=b"", **_):
        if self.away:
            return HttpAnswer(503, {}, b"")
        self.posts.append(content)
        await self.gate.wait()
        return HttpAnswer(200, {}, b"")


async def test_left_over_messages_are_delivered_by_one_idle_pass_and_no_other_waits_for_it(
    store, monkeypatch
):
    monkeypatch.setitem(MessageSender.__init__.__kwdefaults__, "pauses", ())
    sink = Sink()
    bench = Bench(store, http=sink, values={"a": "old", "x": "new"})
    desired = fleet(
        cluster("edge", {"a": "new"}),
        cluster("lab", {"x": "new"}),
        feedback=FeedbackEntry(url="http://127.0.0.1:9/feedback"),
    )
    pass_summary = await bench.apply(job(desired))
    assert "feedback-undelivered" in {finding.code for finding in pass_summary.findings}
    sink.away = False
    delivering = asyncio.create_task(bench.apply(job(desired)))
    await wait_until(lambda: sink.posts)
    async with asyncio.timeout(10):
        assert (await bench.apply(job(desired, "lab"))).result is PassResult.CONVERGED
        sink.gate.set()
        assert (await delivering).findings == ()
    assert len(sink.posts) == 1
    assert await store.count_pending() == 0


async def test_a_held_node_that_differs_is_not_converged_also_after_other_steps(store):
    bench = Bench(store, values={"a": "old", "b": "old"})
    two = fleet(cluster("edge", {"a": "new", "b": "new"}))
    await store.hold(HOST, "edge", "a", utc_now() + timedelta(hours=1), Actor("kim", why="a card"))
    summary = await bench.apply(job(two))
    assert (summary.result, summary.left_nodes, summary.is_good) == (PassResult.APPLIED, ("a",), False)
    summary = await bench.apply(job(two))
    assert (summary.result, summary.left_nodes, summary.is_good) == (PassResult.HELD, ("a",), False)
    assert (summary.message, summary.is_settled, bool(summary.hold_end)) == ("a: held", True, True)
    bench.world.values["a"] = "new"
    assert (await bench.apply(job(two))).is_good


@pytest.mark.parametrize(
    ("code", "severity", "result"),
    [
        ("waits-for-restart", Severity.NOTE, PassResult.RESTART),
        ("foreign-change", Severity.WARNING, PassResult.DOUBTFUL),
        ("remark", Severity.NOTE, PassResult.CONVERGED),
    ],
)
async def test_a_pass_and_a_status_agree_on_nodes_that_nothing_is_sent_to(store, code, severity, result):
    bench = Bench(store, values={"a": "new", "b": "new"})
    driver, finding = bench.drivers["fake"], Diagnostic(severity, code, "look at a", target="edge/a")

    def plan(desired, observed):
        found = FakeDriver.plan(driver, desired, observed)
        return replace(found, findings=(*found.findings, finding))

    driver.plan = plan
    two = fleet(cluster("edge", {"a": "new", "b": "new"}))
    summary = await bench.apply(job(two))
    assert (summary.result, summary.is_good) == (result, result is PassResult.CONVERGED)
    status = await bench.reader.status(two)
    assert status.is_converged == summary.is_good
