"""Messages of a run arrive at a real HTTP sink, outlive its absence, and stand in the history."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from support.driver import NOON, NOWHERE, REVISION, FakeDriver, FakeNode, Killed, World, cluster, fleet
from support.waiting import wait_until

from reconciler.core.entries import FeedbackEntry
from reconciler.feedback import sender
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports


class Sink:
    """A sink over HTTP that answers from a list; the last answer stays, 0 hangs up instead."""

    def __init__(self, *statuses):
        self.statuses = list(statuses) or [200]
        self.got: list[tuple[str, dict]] = []
        self.port = 0

    @asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    @property
    def entry(self):
        return FeedbackEntry(url=f"http://127.0.0.1:{self.port}/feedback", timeout=5)

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status:
            assert head[0] == "POST /feedback HTTP/1.1"
            assert headers["content-type"] == "application/json"
            self.got.append((headers["idempotency-key"], json.loads(body)))
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield store


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(sender, "PAUSES", (0.01, 0.01))


async def run(store, world, entry, *nodes, revision=REVISION):
    drivers = {"fake": FakeDriver(world)}
    async with open_transports() as transports:
        seen = await run_plan_pass(
            fleet(cluster("edge", {node.name: node for node in nodes}), feedback=entry, revision=revision),
            drivers=drivers,
            transports=transports,
        )
        return await run_apply_pass(
            seen,
            drivers=drivers,
            transports=transports,
            journal=store,
            run_context=RunContext(clock=lambda: NOON),
        )


def node(name, value="1", **more):
    return FakeNode(name=name, value=value, **more)


async def test_each_change_is_told_once_with_its_result(store):
    world = World()
    world.fault("b", "refused")
    async with Sink().serving() as sink:
        nodes = [node("a"), node("b"), node("c", after=("b",)), node("d", person=True)]
        report = await run(store, world, sink.entry, *nodes)
    told = {message["node"]["hostname"]: message for _, message in sink.got}
    assert sorted(told) == ["a", "b"], "neither what was skipped nor what waits for an operator"
    assert told["a"] == {
        "messageVer": "1",
        "timestamp": "2026-11-21T12:00:00.000Z",
        "node": {"hostname": "a", "iplist": [], "settingVer": "1"},
        "userdata": {"source": REVISION.source, "revision": REVISION.id, "run": report.run},
        "action": {"api": "/fake/set", "event": "/_api_/fake/set"},
        "parameters": [
            {
                "result": {
                    "method": "deploy",
                    "status": "ok",
                    "version": "1",
                    "notupdated": [{"field": "port"}],
                }
            }
        ],
        "setting": None,
    }
    assert told["b"]["parameters"][0]["result"]["status"].startswith("it said no")
    assert report.findings == ()
    record = await store.run(report.run)
    assert sorted(json.loads(message.body)["node"]["hostname"] for message in record.messages) == ["a", "b"]
    assert [message for message in record.messages if not message.delivered] == []


@pytest.mark.parametrize("trouble", [503, 0], ids=["503", "hung up"])
async def test_a_sink_that_stumbles_gets_the_message_under_the_same_id(store, trouble):
    async with Sink(trouble, 200).serving() as sink:
        report = await run(store, World(), sink.entry, node("a"))
    assert report.findings == ()
    assert len({key for key, _ in sink.got}) == 1
    (message,) = (await store.run(report.run)).messages
    assert message.delivered


async def test_a_change_is_told_while_the_run_still_goes_on(store):
    world = World()
    async with Sink().serving() as sink:
        running = asyncio.create_task(run(store, world, sink.entry, node("a"), node("b", after=("a",))))
        await wait_until(lambda: world.acts, every=0)
        world.gate = asyncio.Event()
        await wait_until(lambda: sink.got)
        assert world.acts == ["a"]
        world.gate.set()
        assert (await running).is_success


async def test_a_dead_sink_fails_no_run_and_the_next_run_delivers(store):
    world, absent = World(), Sink()
    async with absent.serving():
        pass
    report = await run(store, world, absent.entry, node("a"), node("b"))
    assert report.exit_status == 0
    (finding,) = report.findings
    assert finding.code == "feedback-undelivered"
    assert finding.message.startswith("2 feedback messages still wait for the sink http://127.0.0.1:")
    assert [message for message in (await store.run(report.run)).messages if message.delivered] == []
    async with absent.serving() as back:
        assert (await run(store, world, back.entry, node("a"), node("b"))).findings == ()
    assert sorted(message["node"]["hostname"] for _, message in back.got) == ["a", "b"]
    assert [message for _, message in back.got if message["userdata"]["run"] != report.run] == []
    assert await store.count_pending() == 0


async def test_without_a_sink_messages_stand_in_the_history_alone(store):
    report = await run(store, World(), None, node("a"))
    (message,) = (await store.run(report.run)).messages
    assert (message.wanted, message.delivered) == (False, None)
    assert json.loads(message.body)["node"]["hostname"] == "a"
    async with Sink().serving() as sink:
        await run(store, World({"a": "1"}), sink.entry, node("a"))
    assert sink.got == []


async def test_a_step_settled_after_a_kill_is_told_too(store):
    world = World()
    world.fault("a", "killed after")
    entry = FeedbackEntry(url="http://127.0.0.1:9/feedback")
    with pytest.raises(Killed):
        await run(store, world, None, node("a"))
    await settle_open_runs(store, {"fake": FakeDriver(world)}, NOWHERE, feedback=entry, clock=lambda: NOON)
    (outbox_message,) = await store.list_due()
    assert json.loads(outbox_message.body)["parameters"][0]["result"]["status"] == "ok"
    async with Sink().serving() as sink:
        await run(store, world, sink.entry, node("a"))
    assert [key for key, _ in sink.got] == [outbox_message.id]
