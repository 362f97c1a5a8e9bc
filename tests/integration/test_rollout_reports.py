"""Rollouts that wait for what nodes report by themselves, over real HTTP in both directions."""

import asyncio
import json
import socket

import httpx
import pytest
from support.m2_settings import MANAGEMENT
from support.memory_files import fleet_of
from support.simulated_nodes import apply_fleet

from reconciler.drivers.registry import DRIVERS
from reconciler.errors import StateError
from reconciler.rollout.apply_pass import RunContext
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.call_sender import CallSender
from reconciler.simulation.node_host import Simulation


class Stage:
    """Two nodes whose settings tell them to report to one address of this host."""

    def __init__(self, folder):
        *self.places, self.ear = map(str, find_free_addresses(3))
        self.folder = folder

    def fleet(self, version, **reports):
        features = {
            "heartbeat": {
                "enable": True,
                "feedback": {
                    "type": "apiPolling",
                    "info": {"url": f"http://{self.ear}/heartbeat", "schedule": "* * * * * *", "timeout": 1},
                },
            },
            "setting": {
                "enable": True,
                "feed": {
                    "type": "apiPolling",
                    "info": {"url": "http://127.0.0.1:9/", "schedule": "0 0 0 * * *"},
                },
                "feedback": {"type": "api", "info": {"url": f"http://{self.ear}/feedback", "timeout": 1}},
            },
        }
        management = {
            **MANAGEMENT,
            "server": {"enable": True, "features": features},
        }
        gate = {"listen": self.ear, "within": 3, **reports}
        cluster = {
            "name": "edge",
            "kind": "m2",
            "setting": "s.json",
            "nodes": [{"name": f"n{number}", "address": place} for number, place in enumerate(self.places)],
            "timeouts": {"read": 2, "settle": 2},
            "rollout": {"waves": 1, "on_failure": "return", "gates": {"reports": gate}},
        }
        setting = {"meta": {"version": version}, "env": {"management": management}}
        return fleet_of({"fleet.json": json.dumps({"clusters": [cluster]}), "s.json": json.dumps(setting)})

    async def run(self, fleet, **more):
        return await apply_fleet(self.folder, fleet, run_context=RunContext(), **more)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "state")


def states(report):
    return [outcome.state.value for outcome in report.outcomes]


async def test_a_wave_passes_when_its_nodes_report_what_they_were_given(stage):
    async with Simulation(stage.fleet("1"), DRIVERS, converged=True) as simulation, CallSender(simulation):
        report = await stage.run(stage.fleet("2", feedback=True))
    assert (states(report), report.findings) == (["done", "done"], ())


async def test_a_node_that_falls_silent_after_a_change_stops_the_rollout_and_is_returned(stage):
    async with Simulation(stage.fleet("1"), DRIVERS, converged=True) as simulation:
        async with CallSender(simulation, mute={"n0"}):
            report = await stage.run(stage.fleet("2", within=1))
        assert states(report) == ["undone", "skipped"]
        assert [finding.code for finding in report.findings] == ["gate-failed"]
        assert "n0 has sent no heartbeat since it was changed" in report.findings[0].message
        versions = [simulation.world("edge").state(name).running["meta"]["version"] for name in ("n0", "n1")]
    assert versions == ["1", "1"]


async def test_a_failure_that_a_node_reports_itself_stops_the_rollout_at_once(stage):
    failed = {
        "messageVer": "1",
        "node": {"hostname": "n0", "iplist": []},
        "action": {"api": "/setting/upload"},
        "parameters": [{"result": {"status": "E0004 no such file"}}],
    }

    async def complain():
        async with httpx.AsyncClient() as client:
            while True:
                await asyncio.sleep(0.05)
                try:
                    await client.post(f"http://{stage.ear}/feedback", json=failed)
                except httpx.HTTPError:
                    continue

    async with (
        Simulation(stage.fleet("1"), DRIVERS, converged=True) as simulation,
        CallSender(simulation, mute={"n0"}),
    ):
        complaining = asyncio.create_task(complain())
        report = await asyncio.wait_for(stage.run(stage.fleet("2", feedback=True, within=600)), 30)
        complaining.cancel()
    assert states(report) == ["undone", "skipped"]
    assert "n0 reports a failure of its new setting: E0004 no such file" in report.findings[0].message


async def test_where_it_cannot_listen_nothing_is_done(stage):
    async with Simulation(stage.fleet("1"), DRIVERS, converged=True) as simulation:
        host, port = stage.ear.split(":")
        with socket.create_server((host, int(port))), pytest.raises(StateError, match="cannot listen on"):
            await stage.run(stage.fleet("2"))
        assert simulation.calls(changes=True) == ()
