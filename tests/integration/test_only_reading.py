"""What only looks makes no call but the documented reading ones, whatever its code or a file asks for."""

import pytest
from support.simulated_nodes import Host, m2_cluster, sora_cluster

from reconciler.drivers.m2.client import Client as M2Client
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.client import Client as SoraClient
from reconciler.errors import WriteRefused
from reconciler.host.host import Host as HostSettings
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.transport import Http, HttpAnswer, ReadingCall, Transports
from reconciler.transports.command import CommandTransport
from reconciler.transports.machines.host_machines import HostMachines


class Recording(Http):
    """A wire that keeps what reaches it, and answers that nothing is there."""

    def __init__(self):
        self.sent = []

    async def send(self, method, url, *, headers=None, content=b"", **_):
        self.sent.append((method, url, dict(headers or {}), content))
        return HttpAnswer(404, {}, b"")


READ = "Sora_20211215.ListClusterNodes"


@pytest.mark.parametrize(
    ("kind", "method", "url", "headers", "content"),
    [
        ("m2", "POST", "http://n:1/setting/setting.json", {}, b""),
        ("m2", "GET", "http://n:1/setting/setting.json", {}, b"body"),
        ("m2", "GET", "http://n:1/setting/setting.json?x=1", {}, b""),
        ("m2", "GET", "http://u@n:1/setting/setting.json", {}, b""),
        ("m2", "GET", "http://n:1/setting/deploy/local", {}, b""),
        ("m2", "GET", "http://n:1/setting/deploy/checkout", {}, b""),
        ("m2", "GET", "http://n:1/command/purge", {}, b""),
        ("m2", "GET", "http://n:1/setting/../setting/setting.json", {}, b""),
        ("m2", "PURGE", "http://n:1/metrics", {}, b""),
        ("sora", "GET", "http://n:1/", {"x-sora-target": READ}, b""),
        ("sora", "POST", "http://n:1/", {}, b""),
        ("sora", "POST", "http://n:1/", {"x-sora-target": READ}, b"{}"),
        ("sora", "POST", "http://n:1/", {"x-sora-target": "Sora_20221221.InitCluster"}, b""),
        ("sora", "POST", "http://n:1/", {"x-sora-target": READ, "X-Sora-Target": "Sora_1.Init"}, b""),
        ("sora", "POST", "http://n:1/?a", {"x-sora-target": READ}, b""),
    ],
)
async def test_a_call_that_is_not_documented_as_reading_is_not_sent(kind, method, url, headers, content):
    below = Recording()
    transports = restrict_to_reading(Transports(below), DRIVERS[kind].reads)
    with pytest.raises(WriteRefused, match="nothing was sent"):
        await transports.http.send(method, url, node="n", timeout=1, headers=headers, content=content)
    assert not below.sent


async def test_every_change_that_the_clients_know_is_kept_back():
    below = Recording()
    m2 = M2Client(
        restrict_to_reading(Transports(below), DRIVERS["m2"].reads).http, "n", ("http://n:1",), 1, 1
    )
    sora = SoraClient(
        restrict_to_reading(Transports(below), DRIVERS["sora"].reads).http, "n", "http://n:1/", 1, 1
    )
    for change in (
        m2.deploy_local(),
        m2.checkout("GET"),
        m2.checkout("POST"),
        sora.init(["n"]),
        sora.register("m"),
        sora.purge("m"),
        sora.change_mode("normal"),
    ):
        with pytest.raises(WriteRefused):
            await change
    assert not below.sent


async def test_a_look_asks_nothing_but_the_documented_reading_calls(tmp_path):
    below = Recording()
    fleet = Host(tmp_path).fleet(
        "/srv/f",
        m2_cluster("edge", {"edge-01": "10.0.0.1"}),
        sora_cluster("it", {"n1@10.0.0.1": "http://10.0.0.1:3000/"}),
    )
    await run_plan_pass(
        fleet,
        drivers=DRIVERS,
        transports=Transports(below, CommandTransport(HostSettings(), HostMachines(HostSettings()))),
    )
    assert below.sent
    for method, url, headers, content in below.sent:
        calls = [
            call for driver in DRIVERS.values() for call in driver.reads if isinstance(call, ReadingCall)
        ]
        assert not content
        assert any(call.allows(method, url, headers) for call in calls), calls
