"""Calls are stored in groups: reports before their answers, polls soon, and none twice or never."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from reconciler.errors import StateError
from reconciler.ports.node_store import CallRecord
from reconciler.server.nodes import call_recorder
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.counters import CallCounters

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def call(node, **fields):
    return CallRecord(fleet=1, cluster="c", node=node, at=NOW, **fields)


class Disk:
    """A store that notes groups; it can be slow and it can fail."""

    def __init__(self):
        self.groups, self.errors, self.states = [], [], []
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, calls):
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.groups.append([one.node for one in calls])
        return frozenset({"gone"})


@asynccontextmanager
async def recording(disk):
    recorder = CallRecorder(disk.write, disk.states.append, CallCounters())
    stop = asyncio.Event()
    running = asyncio.create_task(recorder.run(stop))
    try:
        yield recorder
    finally:
        disk.open.set()
        stop.set()
        recorder.wake()
        await running


async def test_calls_that_arrive_during_a_write_share_the_next_one():
    disk = Disk()
    async with recording(disk) as recorder:
        disk.open.clear()
        first = asyncio.create_task(recorder.record(call("n0")))
        await asyncio.sleep(0.02)
        others = [asyncio.create_task(recorder.record(call(f"n{number}"))) for number in range(1, 50)]
        await asyncio.sleep(0.02)
        assert not first.done()
        disk.open.set()
        await asyncio.gather(first, *others)
    assert [len(group) for group in disk.groups] == [1, 49]


async def test_an_offer_that_was_withdrawn_meanwhile_is_told():
    async with recording(Disk()) as recorder:
        assert await recorder.record(call("n1", took="good"))
        assert not await recorder.record(call("n1", took="gone"))


async def test_of_polls_only_the_newest_is_stored_and_what_is_new_at_once():
    disk = Disk()
    async with recording(disk) as recorder:
        recorder.set_freshness(1e9)
        assert recorder.poll_seconds == call_recorder.POLL_SECONDS
        await asyncio.sleep(call_recorder.SHORTEST_POLL_SECONDS + 0.1)
        recorder.note_poll("n1", lambda: call("n1, old"))
        recorder.note_poll("n1", lambda: call("n1"))
        await asyncio.sleep(0.3)
        assert not disk.groups
        recorder.note_poll("n2", lambda: call("n2"), now=True)
        await asyncio.sleep(call_recorder.NEWS_SECONDS + 0.2)
        assert disk.groups == [["n1", "n2"]]


@pytest.mark.parametrize(("fresh", "seconds"), [(4.0, 0.5), (1.0, 0.25), (60.0, 5.0), (0.0, 0.25)])
async def test_polls_are_stored_in_time_for_what_nodes_sent_to_count_as_fresh(fresh, seconds):
    recorder = CallRecorder(Disk().write, print, CallCounters())
    recorder.set_freshness(fresh)
    assert recorder.poll_seconds == seconds


async def test_after_a_failure_reports_are_refused_and_polls_are_kept(monkeypatch):
    monkeypatch.setattr(call_recorder, "RETRY_SECONDS", 0.05)
    disk = Disk()
    disk.errors = [StateError("full")]
    async with recording(disk) as recorder:
        recorder.note_poll("n1", lambda: call("n1"))
        with pytest.raises(StateError, match="full"):
            await recorder.record(call("n2"))
        async with asyncio.timeout(5):
            while not disk.groups:
                await asyncio.sleep(0.01)
    assert "n1" in [node for group in disk.groups for node in group]
    assert "n2" not in [node for group in disk.groups for node in group]
    assert isinstance(disk.states[0], StateError)
    assert disk.states[-1] is None


async def test_calls_beyond_the_limit_fail_at_once(monkeypatch):
    monkeypatch.setattr(call_recorder, "MOST_WAITING", 3)
    disk = Disk()
    async with recording(disk) as recorder:
        disk.open.clear()
        waiting = [asyncio.create_task(recorder.record(call("n"))) for _ in range(4)]
        await asyncio.sleep(0.05)
        waiting += [asyncio.create_task(recorder.record(call("n"))) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert any(one.done() and isinstance(one.exception(), StateError) for one in waiting)
        disk.open.set()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_is_left_is_stored_at_the_stop():
    disk = Disk()
    async with recording(disk) as recorder:
        recorder.set_freshness(1e9)
        await asyncio.sleep(call_recorder.SHORTEST_POLL_SECONDS + 0.1)
        recorder.note_poll("n1", lambda: call("n1"))
    assert disk.groups == [["n1"]]
