"""Restart-only fields of nodes that poll: offers, reports, and restarts in waves, in many runs."""

import asyncio
import json
import signal
from contextlib import asynccontextmanager

import pytest
from end_to_end.test_polled_fleet import NODES, PolledFleet, is_converged, is_refused
from support.m2_settings import MANAGEMENT
from support.waiting import wait_until

from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.call_sender import CallSender

RESTART = {"command": "restart-m2", "started": {"command": "m2-started"}}


def setting(version, memory):
    """A setting whose field of memory takes effect only at a restart."""
    environment = {"management": MANAGEMENT, "properties": {"memoryUsage": memory}}
    return json.dumps({"meta": {"version": version}, "env": environment})


class RestartedFleet(PolledFleet):
    """Nodes that poll, and whose machines this host reaches by its commands.

    Attributes:
        restarted: nodes, in the order of their restarts.
        held: nodes whose restart waits until they are let go.
        refused: nodes whose restart the host refuses.
    """

    def __init__(self, folder, **rollout):
        super().__init__(folder, **rollout)
        (self.desk,) = find_free_addresses(1)
        self.restarted, self.held, self.refused = [], set(), set()
        run = ["curl", "-sf", "--max-time", "20"]
        commands = {
            "restart-m2": {"run": [*run, f"http://{self.desk}/restart/{{node}}"], "timeout": 25},
            "m2-started": {"run": [*run, f"http://{self.desk}/started/{{node}}"], "reads": True},
        }
        host = {"nodes": {"listen": str(self.server)}, "commands": commands}
        (folder / "host.yaml").write_text(json.dumps(host))
        (folder / "host.yaml").chmod(0o600)
        self.repository.commit(
            {
                "fleet.json": self.fleet_file(restart=RESTART, timeouts={"settle": 15}),
                "s.json": setting("v1", 50),
            }
        )

    async def serve(self, reader, writer):
        """One call of a command."""
        line = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        _, verb, node = line[1].split("/")
        world = self.simulation.world("edge")
        is_refused = verb == "restart" and node in self.refused
        if verb == "restart":
            self.restarted.append(node)
        if verb == "restart" and not is_refused:
            world.kill(node)
            world.start(node)
            while node in self.held:
                await asyncio.sleep(0.05)
        body, status = f"start {world.get_starts(node)}", "500 No" if is_refused else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    @asynccontextmanager
    async def running(self):
        """Simulated nodes that poll, enrolled, and the machines of their commands."""
        desk = await asyncio.start_server(self.serve, self.desk.host, self.desk.port)
        async with desk, await self.simulated() as self.simulation, CallSender(self.simulation):
            async with self.watching() as watch:
                # A value of its first setting waits, also where a node's only report about that is lost.
                await wait_until(lambda: self.memories() == dict.fromkeys(NODES, 50))
                await watch.until(is_converged)
            self.restarted.clear()
            yield self

    def memories(self):
        """Node -> the value that its process uses; None before its first setting."""
        world = self.simulation.world("edge")
        used = {name: world.state(name).running["env"].get("properties", {}) for name in world.names}
        return {name: properties.get("memoryUsage") for name, properties in used.items()}


async def test_nodes_that_took_an_offer_are_restarted_one_after_the_other(tmp_path):
    async with RestartedFleet(tmp_path).running() as stage, stage.watching() as watch:
        stage.repository.commit({"s.json": setting("v2", 70)})
        await wait_until(lambda: stage.memories() == dict.fromkeys(NODES, 70))
        await watch.until(is_converged)
    assert sorted(stage.restarted) == list(NODES)
    assert not stage.simulation.world("edge").complaints


async def test_a_wave_is_offered_and_restarted_before_the_next_one_is_offered(tmp_path):
    fleet = RestartedFleet(tmp_path, canary=1, waves=["100%"])
    async with fleet.running() as stage, stage.watching() as watch:
        stage.held.add("n1")
        stage.repository.commit({"s.json": setting("v2", 70)})
        await wait_until(lambda: stage.restarted == ["n1"])
        assert stage.versions() == {"n1": "v2", "n2": "v1", "n3": "v1"}
        stage.held.clear()
        await wait_until(lambda: stage.memories() == dict.fromkeys(NODES, 70))
        await watch.until(is_converged)
    assert stage.restarted[0] == "n1"
    assert sorted(stage.restarted) == list(NODES)


@pytest.mark.parametrize("moment", ["before the restarts", "during a restart"])
async def test_a_watch_that_is_killed_restarts_each_node_once_all_the_same(tmp_path, moment):
    fleet = RestartedFleet(tmp_path, canary=1, waves=["100%"])
    async with fleet.running() as stage:
        async with stage.watching() as watch:
            stage.held.add("n1")
            stage.repository.commit({"s.json": setting("v2", 70)})
            if moment == "during a restart":
                await wait_until(lambda: stage.restarted == ["n1"])
            else:
                await wait_until(lambda: stage.versions()["n1"] == "v2")
            watch.signal(signal.SIGKILL)
            await watch.ended()
        stage.held.clear()
        async with stage.watching() as watch:
            await wait_until(lambda: stage.memories() == dict.fromkeys(NODES, 70))
            await watch.until(is_converged)
    assert sorted(stage.restarted) == list(NODES)


async def test_a_restart_that_fails_rejects_the_revision_and_its_wave_goes_back(tmp_path):
    fleet = RestartedFleet(tmp_path, canary=1, waves=["100%"], on_failure="return")
    async with fleet.running() as stage, stage.watching() as watch:
        stage.refused.add("n1")
        stage.repository.commit({"s.json": setting("v2", 70)})
        await wait_until(lambda: stage.restarted)
        await watch.until(is_refused)
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v1"))
        assert stage.memories() == dict.fromkeys(NODES, 50)
        assert stage.restarted == ["n1"]
        stage.refused.clear()
        stage.repository.commit({"s.json": setting("v3", 80)})
        await wait_until(lambda: stage.memories() == dict.fromkeys(NODES, 80))
        await watch.until(is_converged)
