"""Nodes that are told by Firestore and report by it, with an emulator, a real watch and simulated nodes."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from end_to_end.test_polled_fleet import NODES, PolledFleet, is_converged, is_refused
from support.firestore_emulator import PROJECT, FirestoreEmulator
from support.m2_settings import MANAGEMENT
from support.waiting import wait_until

from reconciler.core.endpoint import SocketAddress
from reconciler.host.firestore_client import close_firestore, open_firestore
from reconciler.host.firestore_config import FirestoreProject
from reconciler.simulation.call_sender import CallSender

pytestmark = [
    pytest.mark.component(),
    pytest.mark.google_emulator,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
NODE_ID = "#m2live.nodeId"
FEED, REPORTS = f"m2/{NODE_ID}/feed", f"m2/{NODE_ID}/reports"


def firestore_setting(version, feed, reports):
    """A setting of nodes that use Firestore alone."""
    report = {"type": "firestore", "info": {"connect": "live", "doc": reports}}
    features = {
        "setting": {
            "feed": {"type": "firestore", "info": {"connect": "live", "doc": feed}},
            "feedback": report,
        },
        "heartbeat": {"feedback": {**report, "info": {**report["info"], "schedule": "* * * * * *"}}},
        "purge": {"enable": False},
    }
    info = {"projectId": PROJECT, "apiKey": "key", "appId": "1:2:web:3"}
    server = {"connection": [{"name": "live", "type": "firebasePubsub", "info": info}], "features": features}
    management = {**MANAGEMENT, "server": server}
    return json.dumps({"meta": {"version": version}, "env": {"management": management}, "hosting": []})


class FirestoreFleet(PolledFleet):
    """Three M2 nodes that use Firestore, each with an address by which it is enrolled."""

    def __init__(
        self, folder, emulator, *, feed=f"m2/{NODE_ID}/feed", reports=f"m2/{NODE_ID}/reports", **rollout
    ):
        self.emulator, self.paths = emulator, (feed, reports)
        super().__init__(folder, **rollout)
        entry = {"project": PROJECT, "emulator": emulator.address}
        host = {"nodes": {"listen": str(self.server)}, "firestore": {"live": entry}}
        (folder / "host.yaml").write_text(json.dumps(host))
        self.client = open_firestore("test", FirestoreProject(**entry), {})
        self.commit("v1")

    def fleet_file(self, nodes=NODES, **more):
        fleet = json.loads(super().fleet_file(nodes, **more))
        for node in fleet["clusters"][0]["nodes"]:
            node["node_id"] = f"id-{node['name']}"
        return json.dumps(fleet)

    def commit(self, version):
        self.repository.commit({"s.json": firestore_setting(version, *self.paths)})

    def sender(self):
        return CallSender(self.simulation, emulator=SocketAddress("127.0.0.1", self.emulator.port))

    def find_path(self, side, node):
        return self.paths[side].replace(NODE_ID, f"id-{node}")

    def list_offers(self, node):
        """The offers in the collection of a node."""
        found = self.client.collection(self.find_path(0, node)).get()
        return [one.to_dict() for one in found if "node" not in one.to_dict()]

    def send(self, node, data):
        """Write what somebody writes who may write a node's reports."""
        self.client.collection(self.find_path(1, node)).document().set(data, timeout=10)

    async def run_at(self, version):
        await wait_until(lambda: self.versions() == dict.fromkeys(NODES, version))


@pytest.fixture
def emulator():
    with FirestoreEmulator() as emulator:
        yield emulator


@pytest.fixture
async def stage(tmp_path, emulator):
    stage = FirestoreFleet(tmp_path, emulator)
    async with await stage.simulated() as stage.simulation, stage.sender():
        yield stage
    close_firestore(stage.client)


async def test_a_commit_reaches_nodes_and_comes_back_by_firestore_alone(stage):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        await stage.run_at("v1")
        before = len(stage.changes())
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
        ready = (await watch.get("/readyz")).json()
        metrics = (await watch.get("/metrics")).text
        status, _ = await stage.ask("status", str(stage.repository.folder), "--format", "json")
    assert sorted(stage.changes()[before:]) == list(NODES)
    offers = {node: stage.list_offers(node) for node in NODES}
    assert {node: len(found) for node, found in offers.items()} == dict.fromkeys(NODES, 1)
    assert offers["n1"][0]["parameters"][0]["url"].startswith(f"http://{stage.server}/")
    assert not stage.simulation.world("edge").complaints
    assert ready["nodes"]["buses"][0]["bus"] == "firestore/live"
    assert 'reconciler_bus_published_total{bus="firestore/live"} 3.0' in metrics
    assert status == 0


