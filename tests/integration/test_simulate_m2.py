"""Simulated M2 nodes over real HTTP: by HTTPie, by plain sockets, with every fault."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.waiting import wait_until

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.m2.choices import Choices, PortChange, UnlistedAnswer
from reconciler.drivers.m2.schema import Deliver, M2Cluster
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import UsageError
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.fault_control import FaultControl
from reconciler.simulation.node_host import Simulation

SETTING = {
    "meta": {"version": "A"},
    "env": {"management": {"api": {"port": 10040, "allowList": [{"addr": "127.0.0.0/8"}]}}},
    "hosting": [],
}


@dataclass
class Fleet:
    """A fleet of one M2 cluster, `edge-01` … `edge-NN`, on free addresses."""

    addresses: list[SocketAddress]
    document: dict = field(default_factory=lambda: SETTING)

    @property
    def cluster_inputs(self):
        nodes = [{"name": f"edge-{i:02}", "address": str(at)} for i, at in enumerate(self.addresses, 1)]
        document = SimpleNamespace(value=self.document)
        entry = M2Cluster.model_validate(
            {"name": "edge", "kind": "m2", "setting": "setting.json", "nodes": nodes}
        )
        documents = {node.name: document for node in entry.nodes}
        return [SimpleNamespace(entry=entry, documents=documents, resources={})]


@pytest.fixture
async def simulation():
    async with Simulation(Fleet(find_free_addresses(2)), DRIVERS, converged=True) as running:
        yield running


def _ask(address, method, path, body, headers):
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def ask(address, method="GET", path="/setting/setting.json", body=None):
    headers = {"Content-Type": "application/json"} if body is not None else {}
    return await asyncio.to_thread(_ask, address, method, path, body, headers)


async def upload(address, version):
    return await ask(address, "POST", "/setting/upload", json.dumps(SETTING | {"meta": {"version": version}}))


async def version(address):
    return json.loads((await ask(address))[1])["meta"]["version"]


async def httpie(*arguments):
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "http"),
        "--ignore-stdin",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, out


async def test_httpie_uploads_a_setting_and_a_package(simulation, tmp_path):
    first, second = simulation.nodes.values()
    (tmp_path / "setting.json").write_text(json.dumps(SETTING | {"meta": {"version": "B"}}))
    (tmp_path / "site.pem").write_bytes(b"PEM\r\n\x00")
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(tmp_path / "setting.json", "setting.json")
        archive.add(tmp_path / "site.pem", "certs/site.pem")
    answers = await asyncio.gather(
        httpie("--check-status", "POST", f"{first}/setting/upload", f"@{tmp_path}/setting.json"),
        httpie(
            "--check-status",
            "--multipart",
            "POST",
            f"{second}/setting/import",
            f"settingFile@{tmp_path}/package.tgz",
        ),
        httpie("--check-status", "--multipart", "POST", f"{first}/setting/upload", "wrong=part"),
    )
    assert [status for status, _ in answers] == [0, 0, 5]
    assert b"accepted" in answers[0][1]
    assert b"E0001" in answers[2][1]
    assert await version(first) == await version(second) == "B"
    _, package = await ask(second, path="/setting/download")
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        assert archive.extractfile("certs/site.pem").read() == b"PEM\r\n\x00"


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.0/8 is one address elsewhere")
async def test_a_thousand_nodes_answer_from_one_process():
    network = 20 + os.getpid() % 200
    addresses = [
        SocketAddress(f"127.{network}.{index >> 8}.{index & 255}", 10040) for index in range(1, 1001)
    ]
    async with Simulation(Fleet(addresses), DRIVERS, converged=True) as simulation:
        gate = asyncio.Semaphore(100)

        async def both(address):
            async with gate:
                reader, writer = await asyncio.open_connection(*address)
                for path in ("/setting/setting.json", "/get/setting"):
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    assert head.startswith(b"http/1.1 200")
                    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                    assert json.loads(await reader.readexactly(length)) == SETTING
                writer.close()
                await writer.wait_closed()

        await asyncio.gather(*map(both, addresses))
        assert len(simulation.calls()) == 2000
        assert len(simulation.describe()) == 1000


@pytest.mark.parametrize("kind", ["cut", "reset", "half"])
async def test_a_broken_answer_ends_the_connection(simulation, kind):
    address = simulation.nodes["edge-01"]
    await simulation.fault("edge-01", kind, count=1)
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)):
        await ask(address)
    assert await version(address) == "A"
    assert await version(simulation.nodes["edge-02"]) == "A"


@pytest.mark.parametrize(("kind", "done"), [("cut", False), ("reset", False), ("lost", True), ("half", True)])
async def test_after_a_broken_change_the_node_shows_whether_it_was_done(simulation, kind, done):
    address = simulation.nodes["edge-01"]
    await simulation.fault("edge-01", kind, count=1, on="changes")
    assert await version(address) == "A"
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        await upload(address, "B")
    assert await version(address) == ("B" if done else "A")
    assert [call.fault for call in simulation.calls("edge-01", changes=True)] == [kind]


async def test_lost_and_refuse_wait_for_a_change(simulation):
    address = simulation.nodes["edge-01"]
    await simulation.fault("edge-01", "refuse", count=1)
    assert (await ask(address))[0] == 200
    status, body = await upload(address, "B")
    assert status == 500
    assert b"E0004" in body
    assert await version(address) == "A"
    assert (await upload(address, "B"))[0] == 200


async def test_an_error_a_page_and_silence(simulation):
    address = simulation.nodes["edge-01"]
    await simulation.fault("edge-01", "error", 503, count=2)
    await simulation.fault("edge-01", "garbage", count=1)
    assert [(await ask(address))[0] for _ in range(2)] == [503, 503]
    assert (await ask(address))[1].startswith(b"<!doctype html>")
    await simulation.fault("edge-01", "silent", on="reads")
    assert (await upload(address, "B"))[0] == 200
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /setting/setting.json HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    writer.close()
    await writer.wait_closed()
    simulation.clear()
    assert await version(address) == "B"


async def test_a_slow_node_acts_at_once_and_answers_late(simulation):
    address = simulation.nodes["edge-01"]
    await simulation.fault("edge-01", "slow", 30, count=1)
    waiting = asyncio.create_task(upload(address, "B"))
    await wait_until(lambda: simulation.calls("edge-01", changes=True))
    assert await version(address) == "B"
    await simulation.fault("edge-01", "killed")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        await waiting


async def test_a_killed_node_refuses_connections_until_it_is_started(simulation):
    address = simulation.nodes["edge-01"]
    await upload(address, "B")
    await simulation.fault("edge-01", "killed")
    with pytest.raises(ConnectionRefusedError):
        await ask(address)
    assert [node["up"] for node in simulation.describe()] == [False, True]
    await simulation.fault("edge-01", "started")
    assert await version(address) == "B"


async def test_a_restart_drops_open_connections_and_applies_what_waited(simulation):
    address = simulation.nodes["edge-01"]
    reader, writer = await asyncio.open_connection(*address)
    changed = SETTING | {"env": {**SETTING["env"], "network": {"http": {"size": 2}}}}
    _status, body = await ask(address, "POST", "/setting/upload", json.dumps(changed))
    assert json.loads(body)["notupdated"][0]["field"] == "env.network.http"
    assert (await ask(address, path="/get/setting.env.network.http"))[0] == 404
    await simulation.fault("edge-01", "restarted")
    assert await reader.read() == b""
    writer.close()
    assert json.loads((await ask(address, path="/get/setting.env.network.http"))[1]) == {"size": 2}


async def test_a_restart_may_take_its_time(simulation):
    address = simulation.nodes["edge-01"]
    await simulation.fault("edge-01", "restarted", 0.2)
    with pytest.raises(ConnectionRefusedError):
        await ask(address)
    await wait_until(lambda: simulation.describe()[0]["up"])
    assert await version(address) == "A"


async def test_a_fault_of_a_cluster_is_one_of_each_of_its_nodes(simulation):
    await simulation.fault("edge", "error", count=1)
    answers = [(await ask(address))[0] for address in simulation.nodes.values() for _ in range(2)]
    assert answers == [500, 200, 500, 200]
    with pytest.raises(UsageError, match="no node or cluster 'elsewhere'"):
        await simulation.fault("elsewhere", "cut")


async def test_a_moved_port_is_listened_on_from_the_restart():
    here, there = find_free_addresses(2)
    document = json.loads(json.dumps(SETTING).replace("10040", str(here.port)))
    choices = {"m2": Choices(port=PortChange.RESTART)}
    async with Simulation(Fleet([here], document), DRIVERS, converged=True, choices=choices) as simulation:
        moved = json.dumps(document).replace(str(here.port), str(there.port))
        assert (await ask(here, "POST", "/setting/upload", moved))[0] == 200
        assert (await ask(here))[0] == 200
        await simulation.fault("edge-01", "restarted")
        assert (await ask(there))[0] == 200
        with pytest.raises(ConnectionRefusedError):
            await ask(here)


@pytest.mark.parametrize(("deliver", "expected"), [("upload", "c0ffee0"), ("checkout", "A"), ("local", "A")])
async def test_converged_nodes_show_the_commit_where_an_upload_stamps_it(deliver, expected):
    (cluster_input,) = Fleet(find_free_addresses(1)).cluster_inputs
    cluster_input.entry = cluster_input.entry.model_copy(
        update={"version": "commit", "deliver": Deliver(deliver)}
    )
    cluster_input.revision = SimpleNamespace(short="c0ffee0")
    async with Simulation(
        SimpleNamespace(cluster_inputs=[cluster_input]), DRIVERS, converged=True
    ) as simulation:
        assert await version(simulation.nodes["edge-01"]) == expected


async def test_the_connection_of_an_unlisted_caller_may_be_closed():
    document = json.loads(json.dumps(SETTING).replace("127.0.0.0/8", "192.168.1.1"))
    choices = {"m2": Choices(unlisted=UnlistedAnswer.CLOSED)}
    async with Simulation(
        Fleet(find_free_addresses(1), document), DRIVERS, converged=True, choices=choices
    ) as simulation:
        with pytest.raises(http.client.RemoteDisconnected):
            await ask(simulation.nodes["edge-01"])


async def test_what_is_not_http_is_answered_400(simulation):
    reader, writer = await asyncio.open_connection(*simulation.nodes["edge-01"])
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in (await reader.read()).splitlines()[0]
    writer.close()
    await writer.wait_closed()


async def test_faults_over_the_control_endpoint(simulation):
    (address,) = find_free_addresses(1)
    async with FaultControl(simulation, address):
        fault = {"node": "edge-01", "fault": "error", "argument": 502, "count": 1, "on": "reads"}
        status, body = await ask(address, "POST", "/faults", json.dumps(fault))
        assert status == 200
        assert json.loads(body)[0]["faults"] == ["error:502@reads*1"]
        assert (await ask(simulation.nodes["edge-01"]))[0] == 502
        await ask(address, "POST", "/faults", json.dumps({"node": "edge", "fault": "silent"}))
        status, body = await ask(address, "DELETE", "/faults")
        assert [node["faults"] for node in json.loads(body)] == [[], []]
        (first, _second) = json.loads((await ask(address, path="/nodes"))[1])
        assert first == {
            "node": "edge-01",
            "cluster": "edge",
            "kind": "m2",
            "address": str(simulation.nodes["edge-01"]),
            "up": True,
            "faults": [],
            "requests": 1,
        }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ("{}", "must be a JSON object"),
        ('{"node": "edge-01", "fault": "tired"}', "unknown fault 'tired'"),
        ('{"node": "edge-09", "fault": "cut"}', "no node or cluster 'edge-09'"),
        ('{"node": "edge-01", "fault": "cut", "count": 0}', "at least 1"),
        ('{"node": "edge-01", "fault": "cut", "count": "two"}', "must be a JSON object"),
        ('{"node": "edge-01", "fault": "error", "argument": 200}', "invalid argument"),
        ('{"node": "edge-01", "fault": "cut", "on": "sundays"}', "unknown scope 'sundays'"),
    ],
)
async def test_the_control_endpoint_explains_what_it_cannot_do(simulation, body, words):
    (address,) = find_free_addresses(1)
    async with FaultControl(simulation, address):
        status, answer = await ask(address, "POST", "/faults", body)
    assert status == 400
    assert words in json.loads(answer)["error"]
    assert [node["faults"] for node in simulation.describe()] == [[], []]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"{host}:10040", "must have a loopback address, got ")
        for host in ("192.168.1.1", "8.8.8.8", "0.0.0.0", "edge.example.com", "[2001:db8::1]")
    ]
    + [("https://127.0.0.1:10040", "support only plain HTTP")],
)
async def test_only_loopback_without_tls_is_served(address, message):
    with pytest.raises(UsageError, match=f"edge-01: simulated nodes {message}"):
        Simulation(Fleet([address]), DRIVERS)


async def test_an_address_in_use_is_named_and_everything_is_closed_again():
    free, taken = find_free_addresses(2)
    server = await asyncio.start_server(lambda *_: None, *taken)
    async with server:
        with pytest.raises(UsageError, match=f"edge-02: {taken} is already in use"):
            async with Simulation(Fleet([free, taken]), DRIVERS):
                pass
        with pytest.raises(ConnectionRefusedError):
            await ask(free)


def test_two_nodes_at_one_address_are_refused():
    (address,) = find_free_addresses(1)
    with pytest.raises(UsageError, match="edge-01 and edge-02 have the same address"):
        Simulation(Fleet([address, address]), DRIVERS)


def test_a_product_without_simulator_is_refused():
    fleet = Fleet(find_free_addresses(1))
    cluster_input = fleet.cluster_inputs[0]
    cluster_input.entry = cluster_input.entry.model_copy(update={"kind": "redis"})
    with pytest.raises(UsageError, match="edge: there is no simulator for kind 'redis'"):
        Simulation(SimpleNamespace(cluster_inputs=[cluster_input]), DRIVERS)


async def test_ipv6_loopback_is_served():
    document = json.loads(json.dumps(SETTING).replace("127.0.0.0/8", "::1"))
    (address,) = find_free_addresses(1)
    try:
        async with Simulation(
            Fleet([SocketAddress("::1", address.port)], document), DRIVERS, converged=True
        ) as simulation:
            assert await version(simulation.nodes["edge-01"]) == "A"
    except UsageError as error:
        pytest.skip(f"no IPv6 here: {error}")
