"""What is seen through the load balancer, and what each failure means."""

import base64
import hashlib
import json
import re

import pytest
from support.http_servers import listening

from reconciler.drivers.collab.balancer_client import READS, BalancerClient
from reconciler.errors import NodeUnreachable
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.transport import Transports
from reconciler.transports.http import HttpTransport

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def make_status(pid=900):
    main = {"connections": {"total": 1, "current": 1, "max": 1}, "up_since": "2018-4-18 02:12:42", "pid": pid}
    body = json.dumps({"version": "11", "enableTls": False, "state": "running", "main": main}).encode()
    return b"HTTP/1.1 200 OK\r\nX-Reconcile-Upstream: a1b2\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def refuse(status, body=b""):
    return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def accept(head, *, proof=None, upgrade=b"websocket"):
    key = re.search(rb"sec-websocket-key: (\S+)", head, re.IGNORECASE)[1]
    found = proof or base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello" % (upgrade, found)
    )


async def observe(shake, statuses=None):
    """What the client sees, and the targets that it called."""
    told = list(statuses or [make_status()])
    targets = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ")[1].decode()
        targets.append(target)
        if target.startswith("/status"):
            answer = told.pop(0) if len(told) > 1 else told[0]
        else:
            answer = shake(head, target)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with listening(serve) as url, HttpTransport() as http:
        reading = restrict_to_reading(Transports(http), READS).http
        return await BalancerClient(reading, "lb", f"{url}/", 2).observe(), targets


async def test_both_ways_work():
    view, targets = await observe(lambda head, _: accept(head))
    assert view.is_working
    assert (view.status.pid, view.marker, view.handshake, view.problem) == (900, "a1b2", 101, "")
    assert targets == ["/status", "/socket.io/?EIO=4&transport=websocket", "/status"]


async def test_a_server_of_the_older_protocol_is_asked_in_it():
    def shake(head, target):
        return (
            accept(head) if "EIO=3" in target else refuse(400, b'{"code":5,"message":"Unsupported protocol"}')
        )

    view, targets = await observe(shake)
    assert view.is_working
    assert targets[1:3] == ["/socket.io/?EIO=4&transport=websocket", "/socket.io/?EIO=3&transport=websocket"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refuse(400), "lacks `proxy_http_version 1.1`"),
        (refuse(404), "no `location /socket.io/`"),
        (refuse(200, b"ok"), "does not pass on `Upgrade`"),
        (refuse(426), "does not pass on `Upgrade`"),
        (refuse(502), "reaches no server"),
        (refuse(504), "does not answer in time"),
        (refuse(301), "it redirects"),
        (refuse(418), "no server behind it opened a WebSocket"),
    ],
)
async def test_what_a_refused_handshake_means(answer, words):
    view, _ = await observe(lambda *_: answer)
    assert not view.is_working
    assert view.handshake == int(answer[9:12])
    assert words in view.problem


@pytest.mark.parametrize("options", [{"proof": b"AAAA"}, {"upgrade": b"h2c"}])
async def test_101_counts_only_with_the_proof_of_a_websocket(options):
    view, _ = await observe(lambda head, _: accept(head, **options))
    assert (view.is_working, view.handshake) == (False, 0)
    assert "does not prove" in view.problem


async def test_a_closed_handshake_is_told():
    view, _ = await observe(lambda *_: None)
    assert (view.handshake, view.status.pid) == (0, 900)
    assert "closed the connection" in view.problem


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refuse(502), "reaches no server of its upstream (502)"),
        (refuse(404), "not an answer of a Collaboration Server"),
        (refuse(200, b"<html>"), "not an answer of a Collaboration Server"),
        (refuse(401), "401"),
    ],
)
async def test_what_another_status_means(answer, words):
    view, _ = await observe(lambda head, _: accept(head), [answer])
    assert (view.status, view.is_working) == (None, False)
    assert words in view.problem


async def test_two_readings_of_different_servers_are_not_sticky():
    view, _ = await observe(lambda head, _: accept(head), [make_status(1), make_status(2)])
    assert view.is_working
    assert "sessions are not sticky" in view.problem


async def test_a_balancer_that_does_not_answer_is_unreachable():
    with pytest.raises(NodeUnreachable):
        await observe(lambda *_: None, [b""])
