"""Nodes that are told by Kafka and report by it, with a real broker, a real watch and simulated nodes."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from end_to_end.test_polled_fleet import NODES, PolledFleet, is_converged, is_refused
from end_to_end.test_polled_purge import purge
from kafka_broker import PROGRAM, KafkaBroker
from support.m2_settings import MANAGEMENT
from support.waiting import wait_until

from reconciler.simulation.call_sender import CallSender

pytestmark = pytest.mark.component(PROGRAM)

FEATURES = ["env", "management", "server", "features"]


def kafka_setting(version, broker):
    """A setting of nodes that use Kafka alone; each gets its topics by an overlay."""
    report = {"type": "kafkaPub", "info": {"connect": "bus"}}
    features = {
        "setting": {"feed": {"type": "kafkaSub", "info": {"connect": "bus"}}, "feedback": report},
        "purge": {"feed": {"type": "kafkaSub", "info": {"connect": "bus"}}, "feedback": report},
        "heartbeat": {"feedback": {**report, "info": {"connect": "bus", "schedule": "* * * * * *"}}},
    }
    connection = [{"name": "bus", "type": "kafka", "info": {"clientId": "m2", "brokers": [broker]}}]
    server = {"connection": connection, "features": features}
    management = {**MANAGEMENT, "server": server}
    return json.dumps({"meta": {"version": version}, "env": {"management": management}, "hosting": []})


def topics(feed, group, reports):
    """The overlay of one node."""
    listens = {"info": {"groupId": group, "subscribe": {"topic": feed, "fromBeginning": True}}}
    says = {"info": {"topic": reports}}
    features = {
        "setting": {"feed": listens, "feedback": says},
        "purge": {"feed": listens, "feedback": says},
        "heartbeat": {"feedback": says},
    }
    return {"merge": {"env": {"management": {"server": {"features": features}}}}}


class KafkaFleet(PolledFleet):
    """Three M2 nodes that use Kafka, each with an address by which it is enrolled."""

    def __init__(self, folder, broker, *, feed="feed.{}", group="{}", reports="reports.{}", **rollout):
        self.broker, self.names = broker, (feed, group, reports)
        super().__init__(folder, **rollout)
        kafka = {"prod": {"brokers": [broker.address]}}
        (folder / "host.yaml").write_text(json.dumps({"nodes": {"listen": str(self.server)}, "kafka": kafka}))
        self.commit("v1")

    def fleet_file(self, nodes=NODES, **more):
        fleet = json.loads(super().fleet_file(nodes, **more))
        for node in fleet["clusters"][0]["nodes"]:
            node["overlays"] = [topics(*(text.format(node["name"]) for text in self.names))]
        return json.dumps(fleet)

    def commit(self, version):
        self.repository.commit({"s.json": kafka_setting(version, self.broker.address)})

    def offers(self, node):
        """The ids of the offers in the topic of a node, in order."""
        bodies = self.broker.read(self.names[0].format(node))
        return [json.loads(body)["userdata"]["offer"] for body in bodies]

    async def run_at(self, version):
        await wait_until(lambda: self.versions() == dict.fromkeys(NODES, version))


@pytest.fixture
def broker():
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
async def stage(tmp_path, broker):
    stage = KafkaFleet(tmp_path, broker)
    async with await stage.simulated() as stage.simulation, CallSender(stage.simulation):
        yield stage


async def test_a_commit_reaches_nodes_and_comes_back_by_kafka_alone(stage, broker):
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
    assert {len(stage.offers(node)) for node in NODES} == {1}
    assert all(str(stage.server) in body.decode() for body in broker.read("feed.n1"))
    assert not stage.simulation.world("edge").complaints
    assert ready["nodes"]["buses"][0]["bus"] == "kafka/prod"
    assert 'reconciler_bus_published_total{bus="kafka/prod"} 3.0' in metrics
    assert status == 0


async def test_waves_reach_one_node_after_the_other(tmp_path, broker):
    stage = KafkaFleet(tmp_path, broker, canary=1, waves=["100%"])
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        before = len(stage.changes())
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
    assert stage.changes()[before] == "n1"


async def test_a_broker_that_is_lost_and_comes_back_loses_nothing(stage, broker):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        broker.kill()
        await watch.said("message bus not connected", bus="kafka/prod")
        stage.commit("v2")
        await watch.said("step ended", state="offered")
        await asyncio.sleep(2)
        broker.start()
        await watch.said("message bus connected again", bus="kafka/prod")
        await stage.run_at("v2")
        await watch.until(is_converged)
    assert {len(stage.offers(node)) for node in NODES} == {1}


async def test_a_watch_that_is_killed_anywhere_loses_and_reorders_nothing(stage):
    async with stage.watching() as watch:
        await watch.until(is_converged)
    for number in range(2, 6):
        async with stage.watching() as watch:
            stage.commit(f"v{number}")
            await asyncio.sleep(1.5 + 0.4 * number)  # somewhere between the offer and its acknowledgement
            watch.signal(signal.SIGKILL)
            await watch.ended()
    async with stage.watching() as watch:
        await stage.run_at("v5")
        await watch.until(is_converged)
    for node in NODES:
        ids = stage.offers(node)
        assert ids == sorted(ids, key=ids.index), "an offer that comes again comes before the next one"


POISON = (
    b"\xff\xfe",
    b"{",
    b"[]",
    b'"text"',
    b"[" * 100_000,
    b'{"messageVer":"1","node":{"hostname":"n1"}}',
    b'{"messageVer":"2","node":{"hostname":"n1","iplist":[]}}',
    b'{"messageVer":"1","node":{"hostname":"n1","iplist":[]},"action":{"api":"/other","event":"e"}}',
    b'{"messageVer":"1","messageVer":"1","node":1,"node":{"hostname":"n1","iplist":5}}',
    b"x" * 900_000,
    None,
)


async def test_poisoned_messages_are_skipped_and_told_and_stop_nothing(stage, broker):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        broker.send("reports.n1", *POISON)
        line = await watch.said("message skipped", topic="reports.n1")
        stage.commit("v2")
        await stage.run_at("v2")
        await watch.until(is_converged)
        metrics = (await watch.get("/metrics")).text
    assert {"partition", "offset", "message", "remedy"} <= line.keys()
    skipped = [one for one in metrics.splitlines() if one.startswith("reconciler_bus_skipped_total{")]
    assert sum(float(one.rsplit(" ", 1)[1]) for one in skipped) == len(POISON)


async def test_a_purge_reaches_every_node_by_kafka(stage):
    async with stage.watching() as watch:
        await watch.until(is_converged)
        found = await purge(stage, "www.example.com/x.jpg")
        assert found["direct"] is False
        assert found["counts"] == {"done": 3}
    assert not stage.simulation.world("edge").complaints


async def test_a_shared_topic_is_refused_and_nothing_is_published(tmp_path, broker):
    stage = KafkaFleet(tmp_path, broker, feed="feed.all")
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await watch.until(is_refused)
        line = await watch.said("plan refused", code="shared-feed")
    assert "listen" in line["message"]
    assert broker.read("feed.all") == []


async def test_the_example_is_told_and_reports_by_kafka(tmp_path, broker):
    stage = ExampleFleet(tmp_path, broker)
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        before = stage.versions()
        text = (stage.repository.folder / "edge/setting.json").read_text()
        stage.repository.commit({"edge/setting.json": text.replace("198.51.100.1", "198.51.100.2")})
        await wait_until(lambda: set(stage.versions().values()).isdisjoint(before.values()))
        await watch.until(is_converged)
    assert all(broker.read(f"m2.edge-0{number}.feed") for number in (1, 2, 3))


class ExampleFleet(KafkaFleet):
    """The fleet of the example, at other addresses and often enough for a test."""

    def __init__(self, folder, broker):
        super().__init__(folder, broker)
        example = Path(__file__).parents[2] / "examples" / "kafka"
        files = {str(one.relative_to(example)): one.read_text() for one in example.rglob("*.*")}
        for number, place in enumerate(self.places.values(), 1):
            files["fleet.yaml"] = files["fleet.yaml"].replace(f"127.0.0.1:1006{number}", str(place))
        changes = {
            "fleet.yaml": [("127.0.0.1:10743", str(self.server)), ("15s", "1s, stale: 20, overdue: 60")],
            "edge/setting.json": [("127.0.0.1:10792", broker.address), ("*/15 * * * * *", "* * * * * *")],
        }
        for name, pairs in changes.items():
            for old, new in pairs:
                assert old in files[name]
                files[name] = files[name].replace(old, new)
        (self.repository.folder / "fleet.json").unlink()
        self.repository.commit(files)
