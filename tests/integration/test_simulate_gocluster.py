"""Simulated Go nodes over real sockets: HTTPie, curl, and the options."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.memory_files import fleet_of

from reconciler.drivers.gocluster.simulator.simulator import SIMULATOR
from reconciler.drivers.gocluster.view import parse_view
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation

HTTPIE = [str(Path(sys.executable).parent / "http"), "--ignore-stdin", "--print=hb"]
CURL = ["curl", "-sS", "-i", "--max-time", "20"]
ROOT = "/api/v1/cluster"


@asynccontextmanager
async def simulated(**more):
    """A sample cluster of three nodes that is served; gives the simulation and their URLs."""
    places = find_free_addresses(3)
    fleet = fleet_of(SIMULATOR.sample_fleet(places, same_port=False))
    async with Simulation(fleet, DRIVERS, converged=True, **more) as simulation:
        yield simulation, [f"http://{place}" for place in places]


async def call(client, *arguments):
    """Head and body as the client prints them, both empty without an answer."""
    done = await asyncio.to_thread(
        subprocess.run, [*client, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    return head, body


@pytest.mark.parametrize("client", [HTTPIE, CURL], ids=["HTTPie", "curl"])
async def test_clients_read_managers_and_views(client):
    async with simulated() as (simulation, (first, *_)):
        head, body = await call(client, f"{first}{ROOT}")
        assert head.startswith("HTTP/1.1 200 OK")
        assert json.loads(json.loads(body)["data"]) == ["node-01"]
        _, body = await call(client, f"{first}{ROOT}/node-01")
        assert parse_view(body.encode()).connected == {"node-02", "node-03"}
        assert simulation.world("mesh-01").locks == {"node-01": 1, "node-02": 0, "node-03": 0}
        head, body = await call(client, f"{first}/elsewhere")
        assert head.startswith("HTTP/1.1 404")


@pytest.mark.parametrize("client", [HTTPIE, CURL], ids=["HTTPie", "curl"])
async def test_a_killed_node_is_silent_and_offline(client):
    async with simulated() as (simulation, (first, second, _)):
        await simulation.fault("node-02", "killed")
        assert await call(client, f"{second}{ROOT}/node-02") == ("", "")
        _, body = await call(client, f"{first}{ROOT}/node-01")
        assert parse_view(body.encode()).connected == {"node-03"}


@pytest.mark.parametrize(
    ("option", "status", "words"),
    [
        ("error", 200, "manager other not found"),
        ("not found", 404, "404 page not found"),
        ("empty", 200, '"success":true'),
    ],
)
async def test_an_unknown_manager_is_answered_as_the_option_says(option, status, words):
    choices = SIMULATOR.options.__class__(unknown_manager=option)
    async with simulated(choices={"gocluster": choices}) as (_, (first, *_)):
        head, body = await call(CURL, f"{first}{ROOT}/other")
        assert f" {status} " in head
        assert words in body
