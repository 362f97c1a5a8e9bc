"""Nodes with `via` are called through that entry of the host configuration, and others are not."""

import pytest
from support.memory_files import snapshot_of

from reconciler.core.endpoint import Endpoint, SocketAddress
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import NodeUnreachable
from reconciler.guards.place_conflicts import NodePlace
from reconciler.host.host import Host
from reconciler.planning.routed_transports import find_routes, route_transports
from reconciler.ports.transport import Http, HttpAnswer, Streams, Transports
from reconciler.secrets.local_resolver import LocalResolver

FLEET = """
clusters:
- name: hall
  kind: sora
  via: door
  nodes:
  - {name: "a@a.example.com", api: "http://192.0.2.1:3000/"}
  - {name: "b@b.example.com", api: "https://B.example.com:3000/", via: gate}
- name: open
  kind: sora
  nodes:
  - {name: "c@c.example.com", api: "http://192.0.2.3:3000/"}
"""


class Wire(Http):
    def __init__(self, sent, way="", authority=""):
        self.sent, self.way, self.authority = sent, way, authority

    async def send(self, method, url, **options):
        self.sent.append((url, f"{self.way} {self.authority}".strip()))
        return HttpAnswer(200, {}, b"")

    async def resolve(self, host):
        return ("192.0.2.99",)

    def local_address(self, url):
        return "192.0.2.50"

    def through(self, way, *, authority=""):
        return Wire(self.sent, way, authority)


async def test_each_node_is_called_by_its_own_way():
    fleet = load_fleet(snapshot_of({"fleet.yaml": FLEET}), DRIVERS, LocalResolver(Host()))
    routes = find_routes(fleet, DRIVERS)
    assert [routes.find(host) for host in ("192.0.2.1", "b.example.com", "192.0.2.3")] == ["door", "gate", ""]
    sent = []
    http = route_transports(Transports(Wire(sent)), fleet, DRIVERS).http
    for url in (
        "http://192.0.2.1:3000/",
        "http://192.0.2.1:1/x",
        "https://b.example.com:3000/",
        "http://192.0.2.3:3000/",
    ):
        await http.send("GET", url, node="n", timeout=1)
    assert [way for _, way in sent] == ["door", "door", "gate", ""]
    assert await http.resolve("b.example.com") == ()
    assert await http.resolve("192.0.2.1") == ("192.0.2.1",)
    assert await http.resolve("c.example.com") == ("192.0.2.99",)
    assert http.local_address("http://192.0.2.1:3000/") == ""
    assert http.local_address("http://192.0.2.3:3000/") == "192.0.2.50"


class Line(Streams):
    def __init__(self, sent, way=""):
        self.sent, self.way = sent, way

    async def ask(self, address, request, **_):
        self.sent.append((address.host, self.way))
        return b""

    async def send(self, address, request, **_):
        return await self.ask(address, request)

    def through(self, way):
        return Line(self.sent, way)


async def test_streams_go_the_same_way():
    fleet = load_fleet(snapshot_of({"fleet.yaml": FLEET}), DRIVERS, LocalResolver(Host()))
    sent = []
    streams = route_transports(Transports(streams=Line(sent)), fleet, DRIVERS).streams
    options = {"is_complete": bool, "node": "n", "timeout": 1, "limit": 1}
    for host in ("192.0.2.1", "B.example.com", "192.0.2.3"):
        await streams.ask(SocketAddress(host, 6379), b"", **options)
        await streams.send(SocketAddress(host, 6379), b"", **options)
    assert [way for _, way in sent] == ["door", "door", "gate", "gate", "", ""]


TWO_SITES = """
clusters:
- name: hall
  kind: sora
  via: door
  nodes: [{name: "a@a.example.com", api: "http://10.0.0.5:3000/"}]
- name: yard
  kind: sora
  via: gate
  nodes: [{name: "b@b.example.com", api: "http://10.0.0.5:3000/"}]
- name: open
  kind: sora
  nodes: [{name: "c@c.example.com", api: "http://10.0.0.5:3001/"}]
"""


def test_one_private_address_behind_two_bastions_is_that_of_two_machines():
    fleet = load_fleet(snapshot_of({"fleet.yaml": TWO_SITES}), DRIVERS, LocalResolver(Host()))
    routes = find_routes(fleet, DRIVERS)
    found = [routes.find("10.0.0.5", f"{one}@{one}.example.com") for one in "abc"]
    assert found == ["door", "gate", ""]
    # What a cluster shows as a further address of a node is in the network of its bastion.
    assert routes.find("10.9.9.9", "a@a.example.com") == "door"
    with pytest.raises(NodeUnreachable, match="several ways") as caught:
        routes.find("10.0.0.5", "x")
    assert not caught.value.is_lost


def test_places_behind_different_bastions_are_different_as_far_as_they_are_private():
    def keys(host, via):
        return NodePlace("c", "n", Endpoint("http", host, 3000), via=via).keys

    assert keys("10.0.0.5", "door") != keys("10.0.0.5", "gate")
    assert keys("10.0.0.5", "door") == keys("10.0.0.5", "door")
    assert keys("9.9.9.9", "door") == keys("9.9.9.9", "")
    assert keys("a.example.com", "door") == keys("a.example.com", "gate")


TWO_AUTHORITIES = """
clusters:
- name: hall
  kind: sora
  authority: office
  nodes:
    - {name: "a@a.example.com", api: "https://192.0.2.1:3000/"}
    - {name: "b@b.example.com", api: "https://192.0.2.2:3000/", authority: lab, via: door}
- name: open
  kind: sora
  nodes: [{name: "c@c.example.com", api: "https://192.0.2.3:3000/"}]
"""


async def test_each_node_is_believed_with_its_own_authority():
    fleet = load_fleet(snapshot_of({"fleet.yaml": TWO_AUTHORITIES}), DRIVERS, LocalResolver(Host()))
    sent = []
    http = route_transports(Transports(Wire(sent)), fleet, DRIVERS).http
    for number, one in enumerate("abc", 1):
        node = f"{one}@{one}.example.com"
        await http.send("GET", f"https://192.0.2.{number}:3000/", node=node, timeout=1)
    assert [used for _, used in sent] == ["office", "door lab", ""]
