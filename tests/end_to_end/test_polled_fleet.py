"""A real `reconcile watch` whose nodes poll it: from a commit to their settings, and back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import httpx
import pytest
from support.git_repositories import ALONE, Repository, git
from support.m2_settings import MANAGEMENT
from support.waiting import wait_until
from support.watch_process import Stage

from reconciler.core.fleet_matching import FleetIdentity
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.choices import Choices
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.call_sender import CallSender
from reconciler.simulation.node_host import Simulation
from reconciler.sources.locate import locate_source
from reconciler.store.factory import open_store

NODES = ("n1", "n2", "n3")


def setting(version, *hostings):
    """The text of a setting that lets this host in."""
    hosting = [{"name": name, "listen": "*:80"} for name in hostings]
    return json.dumps({"meta": {"version": version}, "env": {"management": MANAGEMENT}, "hosting": hosting})


class PolledFleet(Stage):
    """Three M2 nodes that poll, each with an address by which it is enrolled."""

    def __init__(self, folder, **rollout):
        self.folder = folder
        self.state = folder / "state"
        self.server, *places = find_free_addresses(1 + len(NODES))
        self.places = dict(zip(NODES, places, strict=True))
        self.rollout = rollout
        (folder / "host.yaml").write_text(json.dumps({"nodes": {"listen": str(self.server)}}))
        self.repository = Repository.make(
            folder / "fleet", {"fleet.json": self.fleet_file(), "s.json": setting("v1")}
        )
        self.simulation: Simulation | None = None

    def fleet_file(self, nodes=NODES, *, addresses=True, **more):
        listed = [
            {"name": name, **({"address": str(self.places[name])} if addresses else {})} for name in nodes
        ]
        cluster = {
            "name": "edge",
            "kind": "m2",
            "setting": "s.json",
            "deliver": "poll",
            # A busy machine delays polls and passes by seconds: that must not count as silence.
            "poll": {"server": f"http://{self.server}", "every": "1s", "stale": 20, "overdue": 60},
            "nodes": listed,
            **({"rollout": self.rollout} if self.rollout else {}),
            **more,
        }
        return json.dumps({"clusters": [cluster]})

    async def simulated(self, **choices):
        source = locate_source(str(self.repository.folder), cache=self.folder / "cache")
        fleet = load_fleet(await source.snapshot(), DRIVERS)
        return Simulation(fleet, DRIVERS, choices={"m2": Choices(**choices)})

    def watching(self, *options):
        return self.watch(
            *("--poll", "0.3s", "--interval", "1s", "--host-config", str(self.folder / "host.yaml")), *options
        )

    async def ask(self, command, *options):
        """Exit status and output of another command of this host."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reconciler.cli.main", command, "--state", str(self.state), *options),
            env={**os.environ, **ALONE, "HOME": str(self.folder)},
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    async def run(self, command, *options):
        """The exit status of another command of this host."""
        return (await self.ask(command, *options))[0]

    def versions(self):
        """Node -> the version that it runs."""
        world = self.simulation.world("edge")
        return {name: world.state(name).running["meta"]["version"] for name in world.names}


def is_converged(states):
    return states.get("edge", {}).get("state") == "converged"


def is_refused(states):
    return states.get("edge", {}).get("state") == "refused"


@pytest.fixture
async def stage(tmp_path):
    stage = PolledFleet(tmp_path)
    async with await stage.simulated() as stage.simulation, CallSender(stage.simulation):
        yield stage


