"""A rollout over simulated M2 nodes, by real HTTP: it goes through, or it is taken back without a trace."""

import asyncio
import json
from pathlib import Path

import pytest
from support.memory_files import json_files
from support.simulated_nodes import apply_fleet

from reconciler.core.plan import Revision
from reconciler.core.rollout_rules import Rollout
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.metrics import parse_metrics
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.driver import Driver
from reconciler.ports.source import Snapshot
from reconciler.rollout.apply_pass import RunContext
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports

SECRET = "s3cr3t-of-the-old-setting"


def setting(version, mode, **more):
    permissions = {"enableSetting": True, "enableGet": True, "enableMetric": True}
    return {
        "meta": {"version": version},
        "env": {
            "management": {
                "api": {"allowList": [{"role": "admin", "addr": "127.0.0.1"}]},
                "roles": [{"name": "admin", "permissions": permissions}],
                "cluster": {"balance": {"mode": mode}},
            },
            **more,
        },
    }


def snapshot(nodes, document, rollout, number):
    cluster = {
        "name": "edge",
        "kind": "m2",
        "setting": "s.json",
        "nodes": nodes,
        "timeouts": {"read": 2, "settle": 2},
        "rollout": rollout,
    }
    revision = Revision("memory", f"{number:040x}", f"r{number}")
    return Snapshot(revision, json_files({"fleet.json": {"clusters": [cluster]}, "s.json": document}))


class Stage:
    def __init__(self, folder: Path):
        places = sorted(find_free_addresses(3), key=lambda place: place.port)
        self.nodes = [{"name": f"n{number}", "address": str(place)} for number, place in enumerate(places)]
        self.folder = folder
        self.meanwhile = None

    def fleet(self, document, rollout, number):
        return load_fleet(snapshot(self.nodes, document, rollout, number), DRIVERS)

    async def rest(self, seconds, stop):
        if self.meanwhile is not None:
            await self.meanwhile()

    async def run(self, fleet):
        return await apply_fleet(self.folder, fleet, run_context=RunContext(rest=self.rest))

    async def shown(self):
        found = []
        async with open_transports() as transports:
            for node in self.nodes:
                url = f"http://{node['address']}/setting/setting.json"
                answer = await transports.http.send("GET", url, node=node["name"], timeout=5)
                found.append(json.loads(answer.body))
        return found


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "state")


OLD = setting("1", "rr", note=SECRET)
NEW = setting("2", "hash", note=SECRET)
CAREFUL = {"canary": 1, "waves": 1, "soak": 5, "on_failure": "return"}


async def test_every_wave_passes_by_what_the_nodes_show_and_count(stage):
    metric = {"name": "m2_sys_setting_reload_total", "factor": 1000, "ignore": 10, "compare": "rate"}
    async with Simulation(stage.fleet(OLD, CAREFUL, 1), DRIVERS):
        report = await stage.run(stage.fleet(NEW, {**CAREFUL, "waves": 1}, 2))
        assert report.exit_status == 0
        assert [document["meta"]["version"] for document in await stage.shown()] == ["2"] * 3
        again = setting("3", "rr", note=SECRET)
        report = await stage.run(stage.fleet(again, {**CAREFUL, "gates": {"metrics": [metric]}}, 3))
        # the gates of the last wave find nobody unchanged to compare with
        assert [finding.code for finding in report.findings] == ["gate-unclear"]
        assert [outcome.state.value for outcome in report.outcomes] == ["done"] * 3


async def test_a_wave_whose_node_loses_its_change_is_undone(stage):
    async with Simulation(stage.fleet(OLD, CAREFUL, 1), DRIVERS) as simulation:
        before = await stage.shown()
        fleet = stage.fleet(NEW, {**CAREFUL, "canary": 2}, 2)

        async def fall_silent():
            await simulation.fault("n1", "killed")

        stage.meanwhile = fall_silent
        report = await asyncio.wait_for(stage.run(fleet), 60)
        assert [outcome.state.value for outcome in report.outcomes] == ["undone", "done", "skipped"]
        assert [finding.code for finding in report.findings] == ["gate-failed", "not-undone"]
        stage.nodes = [stage.nodes[0], stage.nodes[2]]
        assert await stage.shown() == [before[0], before[2]]
    stored = b"".join(path.read_bytes() for path in stage.folder.glob("state.sqlite*"))
    assert SECRET.encode() not in stored
    with open_store(stage.folder) as store:
        undoing = (await store.runs())[0]
        assert undoing.trigger == "undo"
        record = await store.run(undoing.id)
        assert [entry.state.value for entry in record.entries if entry.step.node == "n0"] == ["done"]
        assert SECRET not in json.dumps(record.plan.plain())
        assert [message for message in record.messages if SECRET in message.body] == []


def test_the_driver_supports_rollouts():
    assert type(DRIVERS["m2"]).undo is not Driver.undo
    assert DRIVERS["m2"].capabilities.metrics
    assert Rollout.model_validate(CAREFUL).canary == "1"


def test_samples_of_one_name_are_summed_in_either_form():
    plain = b'# TYPE a gauge\na{x="1"} 2\na{x="2"} 3\nb_bucket{le="1"} 7\nc NaN\n'
    assert parse_metrics(plain) == {"a": 5.0}
    assert parse_metrics(b"# TYPE a counter\na_total 2\na_created 1\n# EOF\n") == {"a_total": 2.0}
    with pytest.raises(ValueError):
        parse_metrics(b"<html>\n# EOF\n")
