"""Watches of several hosts on one database: one freezes, one is killed, and the database is away."""

import asyncio
import json
import os
import signal
import sys

import pytest
from support.git_repositories import ALONE
from support.postgres_servers import PostgresServer
from support.waiting import wait_until
from support.watch_process import Stage, fleet_file

pytestmark = pytest.mark.component("postgres", "initdb")

LEASE = 5


@pytest.fixture
def server():
    found = PostgresServer()
    found.start()
    yield found
    found.close()


@pytest.fixture
def stage(tmp_path, server):
    found = Stage(tmp_path)
    found.state = server.create_database()
    host = {"state": str(tmp_path / "own"), "database": {"url": found.state, "lease": f"{LEASE}s"}}
    (tmp_path / "host.yaml").write_text(json.dumps(host))
    found.options = ("--host-config", str(tmp_path / "host.yaml"), "--interval", "1s", "--poll", "0.3s")
    return found


async def run_command(stage, *arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reconciler.cli.main", *arguments),
        *("--state", stage.state, "--host-config", str(stage.folder / "host.yaml")),
        env={**os.environ, **ALONE, "HOME": str(stage.folder)},
        cwd=stage.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def converge(watch):
    await watch.until(lambda states: all(one["state"] in {"converged", "applied"} for one in states.values()))


async def test_a_host_that_freezes_for_longer_than_its_lease_does_nothing_twice(stage):
    async with stage.nodes(), stage.watch(*stage.options) as first:
        await converge(first)
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        await stage.changed()
        first.signal(signal.SIGSTOP)
        try:
            async with stage.watch(*stage.options) as second:
                # On a slow machine, the lease may have ended before the second host asks for the first time.
                await second.said("pass ended", cluster="live", result="applied")
                told = [line for line in second.lines if line["event"] == "pass ended" and "cluster" in line]
                assert {line["result"] for line in told} <= {"busy", "applied", "converged"}, told
                first.signal(signal.SIGCONT)
                # Frozen in a transaction, it has lost the connection; between two, it is fenced.
                words = ("[fenced]", "the connection to it was lost", "stood still")
                await wait_until(lambda: any(one in first.log for one in words), seconds=20, every=0.1)
        finally:
            first.signal(signal.SIGCONT)
        nodes = sorted(stage.changes())
        assert nodes == sorted(set(nodes)), "a node was changed twice"
        assert len(nodes) == 3
        await converge(first)
    status, said = await run_command(stage, "history")
    assert status == 0
    assert "open" not in said


async def test_a_killed_host_leaves_its_clusters_to_another_one_after_its_lease(stage):
    async with stage.nodes(), stage.watch(*stage.options) as second:
        await converge(second)
        async with stage.watch(*stage.options) as first:
            await converge(first)
            first.signal(signal.SIGKILL)
            await first.ended()
        began = asyncio.get_running_loop().time()
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        await second.said("pass ended", cluster="live", result="applied")
        assert asyncio.get_running_loop().time() - began < 3 * LEASE
        assert len(stage.changes()) == 3


async def test_nothing_is_sent_while_the_database_is_away_and_the_watch_comes_back(stage, server):
    async with stage.nodes(), stage.watch(*stage.options) as watch:
        await converge(watch)
        server.stop()
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        failed = await watch.said("no passes taken")
        assert failed["message"].startswith("the database postgresql://127.0.0.1"), failed
        await asyncio.sleep(3)
        assert stage.changes() == []
        server.start()
        await watch.said("pass ended", cluster="live", result="applied")
        assert len(stage.changes()) == 3

        async def is_ready():
            return (await watch.get("/readyz")).status_code == 200

        await wait_until(is_ready, every=0.2)
        assert "never retrieved" not in watch.log


async def test_a_suspension_given_anywhere_stops_every_host(stage):
    async with stage.nodes(), stage.watch(*stage.options) as first, stage.watch(*stage.options) as second:
        for watch in (first, second):
            await converge(watch)
        status, said = await run_command(stage, "suspend", "--reason", "3 a.m.")
        assert status == 0, said
        assert f"State: {stage.state} (--state)" in said
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        for watch in (first, second):
            await watch.until(lambda states: states["live"]["state"] not in {"converged", "applied"})
        assert stage.changes() == []
        assert (await run_command(stage, "resume"))[0] == 0
        await wait_until(lambda: len(stage.changes()) == 3, every=0.1)
        await asyncio.sleep(2)
        assert len(stage.changes()) == 3


async def test_a_hold_given_anywhere_binds_every_host(stage):
    async with stage.nodes(), stage.watch(*stage.options) as first, stage.watch(*stage.options) as second:
        for watch in (first, second):
            await converge(watch)
        node = "live-2@127.0.0.1"
        status, said = await run_command(stage, "hold", f"live/{node}", "--until", "1h", "--reason", "disk")
        assert status == 0, said
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        for watch in (first, second):
            await watch.until(lambda states: states["live"]["state"] not in {"converged", "applied"})
        assert node not in stage.changes()
        assert (await run_command(stage, "release", f"live/{node}"))[0] == 0
        await wait_until(lambda: len(stage.changes()) == 3, every=0.1)
        for watch in (first, second):
            await converge(watch)
        assert len(set(stage.changes())) == len(stage.changes()) == 3
