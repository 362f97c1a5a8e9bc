"""Passes that hosts share, as one host sees them: what it tells the others, what it runs, what it leaves."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.watch_server import CONVERGED, FOREVER, Rig, Script, fleet, until

from reconciler.errors import ClusterBusy, FleetRefused, SourceError, StateError
from reconciler.ports.pass_queue import BegunPass, SharedCluster, SharedPasses
from reconciler.server import shared_scheduler
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.pass_status import decode_status, encode_status
from reconciler.server.shared_scheduler import HAND_BACK_SECONDS, SharedScheduler
from reconciler.server.watch_state import SourceState, WatchedCluster

NAMES = ("edge", "lab", "live")


class MemoryQueue:
    """The rows of one queue in memory; `run` stands for a job that a host takes."""

    name, lease = "1-all", 30.0

    def __init__(self):
        self.target, self.published, self.requested, self.ended = "", [], [], []
        self.rows, self.numbers, self.causes, self.due = {}, {}, {}, []
        self.job = None
        self.failure = None

    def key_input(self, digest):
        return f"keyed {digest}"

    async def publish(self, revision, inputs, trigger, *, instead_of, due=()):
        if self.target != instead_of:
            return False
        self.target = revision
        self.published.append((revision[:1], trigger))
        for name, digest in inputs.items():
            row = self.rows.get(name, SharedCluster(name, time.time(), "", "idle", ""))
            if name in due or row.input != self.key_input(digest):
                self.causes[name] = trigger
                self.due.append((revision[:1], name))
            self.rows[name] = replace(row, input=self.key_input(digest))
        return True

    async def request(self, clusters, trigger):
        self.requested.append((sorted(clusters), trigger))

    async def read(self, since=0.0):
        if self.failure:
            raise self.failure
        return SharedPasses(self.target, list(self.rows.values()), time.time())

    async def begin(self, cluster):
        number = self.numbers[cluster] = self.numbers.get(cluster, 0) + 1
        row = self.rows[cluster]
        return BegunPass(cluster, number, 0, self.causes[cluster], self.target, row)

    async def note(self, doing):
        pass

    async def end(self, begun, status, following, digest=""):
        self.ended.append((begun.cluster, decode_status(status), following))
        self.rows[begun.cluster] = replace(self.rows[begun.cluster], status=status, host="own")

    async def serve(self, run, passes, on_ready):
        if self.failure:
            raise self.failure
        on_ready()
        self.job = run
        await asyncio.Event().wait()


class History:
    """A source whose commits are `a`, `b`, `c` …, each after the one before; it may lack the newest."""

    has_history = True

    def __init__(self, known="abcdef"):
        self.known = known

    async def ancestors(self, revision):
        if revision[0] not in self.known:
            raise SourceError("no such commit")
        return frozenset(one * 40 for one in self.known[: self.known.index(revision[0]) + 1])


class Folder:
    has_history = False


@asynccontextmanager
async def running(queue, rig, script, source=None, reads=None):
    async def open_queue(_fleet):
        return queue

    scheduler = SharedScheduler(
        script,
        rig.context,
        source=source or History(),
        open_queue=open_queue,
        request_read=(reads if reads is not None else []).append,
        passes=4,
    )
    tasks = [asyncio.create_task(scheduler.follow()), asyncio.create_task(scheduler.serve())]
    try:
        yield scheduler
    finally:
        scheduler.stop()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)


async def test_a_revision_that_another_host_has_published_causes_no_pass():
    rig, queue = Rig(), MemoryQueue()
    queue.target = "a" * 40
    async with running(queue, rig, Script()) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job)
        assert queue.published == []
        scheduler.publish(fleet("b"), "poll")
        await until(lambda: queue.published)
    assert queue.published == [("b", "poll")]


@pytest.mark.parametrize(
    ("target", "own", "known", "is_published"),
    [
        ("a", "b", "abc", True),  # newer than what the others have
        ("c", "b", "abc", False),  # older, and its copy of the source knows that
        ("c", "b", "ab", False),  # its copy of the source lacks what the others have
        ("", "a", "a", True),  # the first of all
    ],
)
async def test_a_host_that_lags_does_not_take_the_target_back(target, own, known, is_published):
    rig, queue = Rig(), MemoryQueue()
    queue.target = target * 40
    async with running(queue, rig, Script(), History(known)) as scheduler:
        scheduler.publish(fleet(own), "start")
        await until(lambda: queue.job)
        await until(lambda: not scheduler._published)
    assert queue.target == (own if is_published else target) * 40


async def test_a_revision_without_an_order_replaces_the_one_that_it_followed_here():
    rig, queue = Rig(), MemoryQueue()
    async with running(queue, rig, Script(), Folder()) as scheduler:
        for name in ("a", "b", "a"):
            scheduler.publish(fleet(name), "files")
            await until(lambda name=name: queue.target == name * 40)
    assert queue.published == [("a", "files"), ("b", "files"), ("a", "files")]


async def test_changed_secrets_of_the_same_revision_make_passes_due():
    rig, queue = Rig(), MemoryQueue()
    async with running(queue, rig, Script()) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.published)
        scheduler.publish(fleet("a"), "poll")
        await until(lambda: len(queue.published) == 2)
    # Published, not only requested: with other instances, other clusters may be selected.
    assert queue.published == [("a", "start"), ("a", "poll")]


async def test_the_result_of_a_pass_is_for_all_hosts():
    rig, queue, script = Rig(), MemoryQueue(), Script(CONVERGED)
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a"), "webhook")
        await until(lambda: queue.job and queue.published)
        await queue.job("edge")
        ((cluster, status, following),) = queue.ended
        assert (cluster, status.pass_summary) == ("edge", CONVERGED)
        assert (following.wait, following.cause) == (pytest.approx(FOREVER, abs=1), "interval")
        assert script.jobs[0].trigger == "webhook"
        other = WatchedCluster(
            "edge", fleet("a").revision, pass_summary=PassSummary(PassResult.REFUSED), tries=3
        )
        queue.rows["edge"] = SharedCluster("edge", 5.0, "another", "observing 3 nodes", encode_status(other))
        scheduler.request_pass()
        await until(lambda: rig.watch_state.clusters["edge"].host == "another")
    found = rig.watch_state.clusters["edge"]
    assert (found.pass_summary.result, found.doing, found.due, found.tries) == (
        PassResult.REFUSED,
        "observing 3 nodes",
        5.0,
        3,
    )
    assert queue.requested == [(["edge"], "request")]


async def test_failures_of_other_hosts_count_for_the_backoff_until_a_trigger_comes():
    rig, queue, script = Rig(draw=1.0), MemoryQueue(), Script(PassSummary(PassResult.FAILED))
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        failed = WatchedCluster("edge", fleet("a").revision, tries=3, ended=time.time())
        for cause, wait in (("retry", 80.0), ("webhook", 10.0)):
            queue.rows["edge"] = SharedCluster("edge", 0.0, "another", "idle", encode_status(failed))
            queue.causes["edge"] = cause
            await queue.job("edge")
            assert queue.ended[-1][2].wait == pytest.approx(wait, abs=1)


async def test_a_cluster_that_another_run_holds_is_tried_again_before_its_lease_ends():
    rig, queue = Rig(draw=1.0), MemoryQueue()
    queue.lease = 6.0
    async with running(queue, rig, Script(ClusterBusy("held"))) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        await queue.job("edge")
    assert queue.ended[0][2].wait == 2.0


async def test_a_stop_leaves_the_pass_to_the_others_at_once():
    rig, queue, script = Rig(), MemoryQueue(), Script()
    script.gate = asyncio.Event()
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a"), "webhook")
        await until(lambda: queue.job and queue.published)
        job = asyncio.create_task(queue.job("edge"))
        await script.ran(1)
        scheduler.stop()
        await job
        await queue.job("edge")  # taken, but not begun
    ((_, status, following),) = queue.ended
    assert status.pass_summary.result is PassResult.STOPPED
    assert (following.wait, following.cause) == (0.0, "webhook")


async def test_a_revision_that_another_host_has_read_ends_a_running_pass_and_is_read_here():
    rig, queue, script, reads = Rig(), MemoryQueue(), Script(), []
    script.gate = asyncio.Event()
    async with running(queue, rig, script, reads=reads) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        job = asyncio.create_task(queue.job("edge"))
        await script.ran(1)
        assert await queue.publish("b" * 40, {"edge": "b"}, "poll", instead_of="a" * 40)
        scheduler.request_pass()
        await job
    assert queue.ended[0][1].pass_summary.result is PassResult.STOPPED
    assert reads == ["request"]


async def test_a_revision_that_does_not_change_a_cluster_leaves_its_pass_alone():
    rig, queue, script = Rig(), MemoryQueue(), Script()
    script.gate = asyncio.Event()
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a", "edge", "lab", "live", inputs=dict.fromkeys(NAMES, "1")), "start")
        await until(lambda: queue.job and queue.published)
        jobs = [asyncio.create_task(queue.job(name)) for name in NAMES]
        await script.ran(3)
        # Read by another host first, then here.
        newer = {**dict.fromkeys(NAMES, "1"), "lab": "2"}
        assert await queue.publish("b" * 40, newer, "poll", instead_of="a" * 40)
        await until(lambda: scheduler._target == "b" * 40)
        scheduler.publish(fleet("b", *NAMES, inputs=newer), "poll")
        newer["live"] = "2"
        await until(lambda: not scheduler._published)
        scheduler.publish(fleet("c", *NAMES, inputs=newer), "poll")
        await until(lambda: queue.target == "c" * 40)
        assert rig.watch_state.clusters["edge"].target.id == "c" * 40
        script.gate.set()
        await asyncio.gather(*jobs)
    results = {cluster: status.pass_summary.result for cluster, status, _ in queue.ended}
    assert results == {"edge": PassResult.CONVERGED, "lab": PassResult.STOPPED, "live": PassResult.STOPPED}
    assert queue.due == [*(("a", name) for name in NAMES), ("b", "lab"), ("c", "live")]


@pytest.mark.parametrize(
    ("summary", "is_due"),
    [(CONVERGED, False), (PassSummary(PassResult.REFUSED), True)],
    ids=["good", "refused"],
)
async def test_a_revision_that_changes_nothing_is_tried_where_the_last_pass_was_not_good(summary, is_due):
    rig, queue, script = Rig(), MemoryQueue(), Script(summary)
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a", inputs={"edge": "1"}), "start")
        await until(lambda: queue.job and queue.published)
        await queue.job("edge")
        scheduler.publish(fleet("b", inputs={"edge": "1"}), "poll")
        await until(lambda: queue.target == "b" * 40)
    assert queue.due == [("a", "edge"), *([("b", "edge")] if is_due else [])]


@pytest.mark.parametrize("source", [History("a"), Folder()], ids=["copy-of-git", "folder"])
async def test_a_host_that_lags_leaves_the_pass_until_no_other_host_goes_on(monkeypatch, source):
    monkeypatch.setattr(shared_scheduler, "READ_SECONDS", 0.1)
    rig, queue, script = Rig(interval=100.0), MemoryQueue(), Script()
    async with running(queue, rig, script, source) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        queue.target = "b" * 40
        await until(lambda: scheduler._target == queue.target)
        for waited, idle, count in (
            (200, 101, 0),  # a pass of the interval that is due just now: the others come
            (10, 500, 0),  # a revision that this host has not had the time to read
            (200, 500, 1),
        ):
            scheduler._target_since = rig.context.clock() - waited
            known = WatchedCluster(
                "edge", fleet("a").revision, pass_summary=CONVERGED, ended=time.time() - idle
            )
            queue.rows["edge"] = SharedCluster("edge", 0.0, "another", "idle", encode_status(known))
            await queue.job("edge")
            assert len(script.jobs) == count
    assert [one[2].wait for one in queue.ended][:2] == [HAND_BACK_SECONDS, 2 * HAND_BACK_SECONDS]
    assert queue.target == "a" * 40, "what no source has any more is no target"


async def test_a_fleet_that_was_refused_is_tried_again():
    rig, queue, script = Rig(), MemoryQueue(), Script()
    refusals = [FleetRefused("another fleet", remedy="rebind it") for _ in range(2)]

    async def open_queue(_fleet):
        if refusals:
            raise refusals.pop()
        return queue

    async with running(queue, rig, script) as scheduler:
        scheduler._open_queue = open_queue
        scheduler.publish(fleet("a"), "start")
        await until(lambda: rig.watch_state.no_passes)
        await until(lambda: queue.job and queue.published)
        assert not rig.watch_state.no_passes


async def test_an_unexpected_error_is_logged_once_and_the_cluster_waits(monkeypatch):
    def fail(_status):
        raise RuntimeError("no text of a status")

    rig, queue, script = Rig(), MemoryQueue(), Script(CONVERGED)
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        encode = shared_scheduler.encode_status
        monkeypatch.setattr(shared_scheduler, "encode_status", fail)
        await queue.job("edge")
        await queue.job("edge")
        monkeypatch.setattr(shared_scheduler, "encode_status", encode)
        await queue.job("edge")
    assert [one[2].wait for one in queue.ended][:2] == [shared_scheduler.DEFECT_SECONDS] * 2
    assert queue.ended[2][1].pass_summary == CONVERGED
    assert len(rig.lines("unexpected error in a pass")) == 1


async def test_rows_and_a_target_that_a_failover_has_lost_are_written_again(monkeypatch):
    monkeypatch.setattr(shared_scheduler, "CHECK_SECONDS", 0.1)
    rig, queue = Rig(), MemoryQueue()
    async with running(queue, rig, Script()) as scheduler:
        scheduler.publish(fleet("b", "edge", "lab"), "start")
        await until(lambda: queue.target == "b" * 40)
        del queue.rows["lab"]
        await until(lambda: "lab" in queue.rows)
        # As it was before the last commit; this host has read the source since.
        queue.target = "a" * 40
        await until(lambda: scheduler._target == "a" * 40)
        read = rig.watch_state.source
        rig.watch_state.source = replace(read, state=SourceState.GOOD, read_at=time.time() + 1)
        await until(lambda: queue.target == "b" * 40)


async def test_a_target_that_may_come_from_a_forced_push_is_left_until_the_source_was_read():
    rig, queue, reads = Rig(), MemoryQueue(), []
    async with running(queue, rig, Script(), reads=reads) as scheduler:
        scheduler.publish(fleet("b"), "start")
        await until(lambda: queue.target == "b" * 40)
        for target in ("a", "c"):
            queue.target = target * 40
            await until(lambda target=target: scheduler._target == target * 40)
            scheduler.request_pass()
            await until(lambda: not scheduler._requested)
            await asyncio.sleep(0.05)
            assert queue.target == target * 40
            rig.watch_state.source = replace(rig.watch_state.source, state=SourceState.GOOD)
    assert reads == ["request", "request"]


async def test_a_pass_waits_for_the_revision_that_this_host_has_not_read_yet():
    rig, queue, script = Rig(), MemoryQueue(), Script()
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        queue.target = "b" * 40
        job = asyncio.create_task(queue.job("edge"))
        await asyncio.sleep(0.05)
        scheduler.publish(fleet("b"), "request")
        await job
    assert [one.fleet.revision.id[0] for one in script.jobs] == ["b"]
    assert queue.ended[0][1].pass_summary == CONVERGED


async def test_a_cluster_that_this_host_does_not_know_is_left_to_others():
    rig, queue, script = Rig(), MemoryQueue(), Script()
    async with running(queue, rig, script) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.job and queue.published)
        queue.rows["new"], queue.causes["new"] = SharedCluster("new", 0.0, "", "idle", ""), "poll"
        await queue.job("new")
    assert script.jobs == []
    assert queue.ended[0][1:] == (None, shared_scheduler.NextPass(HAND_BACK_SECONDS, "poll"))


async def test_a_host_that_may_take_no_pass_says_so_once_and_takes_them_again(monkeypatch):
    monkeypatch.setattr(shared_scheduler, "RETRY_SECONDS", 0.01)
    rig, queue = Rig(), MemoryQueue()
    async with running(queue, rig, Script()) as scheduler:
        scheduler.publish(fleet("a"), "start")
        await until(lambda: queue.published)
        queue.failure = StateError("the configuration differs", remedy="make them equal")
        scheduler._queue = MemoryQueue()  # so that the worker begins anew
        scheduler._queue.failure = queue.failure
        await until(lambda: rig.watch_state.no_passes)
        await asyncio.sleep(0.1)
        scheduler._queue.failure = None
        await until(lambda: not rig.watch_state.no_passes)
    assert len(rig.lines("no passes taken")) == 1
    assert len(rig.lines("passes taken again")) == 1
