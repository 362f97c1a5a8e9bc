"""Passes that watches of several hosts share: each is run by one of them, and all of them know its result."""

import asyncio
import hashlib
import hmac
import json
import signal
import time

import pytest
from support.postgres_servers import PostgresServer
from support.waiting import wait_until
from support.watch_process import Stage, fleet_file

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


def make_options(stage, *options, number=1, lease=LEASE, **more):
    """Options of one host, whose files are its own but for the key of the store."""
    own = stage.folder / f"own-{number}"
    database = {"url": stage.state, "lease": f"{lease}s", "key": str(stage.folder / "shared.key")}
    file = stage.folder / f"host-{number}.yaml"
    file.write_text(json.dumps({"state": str(own), "database": database, **more}))
    options = options or ("--interval", "1s", "--poll", "0.3s")
    return ("--host-config", str(file), *options)


async def converge(watch):
    return await watch.until(lambda states: {one["state"] for one in states.values()} <= GOOD)


async def count_passes(watch, cluster=""):
    """Passes that the process of a watch has run itself."""
    text = (await watch.get("/metrics")).text
    start = f'reconciler_passes_total{{cluster="{cluster}'
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start))


async def find_runner(*watches):
    """The watch that runs the pass whose first step has begun, and the others."""

    def find():
        return next((one for one in watches if "step started" in one.log), None)

    runner = await wait_until(find, every=0.05)
    return runner, [one for one in watches if one is not runner]


def process_of(status):
    """The process that runs, or ran, the last pass of a cluster."""
    return int(status["host"].rpartition(" ")[2])


def push(secret):
    body = json.dumps({"ref": "refs/heads/main", "repository": {"default_branch": "main"}}).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "content": body,
        "headers": {"x-github-event": "push", "x-hub-signature-256": f"sha256={digest}"},
    }


async def test_commands_reach_the_watch_of_a_host_that_starts_for_the_first_time(stage):
    options = make_options(stage)
    async with stage.nodes(), stage.watch(*options) as watch:
        await converge(watch)
        folder = stage.folder / "own-1"
        assert [one for one in folder.iterdir() if one.is_socket()]


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


async def test_a_new_host_knows_what_others_have_found_and_begins_no_pass_for_it(stage):
    options = ("--interval", "1h", "--poll", "0.3s")
    async with stage.nodes(), stage.watch(*make_options(stage, *options)) as first:
        await converge(first)
        async with stage.watch(*make_options(stage, *options, number=2)) as second:
            states = await converge(second)
            assert {process_of(one) for one in states.values()} == {first.process.pid}
            assert (await second.get("/readyz")).status_code == 200
            await asyncio.sleep(3)
            assert await count_passes(second) == 0


async def test_one_commit_that_two_hosts_read_is_applied_once_where_it_changes_something(stage):
    options = ("--interval", "1h", "--poll", "0.3s")
    async with (
        stage.nodes(),
        stage.watch(*make_options(stage, *options)) as first,
        stage.watch(*make_options(stage, *options, number=2)) as second,
    ):
        watches = (first, second)
        for watch in watches:
            await converge(watch)
        before = {name: [await count_passes(one, name) for one in watches] for name in ("live", "lab")}
        commit = stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        for watch in watches:
            await watch.until(
                lambda states: (
                    states["live"]["revision"]["id"] == commit
                    and not any(one["outdated"] for one in states.values())
                    and {one["state"] for one in states.values()} <= GOOD
                )
            )
        await asyncio.sleep(3)
        run = {name: [await count_passes(one, name) for one in watches] for name in before}
        assert sum(run["live"]) > sum(before["live"])
        assert run["lab"] == before["lab"], "the commit does not change it"
        assert len(stage.changes()) == 3
        assert sum('"result":"applied"' in one.log for one in watches) == 1