async def test_a_document_of_each_node_has_its_newest_offer(tmp_path, emulator):
    stage = FirestoreFleet(tmp_path, emulator, feed=f"m2/{NODE_ID}", reports=f"reports/{NODE_ID}")
    async with (
        await stage.simulated() as stage.simulation,
        stage.sender(),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
    assert "parameters" in stage.client.document("m2/id-n1").get().to_dict()
    assert stage.client.document("reports/id-n1").get().to_dict()["node"]


async def test_one_path_for_feed_and_feedback_is_a_loop_in_which_nothing_turns(tmp_path, emulator):
    path = f"m2/{NODE_ID}/events"
    stage = FirestoreFleet(tmp_path, emulator, feed=path, reports=path)
    async with (
        await stage.simulated() as stage.simulation,
        stage.sender(),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        before = len(stage.changes())
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
        await asyncio.sleep(3)
    assert sorted(stage.changes()[before:]) == list(NODES)
    assert {len(stage.list_offers(node)) for node in NODES} == {1}
    assert not stage.simulation.world("edge").complaints


async def test_an_emulator_that_is_lost_and_comes_back_loses_nothing_that_is_here(stage, emulator):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        emulator.kill()
        await watch.said("message bus not connected", bus="firestore/live")
        stage.commit("v2")
        await watch.said("step ended", state="offered")
        await asyncio.sleep(2)
        emulator.start()
        await watch.said("message bus connected again", bus="firestore/live")
        await stage.run_at("v2")
        await watch.until(is_converged)


async def test_a_watch_that_is_killed_anywhere_loses_nothing(stage):
    async with stage.watching() as watch:
        await watch.until(is_converged)
    for number in range(2, 5):
        async with stage.watching() as watch:
            stage.commit(f"v{number}")
            await asyncio.sleep(1.5 + 0.4 * number)  # somewhere between the offer and its acknowledgement
            watch.signal(signal.SIGKILL)
            await watch.ended()
    async with stage.watching() as watch:
        await stage.run_at("v4")
        await watch.until(is_converged)


POISON = (
    {},
    {"messageVer": "2", "node": {"hostname": "n1", "iplist": []}},
    {"messageVer": "1", "node": {"hostname": "n1"}},
    {"messageVer": "1", "node": {"hostname": "n1", "iplist": []}, "action": {"api": "/other", "event": "e"}},
    {"node": b"bytes"},
    {"node": float("inf")},
    {"node": {"hostname": "x" * 900_000}},
)


async def test_poisoned_documents_are_skipped_and_told_and_stop_nothing(stage):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        for data in POISON:
            stage.send("n1", data)
        line = await watch.said("message skipped", topic="m2/id-n1/reports")
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
        metrics = (await watch.get("/metrics")).text
    assert {"place", "message", "remedy"} <= line.keys()
    skipped = [one for one in metrics.splitlines() if one.startswith("reconciler_bus_skipped_total{")]
    assert sum(float(one.rsplit(" ", 1)[1]) for one in skipped) == len(POISON)


async def test_messages_that_come_twice_and_late_change_nothing_more(tmp_path, emulator):
    stage = FirestoreFleet(tmp_path, emulator)
    async with (
        await stage.simulated(bus_repeats=1, bus_delay=1) as stage.simulation,
        stage.sender(),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
    assert {len(stage.list_offers(node)) for node in NODES} == {1}


async def test_a_shared_path_is_refused_and_nothing_is_published(tmp_path, emulator):
    stage = FirestoreFleet(tmp_path, emulator, feed="m2/all/feed")
    async with (
        await stage.simulated() as stage.simulation,
        stage.sender(),
        stage.watching() as watch,
    ):
        await watch.until(is_refused)
        line = await watch.said("plan refused", code="shared-feed")
    assert "listen" in line["message"]
    assert stage.client.collection("m2/all/feed").get() == []


class ExampleFleet(FirestoreFleet):
    """The fleet of the example, at other addresses and often enough for a test."""

    def __init__(self, folder, emulator):
        super().__init__(folder, emulator)
        example = Path(__file__).parents[2] / "examples" / "firestore"
        files = {str(one.relative_to(example)): one.read_text() for one in example.rglob("*.*")}
        for number, place in enumerate(self.places.values(), 1):
            files["fleet.yaml"] = files["fleet.yaml"].replace(f"127.0.0.1:1016{number}", str(place))
        changes = {
            "fleet.yaml": [("127.0.0.1:10843", str(self.server)), ("15s", "1s"), ("60s", "5s")],
            "edge/setting.json": [
                ("demo-m2live", PROJECT),
                ("${env:RECONCILE_SECRET_FIREBASE_KEY}", "demo"),
                ("*/15 * * * * *", "* * * * * *"),
            ],
        }
        for name, pairs in changes.items():
            for old, new in pairs:
                assert old in files[name]
                files[name] = files[name].replace(old, new)
        (self.repository.folder / "fleet.json").unlink()
        self.repository.commit(files)


async def test_the_example_is_told_and_reports_by_firestore(tmp_path, emulator):
    stage = ExampleFleet(tmp_path, emulator)
    async with (
        await stage.simulated() as stage.simulation,
        stage.sender(),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        before = stage.versions()
        text = (stage.repository.folder / "edge/setting.json").read_text()
        stage.repository.commit({"edge/setting.json": text.replace("198.51.100.1", "198.51.100.2")})
        await wait_until(lambda: set(stage.versions().values()).isdisjoint(before.values()))
        await watch.until(is_converged)
    for number in (1, 2, 3):
        assert stage.client.collection(f"m2nodes/m2-0{number}/feed").get()
        assert stage.client.collection(f"m2nodes/m2-0{number}/reports").get()