async def test_nodes_are_enrolled_by_one_upload_and_take_later_commits_by_polling(stage):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        assert stage.versions() == dict.fromkeys(NODES, "v1")
        enrolled = stage.changes()
        stage.repository.commit({"s.json": setting("v2", "www.example.com")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)
    assert "unknown URL called" not in watch.log, "the first report has a token that was written just before"
    assert sorted(enrolled) == list(NODES)
    assert sorted(stage.changes()) == sorted([*enrolled, *NODES])
    assert not stage.simulation.world("edge").complaints


async def enrol(stage, watch):
    """Wait until every node has been enrolled by an upload, and polls."""
    await watch.until(is_converged)
    assert stage.versions() == dict.fromkeys(NODES, "v1")


async def test_a_canary_that_refuses_its_setting_ends_the_rollout_and_the_others_keep_theirs(tmp_path):
    stage = PolledFleet(tmp_path, canary=1, waves=["100%"])
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await enrol(stage, watch)
        await stage.simulation.fault("n1", "refuse", on="changes")
        stage.repository.commit({"s.json": setting("v2")})
        await watch.until(is_refused)
        told = await watch.said("plan refused", code="revision-rejected")
        assert stage.versions() == dict.fromkeys(NODES, "v1")
        stage.simulation.clear()
        stage.repository.commit({"s.json": setting("v3")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v3"))
        await watch.until(is_converged)
    assert "E0004 refused on request" in told["message"]


async def test_a_commit_reaches_a_canary_first_and_the_next_wave_after_its_report(tmp_path):
    stage = PolledFleet(tmp_path, canary=1, waves=["100%"])
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await enrol(stage, watch)
        before = len(stage.changes())
        stage.repository.commit({"s.json": setting("v2")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)
    assert stage.changes()[before] == "n1"
    assert sorted(stage.changes()[before:]) == list(NODES)


async def test_a_watch_that_is_killed_after_its_offers_goes_on_and_offers_nothing_twice(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
        before = len(stage.changes())
        stage.repository.commit({"s.json": setting("v2")})
        await wait_until(lambda: len(stage.changes()) > before)
        watch.signal(signal.SIGKILL)
        await watch.ended()
    async with stage.watching() as watch:
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)
    assert sorted(stage.changes()[before:]) == list(NODES)


async def test_a_watch_that_has_lost_its_state_delivers_nothing(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
    before = stage.changes()
    stage.repository.commit({"s.json": setting("v2")})
    shutil.rmtree(stage.state)
    # Nodes that have an address are enrolled again by an upload; those of this test must be left alone.
    stage.repository.commit({"fleet.json": stage.fleet_file(addresses=False)})
    async with stage.watching() as watch:
        await watch.said("pass ended")
        await asyncio.sleep(3)
        states = await watch.states()
    assert stage.changes() == before
    assert stage.versions() == dict.fromkeys(NODES, "v1")
    assert states["edge"]["state"] != "converged"


async def test_tgz_polling_takes_the_package_itself(tmp_path):
    stage = PolledFleet(tmp_path)
    features = {"setting": {"feed": {"type": "tgzPolling"}}}
    management = {**MANAGEMENT, "server": {"features": features}}

    def tgz(version):
        return json.dumps({"meta": {"version": version}, "env": {"management": management}})

    stage.repository.commit({"s.json": tgz("v1")})
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await enrol(stage, watch)
        stage.repository.commit({"s.json": tgz("v2")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)


async def test_a_node_that_leaves_is_answered_410_and_one_that_joins_is_enrolled(stage):
    stage.repository.commit({"fleet.json": stage.fleet_file(nodes=("n1", "n2"))})
    async with stage.watching() as watch:
        await watch.until(is_converged)
        assert stage.versions()["n3"] == "factory"
        url = feed_url(stage, "n2")
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(url)).status_code in {200, 503}
            stage.repository.commit(
                {"fleet.json": stage.fleet_file(nodes=("n1", "n3")), "s.json": setting("v2")}
            )
            await wait_until(lambda: stage.versions() == {"n1": "v2", "n2": "v1", "n3": "v2"})
            await watch.until(is_converged)

            async def is_gone():
                return (await client.get(url)).status_code == 410

            await wait_until(is_gone)


async def test_a_suspended_fleet_offers_nothing_until_it_is_resumed(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
        before = len(stage.changes())
        assert await stage.run("suspend", "--reason", "test") == 0
        stage.repository.commit({"s.json": setting("v2")})
        await watch.until(is_refused)
        await asyncio.sleep(2.5)
        assert len(stage.changes()) == before
        assert await stage.run("resume") == 0
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)


async def test_curl_and_httpie_poll_download_and_report_as_a_node_does(stage, tmp_path):
    async with stage.watching() as watch:
        await enrol(stage, watch)
        await stage.simulation.fault("n1", "silent", on="calls")
        url = feed_url(stage, "n1")
        base = url.removesuffix("/setting")
        stage.repository.commit({"s.json": setting("v2", "www.example.com")})
        headers = (
            "-H",
            "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT",
            "-H",
            "X-M2-Setting-Meta-Version: v1",
        )
        body = tmp_path / "feed"

        async def is_offered():
            return await run("curl", "-s", "-o", str(body), "-w", "%{http_code}", *headers, url) == "200"

        await wait_until(is_offered, every=0.3)
        feed = json.loads(body.read_text())
        assert feed["action"]["api"] == "/setting/upload"
        (parameter,) = feed["parameters"]
        package = tmp_path / "package.tgz"
        assert parameter["url"].startswith(base)
        head = await run(HTTPIE, "--ignore-stdin", "--headers", "HEAD", parameter["url"])
        assert "200" in head.splitlines()[0]
        await run("curl", "-sf", "-o", str(package), parameter["url"])
        ranged = await run(
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-r", "0-9", parameter["url"]
        )
        assert ranged == "206"
        with tarfile.open(package) as archive:
            loaded = json.load(archive.extractfile("setting.json"))
        assert loaded["meta"]["version"] == "v2"
        report = {
            "messageVer": "1",
            "node": {"productVer": "2.8.1", "settingVer": "v2", "hostname": "n1", "iplist": ["127.0.0.1"]},
            "userdata": feed["userdata"],
            "action": {"api": "/setting/upload", "event": "/env/management/server/apiPolling/x"},
            "parameters": [
                {"url": parameter["url"], "result": {"method": "deploy", "status": "ok", "version": "v2"}}
            ],
            "setting": loaded,
        }
        (tmp_path / "report").write_text(json.dumps(report))
        sent = await run(
            HTTPIE,
            "--ignore-stdin",
            "--headers",
            "POST",
            f"{base}/report",
            "Content-Type:application/json",
            f"@{tmp_path / 'report'}",
        )
        assert "204" in sent.splitlines()[0]
        await watch.until(is_converged)
        beat = json.dumps({"messageVer": "1", "node": report["node"]})
        assert (
            await run(
                "curl",
                "-s",
                "-w",
                "%{http_code}",
                "-H",
                "Content-Type: application/json",
                "-d",
                beat,
                f"{base}/report",
            )
            == "204"
        )


async def test_a_node_whose_addresses_change_at_run_time_does_not_drift(stage):
    info = {"connect": "c", "tag": "type=parent;", "schedule": "* * * * * *"}
    hosting = {"hosting": [{"name": "a.com"}]}
    nodelist = {
        "enable": True,
        "feed": {"type": "awssdk3", "info": info},
        "feedback": {"type": "setting;api;", "info": hosting},
    }
    connection = [
        {"name": "c", "type": "awssdk3", "info": {"accessKeyId": "a", "secretAccessKey": "b", "region": "r"}}
    ]
    server = {"connection": connection, "features": {"nodelist": nodelist}}
    document = {
        "meta": {"version": "v1"},
        "env": {"management": {**MANAGEMENT, "server": server}},
        "hosting": [{"name": "a.com", "listen": "*:80", "origin": {"address": ["10.0.0.1"]}}],
    }
    stage.repository.commit({"s.json": json.dumps(document)})
    async with stage.watching() as watch:
        await enrol(stage, watch)
        before = stage.changes()
        world = stage.simulation.world("edge")
        world.instances["type=parent"] = ("5.5.5.5",)
        await wait_until(lambda: world.get_origin("n1", "a.com") == ["5.5.5.5"])
        await asyncio.sleep(3)
        assert is_converged(await watch.states())
    assert stage.changes() == before


HTTPIE = str(Path(sys.executable).parent / "http")


async def run(*command):
    """What a program writes."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


def feed_url(stage, node):
    """The URL that a node polls for its setting."""
    running = stage.simulation.world("edge").state(node).running
    return running["env"]["management"]["server"]["features"]["setting"]["feed"]["info"]["url"]


async def test_nodes_that_poll_for_the_package_itself_get_it_with_its_files(stage):
    files = {"certs/a.pem": b"certificate", "geoip/a.mmdb": bytes(range(256)) * 4000}
    management = {
        **MANAGEMENT,
        "server": {"features": {"setting": {"feed": {"type": "tgzPolling"}}}},
    }

    def text(version):
        return json.dumps({"meta": {"version": version}, "env": {"management": management}})

    changes = {"s.json": text("v1"), "fleet.json": stage.fleet_file(resources=["certs/*", "geoip/*"])}
    stage.repository.commit({**changes, **files})
    async with stage.watching() as watch:
        await watch.until(is_converged)
        stage.repository.commit({"s.json": text("v2"), "certs/a.pem": b"renewed"})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)
    world = stage.simulation.world("edge")
    for name in NODES:
        assert world.state(name).loaded.package.resources == {**files, "certs/a.pem": b"renewed"}
    assert not world.complaints


async def test_nodes_with_a_repository_check_it_out_when_they_are_asked(stage):
    poll = {"server": f"http://{stage.server}", "every": "1s", "stale": 20, "overdue": 60, "checkout": True}
    stage.repository.commit({"fleet.json": stage.fleet_file(poll=poll)})
    async with stage.watching() as watch:
        await watch.until(is_converged)
        world = stage.simulation.world("edge")
        for name in NODES:
            # Somebody commits the enrolled setting, with the URLs of its node, to the repository of the node.
            own = {**world.state(name).running, **json.loads(setting("v2")), "env": None}
            own["env"] = world.state(name).running["env"]
            world.connect_repository(name, json.dumps(own).encode())
        stage.repository.commit({"s.json": setting("v2")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)
    assert not world.complaints


async def reconcile(stage, *options):
    """Exit status and words of the one-shot command."""
    command = ("--yes", "--state", str(stage.state), "--host-config", str(stage.folder / "host.yaml"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reconciler.cli.main", str(stage.repository.folder), *command, *options),
        env={**os.environ, **ALONE, "HOME": str(stage.folder), "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_the_one_shot_command_hands_its_offers_to_the_running_watch_or_says_that_none_runs(stage):
    async with stage.watching() as watch:
        await enrol(stage, watch)
    before = len(stage.changes())
    git(stage.repository.folder, "branch", "stable")
    async with stage.watching("--ref", "stable") as watch:
        await watch.until(is_converged)
        stage.repository.commit({"s.json": setting("v2")})
        status, said = await reconcile(stage)
        assert status == 5
        assert "3 nodes may take what this run offers; the watch (process " in said
        await watch.said("order accepted", order="look")
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        git(stage.repository.folder, "branch", "-f", "stable")
        await watch.until(is_converged)
    stage.repository.commit({"s.json": setting("v3")})
    status, said = await reconcile(stage)
    assert status == 1
    assert "the nodes of edge poll, and no watch with the state" in said
    assert sorted(stage.changes()[before:]) == list(NODES)


def beating(version, schedule):
    """A setting whose nodes send heartbeats by this schedule."""
    feedback = {"type": "apiPolling", "info": {"schedule": schedule}}
    server = {"features": {"heartbeat": {"feedback": feedback}}}
    return json.dumps({"meta": {"version": version}, "env": {"management": {**MANAGEMENT, "server": server}}})


async def test_a_canary_that_falls_silent_is_taken_back_by_an_offer_and_the_others_keep_theirs(tmp_path):
    gate = {"heartbeat": True, "feedback": True, "within": "3s"}
    stage = PolledFleet(tmp_path, canary=1, waves=["100%"], on_failure="return", gates={"reports": gate})
    stage.repository.commit({"s.json": beating("v1", "* * * * * *")})
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await enrol(stage, watch)
        world = stage.simulation.world("edge")
        enrolled = len(stage.changes())
        stage.repository.commit({"s.json": beating("v2", "0 0 * * * *")})
        # What the canary took and went back to, in order: it may have gone back between two looks.
        await wait_until(lambda: len(stage.changes()) >= enrolled + 2)
        await watch.until(is_refused)
        assert stage.versions() == dict.fromkeys(NODES, "v1")
        assert stage.changes()[enrolled:] == ["n1", "n1"]
        stage.repository.commit({"s.json": beating("v3", "*/2 * * * * *")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v3"))
        await watch.until(is_converged)
    assert not world.complaints


async def test_a_purge_reaches_each_polling_node_and_is_counted_once(tmp_path):
    stage = PolledFleet(tmp_path)
    stage.repository.commit({"s.json": setting("v1", "a.com", "b.com")})
    async with (
        await stage.simulated(cached_files=3) as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await enrol(stage, watch)
        world = stage.simulation.world("edge")
        before = len(stage.changes())
        options = ("--yes", "--format", "json", "--source", str(stage.repository.folder))
        status, said = await stage.ask("purge", "http://a.com/1.jpg", "b.com/*.jpg", *options)
        assert status == 0, said
        assert sorted(stage.changes()[before:]) == sorted([*NODES, *NODES])
        files = {name: set(world.cache(name).files) for name in NODES}
        await watch.until(is_converged)
    assert files == {name: {"a.com/2.jpg", "a.com/3.jpg"} for name in NODES}
    with open_store(stage.state) as store:
        own = await store.enter_fleet(FleetIdentity(str(stage.repository.folder)))
        (operation,) = await own.operations()
    totals = {one.node: (one.totals["count"], one.totals["size"]) for one in operation.results.values()}
    assert totals == dict.fromkeys(NODES, (4, 4096))
    assert not world.complaints