async def test_what_a_webhook_brings_to_one_host_is_applied_by_any(stage):
    options = ("--interval", "1h", "--poll", "1h", "--ref", "main")
    source = f"file://{stage.repository.folder}"
    async with (
        stage.nodes(),
        stage.watch(*make_options(stage, *options), source=source, secret="s3cret") as first,
        stage.watch(*make_options(stage, *options, number=2), source=source, secret="s3cret") as second,
    ):
        for watch in (first, second):
            await converge(watch)
        for mode in ("block_new_session", "normal", "block_new_session"):
            commit = stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, mode)})
            assert (await first.client.post("/webhook", **push("s3cret"))).status_code == 202
            for watch in (first, second):
                await watch.until(
                    lambda states, commit=commit: (
                        states["live"]["revision"]["id"] == commit and states["live"]["state"] in GOOD
                    )
                )

                async def has_read_it(watch=watch, commit=commit):
                    # A host that ran no pass of it reads the source because another one has.
                    return (await watch.get("/readyz")).json()["source"]["revision"]["id"] == commit

                await wait_until(has_read_it, every=0.2)
        assert len(stage.changes()) == 9


async def test_the_clusters_of_a_host_that_ends_in_order_go_to_another_one_at_once(stage):
    async with (
        stage.nodes(),
        stage.watch(*make_options(stage, lease=60)) as first,
        stage.watch(*make_options(stage, number=2, lease=60)) as second,
    ):
        for watch in (first, second):
            await converge(watch)
        for number in (1, 2, 3):
            await stage.simulation.fault(f"live-{number}@127.0.0.1", "slow", 1, on="changes")
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        runner, (other,) = await find_runner(first, second)
        await stage.changed()
        began = time.monotonic()
        runner.signal()
        assert await runner.ended() == 0
        await other.said("pass ended", cluster="live", result="applied")
        assert time.monotonic() - began < 30, "it waited for the lease"
        assert sorted(stage.changes()) == sorted(set(stage.changes()))
        assert len(stage.changes()) == 3


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_another_host_goes_on_with_the_clusters_of_one_that_is_gone(stage, end):
    async with (
        stage.nodes(),
        stage.watch(*make_options(stage)) as first,
        stage.watch(*make_options(stage, number=2)) as second,
    ):
        for watch in (first, second):
            await converge(watch)
        for number in (1, 2, 3):
            await stage.simulation.fault(f"live-{number}@127.0.0.1", "slow", 1, on="changes")
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        runner, (other,) = await find_runner(first, second)
        await stage.changed()
        began = time.time()
        runner.signal(end)
        try:
            await other.until(lambda states: process_of(states["live"]) == other.process.pid)
            # The lease and the interval, and as much again as margin for a busy machine.
            assert time.time() - began < 2 * (LEASE + 1)
            # Its call may still take effect for as long as it may last; the others wait for that.
            await other.said("pass ended", cluster="live", result="applied")
            await other.until(
                lambda states: (
                    {one["state"] for one in states.values()} <= GOOD
                    and {process_of(one) for one in states.values()} == {other.process.pid}
                )
            )
        finally:
            runner.signal(signal.SIGCONT) if end is signal.SIGSTOP else await runner.ended()
        if end is signal.SIGSTOP:
            # It has lost what it held, and takes its part of the passes again.
            known = await count_passes(runner)
            await wait_until(lambda: grows(runner, known), every=0.5)
        await asyncio.sleep(2)
        assert sorted(stage.changes()) == sorted(set(stage.changes())), "a node was changed twice"
        assert len(stage.changes()) == 3


async def grows(watch, known):
    return await count_passes(watch) > known


async def test_a_host_with_other_rules_takes_no_pass_and_shows_those_of_the_others(stage):
    async with stage.nodes(), stage.watch(*make_options(stage)) as first:
        await converge(first)
        other = make_options(stage, number=2, networks=["127.0.0.0/8"])
        async with stage.watch(*other) as second:
            refused = await second.said("no passes taken")
            assert "`networks`" in refused["message"]
            await converge(second)
            stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
            await first.said("pass ended", cluster="live", result="applied")
            await converge(second)
            assert await count_passes(second) == 0
            told = (await second.get("/readyz")).json()
            assert any("takes no pass" in one for one in told["reasons"]), told["reasons"]
        known = await count_passes(first)
        await wait_until(lambda: grows(first, known), every=0.5)
