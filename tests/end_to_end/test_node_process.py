"""The node server has a process of its own, which follows the watch: its rules, its stop and its end."""

import io
import json
import os
import signal
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from support.offers import make_draft
from support.waiting import wait_until

from reconciler.core.change_windows import Freeze
from reconciler.core.endpoint import SocketAddress
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.policy import ChangeRules
from reconciler.core.secret import reveal
from reconciler.drivers.m2.central_server.server import CENTRAL_SERVER
from reconciler.errors import UsageError
from reconciler.server.logs import open_log
from reconciler.server.nodes import node_server_process as module
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_server import STARTING, NodeServerOptions
from reconciler.server.nodes.node_server_process import NodeProcessHooks, NodeRules, NodeServerProcess
from reconciler.store.factory import open_store

LONG_AGO = {"If-Modified-Since": "Tue, 11 Oct 2022 12:45:26 GMT"}


class Watch:
    """The end of the watch, over a real store with one node."""

    def __init__(self, folder):
        self.folder, self.lines = folder, io.StringIO()
        self.crashes, self.counted, self.beats = [], [], []

    async def enrol(self):
        with open_store(self.folder) as host:
            store = await host.enter_fleet(FleetIdentity(source="/fleet", name="fleet"))
            await store.enrol("c", "m2", ["n0"])
            found = await store.tokens("c", ["n0"])
            await store.offer(make_draft("n0", seconds=600), "run", "revision")
        self.token = reveal(found["n0"].current)

    @contextmanager
    def running(self, listen=("127.0.0.1", 0)):
        hooks = NodeProcessHooks(
            open_log(self.lines, form="json"),
            lambda *crash: self.crashes.append(crash),
            self.counted.append,
            lambda: self.beats.append(1),
        )
        self.server = NodeServerProcess(
            NodeServerOptions(SocketAddress(*listen), rate=1e9),
            self.folder,
            100,
            kinds=frozenset({"m2"}),
            find_product={"m2": CENTRAL_SERVER}.get,
            hooks=hooks,
        )
        with self.server.running() as self.url:
            yield self.server

    async def poll(self):
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20) as client:
            return await client.get(f"/{self.token}/setting", headers=LONG_AGO)

    def logged(self, event):
        return [json.loads(line) for line in self.lines.getvalue().splitlines() if event in line]


def find_child():
    """The process of the node server."""
    texts = [task.read_text() for task in Path("/proc/self/task").glob("*/children")]
    children = [int(child) for text in texts for child in text.split()]
    (found,) = [one for one in children if module.MODULE in Path(f"/proc/{one}/cmdline").read_text()]
    return found


@pytest.fixture
async def watch(tmp_path):
    watch = Watch(tmp_path)
    await watch.enrol()
    return watch


async def test_it_answers_counts_and_logs_as_a_part_of_the_watch(watch):
    with watch.running() as server:
        assert server.problem == STARTING
        assert (await watch.poll()).status_code == 200
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            assert (await client.get(f"{watch.url}/unknown/setting")).status_code == 404
        await wait_until(lambda: server.counters.offers == 1)
        await wait_until(lambda: server.state.clusters)
        assert server.state.clusters["c"].nodes == 1
        assert server.list_products() == {"m2": CENTRAL_SERVER}
        assert (server.problem, bool(watch.beats)) == ("", True)
        await wait_until(lambda: watch.logged("unknown URL called"))
        child = find_child()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not watch.crashes


async def test_rules_of_a_newer_fleet_hold_at_once_and_after_a_restart(watch):
    today = datetime.now(UTC).date()

    async def is_offered():
        return (await watch.poll()).status_code == 200

    with watch.running() as server:
        days = [f"{today + timedelta(days=days):%Y-%m-%d}" for days in (-2, 2)]
        freeze = Freeze.model_validate({"from": days[0], "until": days[1], "reason": "holidays"})
        server.use_rules(NodeRules({"c": ChangeRules(freezes=(freeze,))}))
        await wait_until(lambda: not server.problem)
        assert (await watch.poll()).status_code == 304
        await wait_until(lambda: server.counters.unchanged == 1)
        os.kill(find_child(), signal.SIGKILL)
        await wait_until(lambda: watch.crashes)
        assert (await watch.poll()).status_code == 304  # the connection waits for the next process
        server.use_rules(NodeRules())
        await wait_until(is_offered)
        await wait_until(lambda: server.counters.offers == 1)
        assert server.counters.unchanged >= 2
    assert len(watch.crashes) == 1


async def test_a_signal_to_the_group_does_not_stop_it_before_the_watch(watch):
    with watch.running() as server:
        await wait_until(lambda: not server.problem)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(find_child(), number)
        assert (await watch.poll()).status_code == 200


async def test_an_address_in_use_ends_the_start(watch, monkeypatch):
    monkeypatch.setattr(module, "REBIND_SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(UsageError, match="cannot listen for nodes"),
        watch.running(other.getsockname()),
    ):
        pass


async def test_an_address_that_the_server_of_a_killed_watch_still_has_is_waited_for(watch):
    other = socket.create_server(("127.0.0.1", 0))
    where = other.getsockname()
    threading.Timer(0.3, other.close).start()
    with watch.running(where):
        assert (await watch.poll()).status_code == 200


def test_counts_of_processes_that_ended_stay():
    first, second = CallCounters(polls=1), CallCounters(polls=2)
    first.reports["k"] += 1
    second.reports["k"] += 1
    second.refused[404] += 1
    total = first.add(second)
    assert (total.polls, dict(total.reports), dict(total.refused)) == (3, {"k": 2}, {404: 1})
