"""M2's purge: which texts are targets, what is of high risk, and what a node's answer means."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from support.simulated_nodes import Host, m2_cluster, setting

from reconciler.core.operations import OperationState
from reconciler.desired.fleet import add_desired_state
from reconciler.drivers.m2.purge import (
    LONGEST_CALL,
    MOST_TARGETS,
    PurgeOperation,
    read_counts,
    read_purge_answer,
)
from reconciler.drivers.m2.purge_targets import InvalidTarget, pack_targets, read_target, unpack_targets
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import NodeUnreachable, UsageError
from reconciler.ports.transport import HttpAnswer
from reconciler.transports.bundle import open_transports

PURGE = PurgeOperation()


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://WWW.Site1.com/Image.jpg", "http://www.site1.com/Image.jpg"),
        ("www.site1.com/image/*.bmp", "www.site1.com/image/*.bmp"),
        ("HTTPS://a.com:8443/x?y=1&z=2", "https://a.com:8443/x?y=1&z=2"),
        ("a.com/", "a.com/"),
        ("  a.com/x \n", "a.com/x"),
        ("a.com/그림.png", "a.com/%EA%B7%B8%EB%A6%BC.png"),
        ("bücher.de/x", "xn--bcher-kva.de/x"),
        ("a.com/a%20b", "a.com/a%20b"),
        ("[2001:db8::7]/x", "[2001:db8::7]/x"),
    ],
)
def test_a_target_has_one_normal_form(text, normal):
    assert read_target(text).text == normal
    assert not read_target(text).extent
    assert read_target(normal).text == normal


@pytest.mark.parametrize(
    ("text", "extent"),
    [
        ("*", "everything on all hosts"),
        ("**", "everything on all hosts"),
        ("a.com/*", "everything on a.com"),
        ("http://a.com/*.*", "everything on a.com"),
        ("a.com/**/*", "everything on a.com"),
        ("a.com/*?*", "everything on a.com"),
        ("*/x.jpg", "pages on all hosts"),
        ("*.a.com/img/*", "pages on every host *.a.com"),
        ("*.a.com/*", "everything on every host *.a.com"),
    ],
)
def test_a_whole_host_is_of_high_risk(text, extent):
    assert read_target(text).extent == extent


@pytest.mark.parametrize("text", ["a.com/img/*", "a.com/*.jpg", "a.com/", "a.com/index*"])
def test_a_part_of_a_host_is_not(text):
    assert not read_target(text).extent


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("a.com", "no path: write a.com/ for"),
        ("/x.jpg", "it has no host"),
        ("ftp://a.com/x", "neither http nor https"),
        ("javascript:alert(1)", "its host is not a name"),
        ("http://kim:secret@a.com/x", "it has a user name"),
        ("a.com/x|b.com/y", "each target alone"),
        ("a.com/x#top", "the character #"),
        ("a.com/a b", "write %20"),
        ("a.com/a\x1b[31mb", "a control character"),
        ("a.com/a\r\nHost: evil", "a control character"),
        ("a.com/\u202egpj.x", "invisible"),
        ("a.com/50%", "write %25"),
        ("a..\x00", "a control character"),
        ("a.com/" + "x" * 5000, "more than 4,000"),
        ("-a.com/x", "not a name"),
        ("a\ud800.com/x", "invisible"),
    ],
)
def test_what_is_no_target(text, words):
    with pytest.raises(InvalidTarget, match=words.replace("|", r"\|")):
        read_target(text)


@given(st.text(max_size=80))
def test_whatever_is_accepted_is_plain_and_stays_the_same(text):
    try:
        found = read_target(text)
    except InvalidTarget:
        return
    assert found.text.isascii()
    assert found.text.isprintable()
    assert " " not in found.text
    assert "|" not in found.text
    assert read_target(found.text) == found


def test_each_target_once_and_each_error_with_its_reason():
    found = PURGE.read_targets(["a.com/x", "A.com/x", "b.com/*"])
    assert [one.text for one in found] == ["a.com/x", "b.com/*"]
    with pytest.raises(UsageError) as caught:
        PURGE.read_targets(["a.com", "http://kim:secret@a.com/x", "a.com/ok"])
    assert "secret" not in str(caught.value.message)
    assert "no path" in caught.value.message
    with pytest.raises(UsageError, match="needs a target"):
        PURGE.read_targets([])


def test_a_million_targets_are_refused_before_they_are_read():
    with pytest.raises(UsageError, match=r"at most 10,000"):
        PURGE.read_targets([""] * (MOST_TARGETS + 1))


def test_a_part_gives_its_targets_back():
    targets = ("a.com/x", "*")
    assert unpack_targets(pack_targets(targets)) == targets


def answer(status, value):
    return HttpAnswer(status, {}, value if isinstance(value, bytes) else json.dumps(value).encode())


def done(result, status="OK"):
    return {"version": "2", "method": "purge", "status": status, "result": result}


def test_done_at_once_has_counts():
    found = read_purge_answer("n", answer(201, done({"Count": 24, "Size": 3747491, "Time": 12})))
    assert found.state is OperationState.DONE
    assert found.totals == {"count": 24, "size": 3747491, "time": 12}


def test_a_queued_purge_is_done_without_counts():
    found = read_purge_answer("n", answer(200, done({"Count": 0, "Size": 0, "Time": 4, "Id": "x"})))
    assert found.state is OperationState.DONE
    assert found.totals == {"queued": 1}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "enablePurge"),
        (403, b"", "enablePurge"),
        (404, b"not found", "with 404"),
        (200, b"<html>hello</html>", "with 200"),
        (200, b'{"status": "Fail", "result": "busy"}', "busy"),
        (201, b"[]", "with 201"),
        (503, done("", "OK"), "with 503"),
    ],
)
def test_what_is_no_success(status, body, words):
    found = read_purge_answer("n", answer(status, body))
    assert found.state is OperationState.FAILED
    assert words in found.reason


@pytest.mark.parametrize(
    "value", [None, [], {"count": True}, {"Count": -1}, {"count": float("nan")}, {"x": 3}, {"size": "9"}]
)
def test_absurd_counts_are_left_out(value):
    assert read_counts(value) == {}


def desired(*addresses, **files):
    nodes = {f"n{number}": address for number, address in enumerate(addresses)}
    fleet = Host(None).fleet("s", m2_cluster("edge", nodes), **files)
    return add_desired_state(fleet, DRIVERS).desired[0].state


def test_a_host_without_hosting_is_told():
    own = desired(
        "192.0.2.1:1", s_json=setting(hosting=[{"name": "a.com", "aliases": ["b.com"], "listen": "*:80"}])
    )
    assert PURGE.remark(own, ["a.com/x", "http://B.com/", "*", "*.c.com/x"]) == ()
    assert PURGE.remark(own, ["c.com/x"]) == ("a host that no hosting or alias has: c.com",)
    assert PURGE.remark(desired("192.0.2.1:1"), ["c.com/x"]) == ()


async def serve(handler, unused_tcp_port):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    return runner


async def test_long_lists_become_several_calls_and_are_counted_together(unused_tcp_port):
    seen = []

    async def node(request):
        assert request.path == "/command/async/purge"
        assert len(request.raw_path) < 8000
        targets = request.query["url"].split("|")
        seen.extend(targets)
        return web.json_response(done({"Count": len(targets), "Size": 10, "Time": 1}), status=201)

    runner = await serve(node, unused_tcp_port)
    targets = [
        one.text for one in PURGE.read_targets([f"a.com/{number:04}/%20?a=1&b=*" for number in range(900)])
    ]
    try:
        async with open_transports() as transports:
            found = await PURGE.call(desired(f"127.0.0.1:{unused_tcp_port}"), "n0", targets, transports)
    finally:
        await runner.cleanup()
    assert seen == targets
    assert found.state is OperationState.DONE
    assert found.totals["count"] == 900
    assert LONGEST_CALL < 8000


async def test_a_node_that_does_not_answer_is_no_failure_of_the_purge(unused_tcp_port):
    async with open_transports() as transports:
        with pytest.raises(NodeUnreachable):
            await PURGE.call(desired(f"127.0.0.1:{unused_tcp_port}"), "n0", ["a.com/x"], transports)
