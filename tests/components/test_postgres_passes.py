"""Passes that watches of several hosts share: each is run by one of them, and all of them know its result."""

import asyncio
import json
import time

import pytest
from support.postgres_servers import PostgresServer
from support.watch_process import Stage

pytestmark = pytest.mark.component("postgres", "initdb")

LEASE = 5
GOOD = {"converged", "applied"}


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
    return found


def make_options(stage, *options, number=1, **more):
    """Options of one host, whose files are its own but for the key of the store."""
    own = stage.folder / f"own-{number}"
    database = {"url": stage.state, "lease": f"{LEASE}s", "key": str(stage.folder / "shared.key")}
    file = stage.folder / f"host-{number}.yaml"
    file.write_text(json.dumps({"state": str(own), "database": database, **more}))
    options = options or ("--interval", "1s", "--poll", "0.3s")
    return ("--host-config", str(file), *options)


async def converge(watch):
    return await watch.until(lambda states: {one["state"] for one in states.values()} <= GOOD)


async def count_passes(watch):
    """Passes that the process of a watch has run itself."""
    text = (await watch.get("/metrics")).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("reconciler_passes_total{")
    )


async def test_two_hosts_share_the_passes_and_each_shows_those_of_both(stage):
    async with (
        stage.nodes(),
        stage.watch(*make_options(stage)) as first,
        stage.watch(*make_options(stage, number=2)) as second,
    ):
        watches = (first, second)
        for watch in watches:
            await converge(watch)
        before, began = [await count_passes(one) for one in watches], time.monotonic()
        await asyncio.sleep(12)
        run = [await count_passes(one) - known for one, known in zip(watches, before, strict=True)]
        seconds = time.monotonic() - began
        assert all(run), run
        # Two clusters, and an interval of one second after the end of each pass.
        assert seconds / 2 <= sum(run) <= 2 * seconds, run
        hosts = set()
        for watch in watches:
            assert (await watch.get("/readyz")).status_code == 200
            states = await watch.states()
            hosts |= {one["host"] for one in states.values()}
            assert "reconciler_last_pass_host_info" in (await watch.get("/metrics")).text
        assert {one.rpartition(" ")[2] for one in hosts} <= {str(one.process.pid) for one in watches}
