"""Simulated Collaboration Servers over real sockets: HTTPie, redis-py, and the command line itself."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio
from redis import exceptions
from support.memory_files import fleet_of

from reconciler.drivers.collab.simulator.simulator import SIMULATOR
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation

HTTPIE = str(Path(sys.executable).parent / "http")


@asynccontextmanager
async def simulated():
    """A sample cluster that is served; gives the simulation and the addresses by role."""
    places = find_free_addresses(5)
    files = SIMULATOR.sample_fleet(places, same_port=False)
    fleet = fleet_of(files)
    async with Simulation(fleet, DRIVERS, converged=True) as simulation:
        yield simulation, {"server": places[0], "redis": places[3], "balancer": places[4]}


async def run_httpie(*arguments):
    """What HTTPie prints."""
    call = [HTTPIE, "--ignore-stdin", "--print=hb", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, call, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


async def test_httpie_reads_each_server_and_the_balancer():
    async with simulated() as (_, at):
        for place in (at["server"], at["balancer"]):
            head, _, body = (await run_httpie(f"http://{place}/status")).partition("\n\n")
            assert head.startswith("HTTP/1.1 200 OK")
            status = json.loads(body)
            assert status["state"] == "running"
            assert status["scaling"] == "horizontal"
        assert "404" in await run_httpie(f"http://{at['server']}/")
        upgrade = ["Connection:Upgrade", "Upgrade:websocket", "Sec-WebSocket-Version:13"]
        key = "Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ=="
        url = f"http://{at['balancer']}/socket.io/?EIO=4&transport=websocket"
        shaken = await run_httpie("--headers", url, *upgrade, key)
        assert "101 Switching Protocols" in shaken
        assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in shaken


async def test_a_killed_redis_pauses_every_server():
    async with simulated() as (simulation, at):
        await simulation.fault("collab-01-redis", "killed")
        body = (await run_httpie(f"http://{at['server']}/status")).partition("\n\n")[2]
        assert json.loads(body)["reason"].endswith("Redis Server")
        await simulation.fault("collab-01-redis", "started")
        for _ in range(2):
            body = (await run_httpie(f"http://{at['server']}/status")).partition("\n\n")[2]
        assert json.loads(body)["state"] == "running"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_redis_py_is_served_as_by_a_real_server(protocol):
    async with simulated() as (simulation, at):
        place = at["redis"]
        client = redis.asyncio.Redis(
            host=place.host, port=place.port, protocol=protocol, decode_responses=True
        )
        async with client:
            assert await client.ping() is True
            assert (await client.config_get("bind")) == {"bind": "127.0.0.1 -::1"}
            assert (await client.acl_getuser("default"))["flags"] == ["on", "nopass"]
            assert await client.acl_setuser("default", enabled=True, passwords=["+first", "+second"])
            assert await client.config_rewrite()
            with pytest.raises(exceptions.ResponseError):
                await client.config_set("nosuch", "1")
            assert await client.ping() is True, "an open connection stays in"
        bare = redis.asyncio.Redis(host=place.host, port=place.port, protocol=protocol)
        async with bare:
            with pytest.raises(exceptions.AuthenticationError):
                await bare.ping()
        await simulation.fault("collab-01-redis", "restarted")
        await asyncio.sleep(0.3)
        for password, is_valid in (("first", True), ("second", True), ("third", False)):
            login = redis.asyncio.Redis(
                host=place.host, port=place.port, protocol=protocol, password=password
            )
            async with login:
                if is_valid:
                    assert await login.ping() is True, "the file has it, too"
                else:
                    with pytest.raises(exceptions.AuthenticationError):
                        await login.ping()


async def test_a_redis_that_is_down_refuses_connections():
    async with simulated() as (simulation, at):
        await simulation.fault("collab-01-redis", "killed")
        client = redis.asyncio.Redis(host=at["redis"].host, port=at["redis"].port)
        async with client:
            with pytest.raises(exceptions.ConnectionError):
                await client.ping()
