"""A stop stops: nothing begins after the signal, and what only reads is given up at once."""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager

import pytest
from support.waiting import wait_until
from support.watch_process import Stage, fleet_file, hung_git, is_alive

PROMPT = 20
"""Seconds within which a watch ends that has nothing to bring to its end; the grace is 60 s."""


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path)
    async with stage.nodes():
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        yield stage


async def file_appeared(path):
    return (await wait_until(lambda: path.exists() and path.read_text())).split()


async def ended_promptly(watch):
    began = time.monotonic()
    status = await watch.ended()
    assert time.monotonic() - began < PROMPT
    stopping = [line["event"] for line in watch.lines].index("watch stopping")
    after = {line["event"] for line in watch.lines[stopping + 1 :]}
    assert after <= {"pass ended", "watch stopped"}, watch.log
    return status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_stop_during_a_hung_fetch_ends_it_with_all_it_started(stage, monkeypatch, number):
    folder = hung_git(stage.folder / "bin")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    source = f"file://{stage.repository.folder}"
    async with stage.watch("--ref", "main", "--grace", "60s", source=source) as watch:
        processes = [int(number) for number in await file_appeared(folder / "pids")]
        watch.signal(number)
        assert await ended_promptly(watch) == 0
    assert [is_alive(process) for process in processes] == [False, False]
    assert stage.changes() == []


@asynccontextmanager
async def mute_server():
    """A server that takes connections and says nothing."""
    asked = asyncio.Event()

    async def take(reader, writer):
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_a_stop_during_a_download_that_hangs(stage):
    async with mute_server() as (port, asked):
        source = f"http://127.0.0.1:{port}/fleet.tar.gz"
        async with stage.watch("--grace", "60s", source=source) as watch:
            await asyncio.wait_for(asked.wait(), 30)
            watch.signal()
            assert await ended_promptly(watch) == 0


async def test_a_stop_while_nodes_are_read_begins_no_step(stage):
    for node in stage.simulation.nodes:
        await stage.simulation.fault(node, "silent", on="any")
    async with stage.watch("--grace", "60s") as watch:
        await wait_until(stage.simulation.calls)
        watch.signal()
        assert await ended_promptly(watch) == 0
    stage.simulation.clear()
    assert stage.changes() == []
    assert not [line for line in watch.lines if line["event"] == "step started"]
