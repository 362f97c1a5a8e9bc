"""What a node of a Go cluster answers: read strictly, within bounds, and counted as the library counts."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gocluster import answer, envelope, model, row, view, views
from support.sora_clusters import FixedWire

from reconciler.drivers.gocluster import quorum
from reconciler.drivers.gocluster.client import READS, Client
from reconciler.drivers.gocluster.go_duration import parse_go_duration
from reconciler.drivers.gocluster.mesh import Mesh, Problem
from reconciler.drivers.gocluster.view import (
    NEVER,
    NodeView,
    RefusedView,
    UnreadableView,
    parse_managers,
    parse_view,
)
from reconciler.errors import NodeUnauthorized, NodeUnidentified, NodeUnreachable

MEASURED = (
    rb'{"success":true,"error":"","data":"{\"nodes\":{\"node2\":{\"name\":\"node2\",\"addr\":'
    rb"\"127.0.0.1:19402\",\"status\":\"Online\",\"error\":\"\",\"jointime\":"
    rb'\"2026-11-21T02:47:54.304128949Z\",\"lag\":485910,\"packets\":9}}}"}'
)


@pytest.mark.parametrize(
    ("configured", "needed"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)]
)
def test_the_quorum_is_strictly_more_than_half_of_all_members(configured, needed):
    assert quorum.count_needed(configured) == needed
    for connected in range(configured + 1):
        # As Go computes it, in whole numbers; and by the words, with the node itself on both sides.
        by_words = configured <= 1 or 2 * (connected + 1) > configured + 1
        in_go = configured <= 1 or (configured + 1) // 2 < connected + 1
        assert quorum.has_quorum(configured, connected) is by_words is in_go is (connected >= needed)


def test_two_nodes_always_have_a_quorum():
    assert quorum.has_quorum(1, 0)
    assert not quorum.has_quorum(2, 0)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("500ms", 5 * 10**8), ("1.5h", 54 * 10**11), ("1m30s", 9 * 10**10), (".5s", 5 * 10**8), ("1µs", 1000)],
)
def test_durations_are_those_of_go(text, nanoseconds):
    assert parse_go_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "5", "-5s", "+5s", "0s", "25h", "5 s", "1d", "٣s", "1.s.s", "9" * 30 + "s"]
)
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match="duration"):
        parse_go_duration(text)


def test_the_measured_answer_is_decoded_twice():
    (peer,) = parse_view(MEASURED).peers
    shown = (peer.name, peer.address, peer.is_online, peer.lag, peer.packets)
    assert shown == ("node2", "127.0.0.1:19402", True, 485910, 9)


def test_year_one_is_of_a_peer_that_is_not_connected():
    (peer,) = parse_view(answer(row("node2", "Offline", joined=NEVER))).peers
    assert (peer.joined, peer.is_online) == (NEVER, False)


def data(**changed):
    one = {
        "name": "b",
        "addr": "h:1",
        "status": "Online",
        "error": "",
        "jointime": NEVER,
        "lag": 0,
        "packets": 0,
    }
    return envelope({"nodes": {"b": {**one, **changed}}})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"null",
        b"[]",
        b"<html>",
        b"OK",
        b'"reconnect OK"',
        json.dumps({"success": True, "error": ""}).encode(),
        json.dumps({"success": "true", "error": "", "data": "{}"}).encode(),
        json.dumps({"success": True, "error": "", "data": {"nodes": {}}}).encode(),
        envelope(""),
        envelope("[]"),
        envelope({"nodes": []}),
        envelope({}),
        envelope('{"nodes":{},"nodes":{}}'),
        envelope('{"nodes":{"b":{},"b":{}}}'),
        MEASURED.replace(b'{"success":true', b'{"success":true,"success":true'),
        data(name="c"),
        data(status=""),
        data(status="Online\n"),
        data(status=None),
        data(addr="a b"),
        data(jointime="yesterday"),
        data(jointime="2026-11-21"),
        data(lag=2**63),
        data(lag=-(2**63) - 1),
        data(lag=1.5),
        data(lag=True),
        data(packets="9"),
        data(packets=10**400),
        data(error=None),
        envelope({"nodes": {"a/b": {}}}),
        envelope("[" * 100_000),
        envelope("[" * 50 + "]" * 50),
        b"\xff\xfe",
        envelope(" " * 3_000_000),
        envelope({"nodes": {str(number): {} for number in range(2_001)}}),
    ],
)
def test_anything_else_is_unreadable(body):
    with pytest.raises(UnreadableView):
        parse_view(body)


def test_a_refusal_is_no_empty_view():
    for body in (envelope({"nodes": {}}, success=False), envelope({"nodes": {}}, error="no such manager")):
        with pytest.raises(RefusedView):
            parse_view(body)


@given(st.binary(max_size=300) | st.builds(envelope, st.text(max_size=200)))
def test_no_body_breaks_the_reader(body):
    with contextlib.suppress(UnreadableView, RefusedView):
        assert isinstance(parse_view(body), NodeView)


def test_an_unknown_status_never_counts_as_connected():
    shown = NodeView((row("node2", "Connected"), row("node3", "online")))
    assert shown.connected == frozenset()
    assert not shown.has_quorum


def test_managers_are_a_list_of_names():
    assert parse_managers(envelope(["b", "a"])) == ("a", "b")
    for body in (envelope(["a", "a"]), envelope([1]), envelope("x"), envelope(["a b"])):
        with pytest.raises(UnreadableView):
            parse_managers(body)


def client(wire):
    return Client(wire, "node1", "http://10.0.0.1:8080", 10.0, 3.0)


async def test_the_client_reads_the_view_of_its_node():
    wire = FixedWire(body=MEASURED)
    shown = await client(wire).read_view()
    assert [peer.name for peer in shown.peers] == ["node2"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"", NodeUnidentified),
        (200, envelope({"nodes": {}}, success=False, error="unknown"), NodeUnidentified),
        (404, b"404 page not found\n", NodeUnidentified),
        (501, b"", NodeUnidentified),
        (302, b"", NodeUnidentified),
        (403, b"", NodeUnauthorized),
    ],
)
async def test_other_answers_are_never_a_view(status, body, kind):
    with pytest.raises(kind) as caught:
        await client(FixedWire(status, body)).read_view()
    assert "node1" in str(caught.value)


async def test_no_answer_is_unreachable():
    class Silent(FixedWire):
        async def send(self, *_, node, **__):
            raise NodeUnreachable(node, "refused")

    with pytest.raises(NodeUnreachable):
        await client(Silent()).read_view()


@pytest.mark.parametrize(
    ("method", "path", "is_reading"),
    [
        ("GET", "", True),
        ("GET", "/node1", True),
        ("GET", "/node1/admin/node2/reload", False),
        ("GET", "/node1/", False),
        ("GET", "/..", False),
        ("GET", "/node1%2fadmin", False),
        ("GET", "/", False),
        ("GET", "/node1?x=1", False),
        ("POST", "/node1", False),
    ],
)
def test_only_the_two_reading_calls_are_reading(method, path, is_reading):
    url = f"http://10.0.0.1:8080/api/v1/cluster{path}"
    assert any(call.allows(method, url, {}) for call in READS) is is_reading


def problems(shown, count=3, away=frozenset()):
    mesh = Mesh({node.name: node.addr for node in model(count).nodes}, shown, away)
    return {(one.problem, one.node, one.peer) for one in mesh.find_problems(5 * 10**9)}


def test_a_whole_mesh_has_no_problem():
    assert problems(views(3)) == set()


def test_each_kind_of_problem_is_found_once():
    shown = {
        "node1": NodeView((row("node2", address="10.9.9.9:1"), row("node3", lag=6 * 10**9))),
        "node2": NodeView((row("node1", "Offline", error="dial tcp: refused", joined=NEVER), row("node9"))),
        "node3": view("node3"),
    }
    assert problems(shown) == {
        (Problem.ADDRESS, "node1", "node2"),
        (Problem.LAGGING, "node1", "node3"),
        (Problem.MISSING, "node2", "node3"),
        (Problem.EXTRA, "node2", "node9"),
        (Problem.OFFLINE, "node2", "node1"),
        (Problem.ONE_SIDED, "node1", "node2"),
    }


def test_a_node_among_its_own_peers_is_told():
    shown = {**views(3), "node1": NodeView((row("node1"), row("node2"), row("node3")))}
    assert (Problem.EXTRA, "node1", "node1") in problems(shown)


def test_two_spellings_of_one_address_are_no_problem():
    shown = {**views(3), "node1": NodeView((row("node2", address="[::ffff:10.0.0.2]:9654"), row("node3")))}
    assert problems(shown) == set()


def test_the_quorum_is_per_view_and_without_the_reserved():
    shown = {name: view(name, 4, offline=["node4"]) for name in ("node1", "node2", "node3")}
    mesh = Mesh({}, shown)
    assert mesh.keeps_quorum("node1")
    assert not mesh.keeps_quorum("node1", frozenset({"node2"}))
    assert not Mesh({}, shown, frozenset({"node3"})).keeps_quorum("node1")
    assert mesh.is_seen_online("node1")
    assert not mesh.is_seen_online("node4")
