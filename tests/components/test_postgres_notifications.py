"""Several hosts on one database tell people each thing once, also when one of them is killed."""

import asyncio
import json
import os
import signal
import sys

import pytest
from support.git_repositories import ALONE
from support.notice_services import serve_notices
from support.postgres_servers import PostgresServer
from support.waiting import wait_until
from support.watch_process import Stage

pytestmark = pytest.mark.component("postgres", "initdb")


@pytest.fixture
def server():
    found = PostgresServer()
    found.start()
    yield found
    found.close()


@pytest.fixture
def service():
    with serve_notices() as found:
        yield found


@pytest.fixture
def stage(tmp_path, server, service):
    found = Stage(tmp_path)
    found.state = server.create_database()
    address = tmp_path / "address"
    address.write_text(f"json://127.0.0.1:{service.port}/hook")
    address.chmod(0o600)
    host = {
        "state": str(tmp_path / "own"),
        "database": {"url": found.state, "lease": "5s"},
        "notifications": {
            "recipients": {"ops": {"addresses": [str(address)], "group": "1s", "limit": 1000}},
            "rules": [{"recipients": ["ops"], "events": ["suspended", "resumed", "files-invalid"]}],
            "steady": "1s",
        },
    }
    (tmp_path / "host.yaml").write_text(json.dumps(host))
    found.options = ("--host-config", str(tmp_path / "host.yaml"), "--interval", "1s", "--poll", "0.3s")
    return found


async def order(stage, *arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reconciler.cli.main", *arguments),
        *("--state", stage.state, "--host-config", str(stage.folder / "host.yaml")),
        env={**os.environ, **ALONE, "HOME": str(stage.folder)},
        cwd=stage.folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0


def count(service, words):
    return sum(body.count(words) for _, body in service.messages)


async def converge(watch):
    await watch.until(lambda states: all(one["state"] in {"converged", "applied"} for one in states.values()))


async def test_of_two_hosts_one_tells_each_thing(stage, service):
    async with stage.nodes(), stage.watch(*stage.options) as first, stage.watch(*stage.options) as second:
        for watch in (first, second):
            await converge(watch)
        for number in range(3):
            await order(stage, "suspend", "lab", "--reason", f"reason {number}")
            await wait_until(lambda number=number: count(service, f"reason {number}"), every=0.1)
        stage.repository.commit({"fleet.yaml": "clusters: 1\n"})
        await wait_until(lambda: count(service, "cannot be used"), every=0.1)
        await asyncio.sleep(6)  # three looks of each host
        assert [count(service, f"reason {number}") for number in range(3)] == [1, 1, 1]
        assert count(service, "cannot be used") == 1


async def test_what_a_killed_host_was_sending_another_one_sends(stage, service, monkeypatch):
    async with stage.nodes(), stage.watch(*stage.options) as first:
        await converge(first)
        service.delay = 300.0
        await order(stage, "suspend", "lab", "--reason", "a fire")
        await asyncio.sleep(5)  # it is being sent
        first.signal(signal.SIGKILL)
        await first.ended()
        service.delay = 0.0
        async with stage.watch(*stage.options):
            # The turn of the killed host lasts 90 seconds.
            await wait_until(lambda: count(service, "a fire"), seconds=150, every=0.2)
