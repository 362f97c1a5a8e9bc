"""Simulated Go nodes over real sockets: HTTPie, curl, and the options."""

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.memory_files import fleet_of

from reconciler.drivers.gocluster.choices import AdminRequest, DuplicateName
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


def sign(key, **claims):
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS512", "typ": "JWT"}, claims)
    )
    mark = hmac.new(key.encode(), f"{head}.{body}".encode(), hashlib.sha512).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"


@pytest.mark.parametrize("client", [HTTPIE, CURL], ids=["HTTPie", "curl"])
@pytest.mark.parametrize("option", ["logged", "handed on"])
async def test_an_admin_call_is_answered_and_changes_nothing_wherever_it_ends(client, option):
    choices = SIMULATOR.options.__class__(admin_request=AdminRequest(option))
    async with simulated(choices={"gocluster": choices}) as (simulation, (first, *_)):
        world = simulation.world("mesh-01")
        before = world.state
        url = f"{first}{ROOT}/node-01/admin/node-02/reconnect"
        header = (lambda text: f"Cookie:{text}") if client is HTTPIE else (lambda text: f"-HCookie: {text}")
        token = sign(world.site.signing_key, username="kim", expire=int(time.time()) + 60)
        head, body = await call(client, url, header(f"session={token}"))
        assert (" 200 " in head, json.loads(body)) == (True, "reconnect OK")
        assert world.state == before
        assert world.site.log == [
            f"node-01: reconnect of node-02{' to the application' if option == 'handed on' else ''}"
        ]
        head, body = await call(client, url)
        assert (" 200 " in head, body.strip()) == (True, "")
        for key, claims in (("other", {"username": "kim", "expire": time.time() + 60}), ("simulated", {})):
            token = sign(key, **claims)
            head, _ = await call(client, url, header(f"session={token}"))
            # A token without `expire` ends the connection.
            assert (" 403 " in head) if claims else head == ""
        head, _ = await call(client, f"{first}{ROOT}/node-01/admin/node-02", header(f"session={token}"))
        assert " 501 " in head
        assert len(world.site.log) == 1


@pytest.mark.parametrize(
    ("option", "address", "is_kept"),
    [
        ("smaller address", "10.0.0.0:1", True),
        ("smaller address", "99.0.0.0:1", False),
        ("first", "10.0.0.0:1", False),
    ],
)
@pytest.mark.parametrize("client", [HTTPIE, CURL], ids=["HTTPie", "curl"])
async def test_of_two_connections_of_one_name_one_is_kept_and_clients_see_no_other_peer(
    client, option, address, is_kept
):
    choices = SIMULATOR.options.__class__(duplicate_name=DuplicateName(option))
    async with simulated(choices={"gocluster": choices}) as (simulation, (first, *_)):
        world = simulation.world("mesh-01")
        assert world.join_stranger("node-01", "node-02", address) is is_kept
        assert world.join_stranger("node-01", "a-stranger", address)
        _, body = await call(client, f"{first}{ROOT}/node-01")
        assert parse_view(body.encode()).connected == {"node-02", "node-03"}
        await simulation.fault("node-02", "killed")
        await simulation.fault("node-03", "killed")
        # The library counts strangers, and its API does not show them.
        _, body = await call(client, f"{first}{ROOT}/node-01")
        assert not parse_view(body.encode()).has_quorum
        assert world.has_quorum("node-01")
