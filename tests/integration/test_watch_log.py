"""A watch whose log cannot be written goes on with its work, and says so where it can."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from support_git import ALONE
from watch_process import PATIENCE, Stage, fleet_file

from reconciler.drivers.simulation.addresses import free_addresses

LIVE = "live-1@127.0.0.1"


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path)
    async with stage.nodes():
        yield stage


@asynccontextmanager
async def unread_watch(stage, stderr, wrapper=()):
    """A watch of whose log nothing is read here; gives a client of its endpoints."""
    (address,) = free_addresses(1)
    command = [
        *(sys.executable, "-m", "reconciler.cli.main", "watch", str(stage.repository.folder)),
        *("--state", str(stage.state), "--listen", str(address), "--interval", "0.3s", "--poll", "0.3s"),
        *("--log-format", "json"),
    ]
    environment = {**os.environ, **ALONE, "HOME": str(stage.folder)}
    process = await asyncio.create_subprocess_exec(*wrapper, *command, env=environment, stderr=stderr)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            yield client, process
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(client, condition):
    """What /readyz says, once it fulfils a condition."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                found = (await client.get("/readyz")).json()
            except httpx.TransportError:
                found = {}
            if found and condition(found):
                return found
            await asyncio.sleep(0.05)


def is_applied(stage, found):
    states = {one["cluster"]: one for one in found["clusters"]}
    return (
        states
        and states["live"]["state"] == "converged"
        and states["live"]["revision"]["id"] == stage.repository.head
    )


async def works_on(stage, client, problem):
    await told(client, lambda found: found["ready"] and is_applied(stage, found))
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
    found = await told(client, lambda found: is_applied(stage, found))
    assert await stage.mode(LIVE) == "block_new_session"
    assert found["log"]["writable"] is (problem is None)
    assert found["log"]["problem"] == problem
    assert (found["log"]["lines_lost"] > 0) is (problem is not None)
    assert found["ready"] is True
    figures = (await client.get("/metrics")).text
    assert f"reconciler_log_writable {0.0 if problem else 1.0}" in figures
    assert f"reconciler_log_lines_lost_total {float(found['log']['lines_lost'])}" in figures


async def test_the_disk_of_the_log_is_full(stage):
    with Path("/dev/full").open("w") as full:
        async with unread_watch(stage, full) as (client, _process):
            await works_on(stage, client, "the disk of the log is full")


async def test_the_reader_of_the_log_ends(stage):
    reader, writer = os.pipe()
    async with unread_watch(stage, writer) as (client, _process):
        os.close(writer)
        await told(client, lambda found: found["ready"])
        os.close(reader)
        await works_on(stage, client, "the reader of the log is gone")


async def test_the_reader_of_the_log_does_not_read(stage):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    async with unread_watch(stage, writer) as (client, _process):
        os.close(writer)
        await works_on(stage, client, None)  # the lines wait in memory, and none is lost so far
    os.close(reader)


async def test_standard_error_is_closed(stage):
    shell = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    async with unread_watch(stage, subprocess.DEVNULL, shell) as (client, _process):
        await works_on(stage, client, "standard error is closed")


async def test_a_log_that_is_not_wanted_is_no_problem(stage):
    async with unread_watch(stage, subprocess.DEVNULL) as (client, _process):
        await works_on(stage, client, None)
