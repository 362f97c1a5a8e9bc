"""Purges of nodes that poll a real `reconcile watch`: once on each node, also across kills."""

import asyncio
import json
import os
import signal
import sys

import pytest
from end_to_end.test_polled_fleet import PolledFleet, enrol
from support.git_repositories import ALONE
from support.waiting import wait_until

from reconciler.simulation.call_sender import CallSender


@pytest.fixture
async def stage(tmp_path):
    stage = PolledFleet(tmp_path)
    async with await stage.simulated() as stage.simulation, CallSender(stage.simulation):
        yield stage


async def start(stage, *options):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reconciler.cli.main", *options, "--state", str(stage.state)),
        env={**os.environ, **ALONE, "HOME": str(stage.folder)},
        cwd=stage.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(stage, *options):
    """(status, output, messages) of a command."""
    process = await start(stage, *options)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def purge(stage, *options):
    status, out, err = await run(stage, "purge", *options, "--yes", "--format", "json")
    assert status == 0, err
    (found,) = json.loads(out)["operations"]
    return found


async def test_a_purge_reaches_nodes_at_their_next_poll_and_counts_each_once(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
        found = await purge(stage, "www.example.com/x.jpg", "--reason", "a wrong logo")
        assert found["direct"] is False
        assert found["counts"] == {"done": 3}
        assert found["actor"]["why"] == "a wrong logo"
        again = await purge(stage, "www.example.com/x.jpg")
        assert again["id"] != found["id"]
        assert again["counts"] == {"done": 3}
        # Their setting gives this host no right to purge, which shows that they were called.
        status, out, _ = await run(
            stage, "purge", "www.example.com/y", "--direct", "--yes", "--format", "json"
        )
        (called,) = json.loads(out)["operations"]
        assert (status, called["direct"], called["counts"]) == (1, True, {"failed": 3})
        assert "enablePurge" in called["results"][0]["reason"]
    assert not stage.simulation.world("edge").complaints


async def test_two_purges_at_once_are_both_done(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
        both = await asyncio.gather(*(purge(stage, "www.example.com/x.jpg") for _ in range(3)))
    assert [one["counts"] for one in both] == [{"done": 3}] * 3


async def test_a_watch_that_is_killed_follows_the_purge_after_its_restart(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
        process = await start(stage, "purge", "www.example.com/x.jpg", "--yes")

        async def recorded():
            _, out, _ = await run(stage, "history", "operations", "--format", "json")
            return json.loads(out)

        await wait_until(recorded, every=0.1)
        watch.signal(signal.SIGKILL)
        await watch.ended()
        await process.communicate()
    async with stage.watching():

        async def counts():
            _, out, _ = await run(stage, "history", "operations", "--format", "json")
            (found,) = json.loads(out)
            return found["counts"] == {"done": 3}

        await wait_until(counts, every=0.3)


async def test_without_a_watch_a_purge_of_polling_nodes_is_refused(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
    status, out, err = await run(
        stage, "purge", "www.example.com/x", "--yes", "--source", str(stage.repository.folder)
    )
    assert status == 1
    assert "no watch runs with this state; nothing was done" in err, out
    assert json.loads((await run(stage, "history", "operations", "--format", "json"))[1]) == []
