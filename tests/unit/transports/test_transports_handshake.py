"""The answer 101 to a request for another protocol: a status like others, and the end of the connection."""

from __future__ import annotations

import pytest
from support.http_servers import OK, serving

from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.ports.transport import ReadingCall
from reconciler.transports.http import HttpTransport

UPGRADE = {
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)


async def shake(*answers, headers=UPGRADE, method="GET", timeout=5.0, keep=True):
    async with serving(*answers, keep=keep) as (server, url), HttpTransport() as http:
        answer = await http.send(method, f"{url}/ws", node="n", timeout=timeout, headers=headers)
    return server, answer


async def test_the_request_asks_for_the_other_protocol_and_101_is_its_answer():
    server, answer = await shake(SWITCHED)
    assert (answer.status, answer.body) == (101, b"")
    assert answer.headers["sec-websocket-accept"] == "x"
    head = server.requests[0].lower()
    assert head.count(b"\r\nconnection: ") == 1
    assert b"\r\nconnection: upgrade\r\n" in head
    assert b"\r\nupgrade: websocket\r\n" in head


@pytest.mark.parametrize("after", [b"\x81\x02hi", OK, b"x" * 300_000])
async def test_nothing_of_the_other_protocol_is_read(after):
    _, answer = await shake(SWITCHED + after)
    assert (answer.status, answer.body) == (101, b"")


async def test_an_answer_101_without_its_headers_is_still_a_status_for_the_caller_to_judge():
    _, answer = await shake(b"HTTP/1.1 101 Yes\r\n\r\n")
    assert (answer.status, answer.headers) == (101, {})


async def test_a_refusal_is_an_answer():
    told = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\n{"a"}'
    _, answer = await shake(told)
    assert (answer.status, answer.body) == (400, b'{"a"}')


async def test_its_connection_is_neither_a_kept_one_nor_kept():
    async with serving(OK, SWITCHED, OK, OK) as (server, url), HttpTransport() as http:
        assert (await http.send("GET", url, node="n", timeout=5)).status == 200
        assert (await http.send("GET", url, node="n", timeout=5, headers=UPGRADE)).status == 101
        assert (await http.send("GET", url, node="n", timeout=5)).status == 200
    assert server.connections == 2, "the first one is used again, the handshake has its own"


async def test_a_connection_that_closes_is_not_asked_again():
    async with serving(None) as (server, url), HttpTransport() as http:
        with pytest.raises(NodeUnreachable, match="closed the connection without an answer"):
            await http.send("GET", url, node="n", timeout=5, headers=UPGRADE)
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_only_a_get_asks_for_another_protocol(method):
    with pytest.raises(NodeUnreachable, match="switches to another protocol"):
        await shake(SWITCHED, method=method)


async def test_nobody_asked_for_another_protocol():
    with pytest.raises(NodeUnreachable, match="switches to another protocol"):
        await shake(SWITCHED, headers={})


async def test_a_silent_node_is_bounded_in_time():
    with pytest.raises(NodeUnreachable, match=r"no answer within 0.2 s"):
        await shake(9.0, timeout=0.2)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b"HTTP/1.1 101 " + b"x" * 200_000, "headers are larger"),
        (
            b"".join([b"HTTP/1.1 101 Yes\r\n", *[b"A: %d\r\n" % n for n in range(20_000)]]),
            "headers are larger",
        ),
        (b"\x81\x05hello", "not valid HTTP"),
    ],
)
async def test_a_hostile_answer_is_bounded(told, words):
    with pytest.raises((NodeUnreachable, NodeUnidentified), match=words):
        await shake(told)


def test_a_reading_call_has_exactly_its_query():
    call = ReadingCall("GET", "/socket.io/", query="EIO=4&transport=websocket")
    assert call.allows("GET", "http://lb/socket.io/?EIO=4&transport=websocket", {})
    for url in (
        "/socket.io/",
        "/socket.io/?EIO=3&transport=websocket",
        "/socket.io/?EIO=4&transport=websocket&x",
    ):
        assert not call.allows("GET", f"http://lb{url}", {})
    assert not ReadingCall("GET", "/status").allows("GET", "http://lb/status?x", {})


@pytest.mark.parametrize(
    "url",
    [
        "http://root@lb/status",
        "http://lb/status#part",
        "http://lb/status?x#part",
        "http://lb/sta\ntus",
        "http://lb/status\t",
        "http://lb\\@other/status",
        "http:///status",
        "ftp://lb/status",
        "lb/status",
        "http://lb?/status",
    ],
)
def test_no_other_spelling_of_a_url_passes_as_a_reading_call(url):
    call = ReadingCall("GET", "/status")
    assert call.allows("GET", "http://[fe80::1%25eth0]:10040/status", {})
    assert not call.allows("GET", url, {})
    assert not call.allows("POST", "http://lb/status", {})
