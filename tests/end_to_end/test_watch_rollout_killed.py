"""A watch that is killed in a wave, and a commit that changes no setting: the rollout goes on."""

import json
import signal

import pytest
from support.git_repositories import Repository
from support.m2_settings import managed_setting
from support.watch_process import Stage

from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.choices import Choices
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.sources.locate import locate_source
from reconciler.store.factory import open_store

LATE = 8
"""Requests for which a node goes on to show its old setting."""


class Edges(Stage):
    """Two M2 nodes, one a wave, that take their setting late."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        nodes = [
            {"name": f"edge-0{number}", "address": str(place)}
            for number, place in enumerate(find_free_addresses(2), 1)
        ]
        cluster = {
            "name": "edge",
            "kind": "m2",
            "setting": "s.json",
            "nodes": nodes,
            "timeouts": {"settle": 60},
            "rollout": {"canary": 1, "waves": ["100%"]},
        }
        files = {"fleet.json": json.dumps({"clusters": [cluster]}), "s.json": managed_setting(version="v1")}
        self.repository = Repository.make(folder / "fleet", files)
        self.simulation = None

    async def simulated(self):
        source = locate_source(str(self.repository.folder), cache=self.folder / "cache")
        fleet = load_fleet(await source.snapshot(), DRIVERS)
        return Simulation(fleet, DRIVERS, converged=True, choices={"m2": Choices(late=LATE)})


@pytest.fixture
async def stage(tmp_path):
    stage = Edges(tmp_path)
    async with await stage.simulated() as stage.simulation:
        stage.repository.commit({"s.json": managed_setting(version="v2")})
        yield stage


async def test_killed_in_a_wave_and_a_readme_later_each_node_got_its_setting_once(stage):
    options = ("--poll", "0.2s", "--interval", "1s")
    async with stage.watch(*options) as watch:
        await stage.changed()
        watch.signal(signal.SIGKILL)
        await watch.ended()
    assert stage.changes() == ["edge-01"]
    stage.repository.commit({"README": "hello"})
    async with stage.watch(*options) as watch:
        await watch.until(lambda found: found.get("edge", {}).get("state") == "converged")
    assert stage.changes() == ["edge-01", "edge-02"]
    with open_store(stage.state) as store:
        assert (await store.orders()).rejections == ()
        newer, killed = await store.runs()
        assert killed.counts["done"] == 1
        assert newer.counts == {"done": 1}
