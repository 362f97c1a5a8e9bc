"""A real `reconcile watch` whose nodes poll it: from a commit to their settings, and back."""

from __future__ import annotations

import json

import pytest
from support.git_repositories import Repository
from support.m2_settings import MANAGEMENT
from support.waiting import wait_until
from support.watch_process import Stage

from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.choices import Choices
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.call_sender import CallSender
from reconciler.simulation.node_host import Simulation
from reconciler.sources.locate import locate_source

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

    def fleet_file(self, nodes=NODES, **more):
        listed = [{"name": name, "address": str(self.places[name])} for name in nodes]
        cluster = {
            "name": "edge",
            "kind": "m2",
            "setting": "s.json",
            "deliver": "poll",
            "poll": {"server": f"http://{self.server}", "every": "1s", "overdue": 10},
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

    def versions(self):
        """Node -> the version that it runs."""
        world = self.simulation.world("edge")
        return {name: world.state(name).running["meta"]["version"] for name in world.names}


def is_converged(states):
    return states.get("edge", {}).get("state") == "converged"


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
    assert sorted(enrolled) == list(NODES)
    assert sorted(stage.changes()) == sorted([*enrolled, *NODES])
    assert not stage.simulation.world("edge").complaints
