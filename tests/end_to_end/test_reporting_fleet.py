"""A real `reconcile watch` that calls its nodes, and to which they report: gates, status, tokens, purges."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from end_to_end.test_polled_fleet import NODES, PolledFleet, beating, is_converged, is_refused, setting
from end_to_end.test_polled_purge import purge, run
from support.waiting import wait_until

from reconciler.simulation.call_sender import CallSender

GATE = {"heartbeat": True, "feedback": True, "within": "5s"}


class ReportingFleet(PolledFleet):
    """Three M2 nodes that are called, and report to the watch."""

    def fleet_file(self, nodes=NODES, *, reports=True, **more):
        cluster = {
            "name": "edge",
            "kind": "m2",
            "setting": "s.json",
            "nodes": [{"name": name, "address": str(self.places[name])} for name in nodes],
            **({"reports": {"server": f"http://{self.server}", "every": "1s"}} if reports else {}),
            **({"rollout": self.rollout} if self.rollout else {}),
            **more,
        }
        return json.dumps({"clusters": [cluster]})

    def report_url(self, node):
        running = self.simulation.world("edge").state(node).running
        features = running["env"]["management"]["server"]["features"]
        return features["heartbeat"]["feedback"]["info"]["url"]

    async def status(self):
        """Node -> its part of the status."""
        _, out, _ = await run(self, "status", str(self.repository.folder), "--format", "json")
        return {node["node"]: node for node in json.loads(out)["clusters"][0]["nodes"]}


@pytest.fixture
async def stage(tmp_path):
    stage = ReportingFleet(tmp_path)
    async with await stage.simulated() as stage.simulation, CallSender(stage.simulation):
        yield stage


async def test_reports_come_by_one_delivery_and_are_shown(stage):
    stage.repository.commit({"fleet.json": stage.fleet_file(reports=False)})
    async with stage.watching() as watch:
        await watch.until(is_converged)
        assert stage.versions() == dict.fromkeys(NODES, "v1")
        before = len(stage.changes())
        stage.repository.commit({"fleet.json": stage.fleet_file()})
        await wait_until(lambda: len(stage.changes()) == before + len(NODES))
        await watch.until(is_converged)

        async def are_heard():
            return all(node["heard"] for node in (await stage.status()).values())

        await wait_until(are_heard, every=0.3)
        shown = await stage.status()

        async def are_counted():  # the node server counts by itself, after the pass
            return 'reconciler_polled_nodes_silent{cluster="edge"} 0.0' in (await watch.get("/metrics")).text

        await wait_until(are_counted, every=0.3)
        ready = (await watch.get("/readyz")).json()
    assert sorted(stage.changes()[before:]) == list(NODES), "one delivery each"
    assert {(one["reports"], one["polls"], one["version"]) for one in shown.values()} == {(True, False, "v1")}
    (cluster,) = ready["nodes"]["clusters"]
    assert (cluster["never_heard"], cluster["silent"]) == (0, [])
    assert not stage.simulation.world("edge").complaints


async def test_a_commit_reaches_a_canary_first_and_the_next_wave_after_its_report(tmp_path):
    stage = ReportingFleet(tmp_path, canary=1, waves=["100%"], gates={"reports": GATE})
    stage.repository.commit({"s.json": beating("v1", "* * * * * *")})
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        before = len(stage.changes())
        stage.repository.commit({"s.json": beating("v2", "* * * * * *")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
        await watch.until(is_converged)
    assert stage.changes()[before] == "n1"
    assert sorted(stage.changes()[before:]) == list(NODES)


async def test_a_canary_that_does_not_report_is_taken_back(tmp_path):
    stage = ReportingFleet(tmp_path, canary=1, waves=["100%"], on_failure="return", gates={"reports": GATE})
    stage.repository.commit({"s.json": beating("v1", "* * * * * *")})
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        await stage.simulation.fault("n1", "silent", on="calls")
        assert (await watch.said("nodes silent", cluster="edge"))["nodes"] == ["n1"]
        assert (await stage.status())["n1"]["silent"] is True
        before = len(stage.changes())
        stage.repository.commit({"s.json": beating("v2", "* * * * * *")})
        await watch.until(is_refused)
        assert stage.versions() == dict.fromkeys(NODES, "v1")
        assert stage.changes()[before:] == ["n1", "n1"]
    assert "n1 has sent no" in watch.log


async def test_tokens_rotate_with_a_delivery_and_end_when_a_node_leaves(stage):
    async with stage.watching() as watch, httpx.AsyncClient(trust_env=False) as client:
        await watch.until(is_converged)
        old, other = stage.report_url("n1"), stage.report_url("n2")
        status, _, err = await run(stage, "enroll", "n1", "--rotate", "--reason", "a lost laptop")
        assert status == 0, err
        await wait_until(lambda: stage.report_url("n1") != old)
        beat = {"messageVer": "1", "node": {"hostname": "n1", "iplist": ["127.0.0.1"]}}

        async def is_ended():
            return (await client.post(old, json=beat)).status_code == 410

        await wait_until(is_ended)
        assert stage.report_url("n2") == other
        stage.repository.commit({"fleet.json": stage.fleet_file(nodes=("n1", "n3"))})

        async def has_left():
            return (await client.post(other, json=beat)).status_code == 410

        await wait_until(has_left)
        await watch.until(is_converged)
    assert old.split("/")[3] not in watch.log


async def test_the_counts_of_a_purge_come_back_by_reports(tmp_path):
    stage = ReportingFleet(tmp_path)
    management = json.loads(setting("v1", "a.com"))
    for role in management["env"]["management"]["roles"]:
        role["permissions"]["enablePurge"] = True
    stage.repository.commit({"s.json": json.dumps(management)})
    async with (
        await stage.simulated(cached_files=3, queues_purges=True) as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await watch.until(is_converged)
        found = await purge(stage, "http://a.com/1.jpg", "a.com/2.jpg")
        assert found["direct"] is True
        assert found["counts"] == {"done": 3}

        async def totals():
            _, out, _ = await run(stage, "history", "operations", "--format", "json")
            (operation,) = json.loads(out)
            return operation["totals"]

        async def are_counted():
            return "queued" not in await totals()

        await wait_until(are_counted, every=0.3)
        assert (await totals())["count"] == 6
    assert not stage.simulation.world("edge").complaints


async def test_a_called_node_whose_addresses_change_at_run_time_does_not_drift(stage):
    info = {"connect": "c", "tag": "type=parent;", "schedule": "* * * * * *"}
    nodelist = {
        "enable": True,
        "feed": {"type": "awssdk3", "info": info},
        "feedback": {"type": "setting;api;", "info": {"hosting": [{"name": "a.com"}]}},
    }
    secrets = {"accessKeyId": "a", "secretAccessKey": "b", "region": "r"}
    connection = [{"name": "c", "type": "awssdk3", "info": secrets}]
    document = json.loads(setting("v1"))
    document["env"]["management"]["server"] = {"connection": connection, "features": {"nodelist": nodelist}}
    document["hosting"] = [{"name": "a.com", "listen": "*:80", "origin": {"address": ["10.0.0.1"]}}]
    stage.repository.commit({"s.json": json.dumps(document)})
    async with stage.watching() as watch:
        await watch.until(is_converged)
        before = stage.changes()
        world = stage.simulation.world("edge")
        world.instances["type=parent"] = ("5.5.5.5",)
        await wait_until(lambda: world.get_origin("n1", "a.com") == ["5.5.5.5"])
        await asyncio.sleep(3)
        assert is_converged(await watch.states())
        reports = (await watch.get("/metrics")).text
    assert stage.changes() == before
    assert 'reconciler_node_reports_total{kind="nodelist.feedback"}' in reports
    assert not world.complaints


async def test_without_a_node_server_the_watch_says_that_nobody_hears_the_reports(tmp_path):
    stage = ReportingFleet(tmp_path)
    (tmp_path / "host.yaml").write_text("{}")
    async with await stage.simulated() as stage.simulation, stage.watching() as watch:
        told = await watch.said("nodes cannot call this watch")
        await watch.until(is_converged)
        await asyncio.sleep(0)
    assert told["clusters"] == ["edge"]
