"""Exchanges over TCP against odd servers: complete answers, plain reasons, bounds, nothing sent twice."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import pytest
from support.call_errors import words as words_of
from support.http_servers import listening
from support.ssh_servers import machines_of, ssh_site

from reconciler.core.endpoint import SocketAddress
from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.ports.transport import OtherProtocol
from reconciler.transports.streams import StreamTransport

KIB = 1024


def at(url):
    parts = urlsplit(url)
    return SocketAddress(parts.hostname, parts.port)


class UntilNewline:
    """Complete at the first line end; counts what it was given."""

    def __init__(self):
        self.parts = []

    def __call__(self, part):
        self.parts.append(part)
        if b"HTTP" in part:
            raise OtherProtocol("is HTTP,\x1b[31m\nwith a bell")
        return b"\n" in part


def answering(*parts, pause=0.0, takes=4, ends=False):
    async def serve(reader, writer):
        await reader.readexactly(takes)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        if ends:
            writer.close()
        else:
            await asyncio.sleep(60)

    return serve


async def ask(address, *, streams=None, request=b"ping", timeout=5.0, limit=KIB, reader=None, way="ask"):
    call = getattr(streams or StreamTransport(), way)
    done = reader or UntilNewline()
    return await call(address, request, is_complete=done, node="redis", timeout=timeout, limit=limit)


async def failure(address, **more):
    with pytest.raises(NodeUnreachable) as caught:
        await ask(address, **more)
    assert caught.value.node == "redis"
    return caught.value


@pytest.mark.parametrize("way", ["ask", "send"])
async def test_an_answer_is_read_until_it_is_complete_each_part_once(way):
    reader = UntilNewline()
    async with listening(answering(b"po", b"n", b"g\n", pause=0.02)) as url:
        assert await ask(at(url), way=way, reader=reader) == b"pong\n"
    assert b"".join(reader.parts) == b"pong\n"
    assert len(reader.parts) == 3


async def test_each_call_has_a_connection_of_its_own_which_ends_with_it():
    ended = []

    async def serve(reader, writer):
        await reader.readexactly(4)
        writer.write(b"pong\n")
        await reader.read()
        ended.append(writer.get_extra_info("peername"))

    async with listening(serve) as url:
        streams = StreamTransport()
        for _ in range(3):
            await ask(at(url), streams=streams)
        async with asyncio.timeout(5):
            while len(ended) < 3:
                await asyncio.sleep(0.01)
    assert len(set(ended)) == 3


@pytest.mark.parametrize(
    ("parts", "words"),
    [((), "closed the connection without an answer"), ((b"po",), "closed the connection in the middle")],
)
async def test_an_end_before_the_answer_is_complete_leaves_the_effect_unknown(parts, words):
    async with listening(answering(*parts, ends=True)) as url:
        error = await failure(at(url), way="send")
    assert words in error.reason
    assert (error.is_lost, error.sign) == (True, Liveness.ALIVE)


async def test_silence_is_bounded_in_time():
    async with listening(answering()) as url:
        error = await failure(at(url), timeout=0.2)
    assert words_of(error) == "no answer within 0.2 s"
    assert error.is_lost


async def test_a_dribbling_node_is_bounded_in_time_and_each_byte_is_read_once():
    reader = UntilNewline()
    async with listening(answering(*[b"x"] * 500, pause=0.002)) as url:
        begin = time.monotonic()
        error = await failure(at(url), timeout=0.4, reader=reader)
    assert words_of(error) == "no answer within 0.4 s"
    assert time.monotonic() - begin < 2
    assert sum(map(len, reader.parts)) < 500


async def test_an_endless_answer_is_bounded_in_size():
    async with listening(answering(*[b"x" * 65536] * 1000)) as url:
        error = await failure(at(url), limit=100 * KIB)
    assert words_of(error) == "its answer is larger than 100 KB"


async def test_another_protocol_is_no_answer_and_its_text_is_one_harmless_line():
    async with listening(answering(b"HTTP/1.1 400\r\n")) as url:
        error = await failure(at(url))
    assert isinstance(error, NodeUnidentified)
    assert error.reason.startswith("its answer is HTTP,")
    assert error.reason.isprintable()


async def test_a_node_that_answers_without_reading_the_request_does_not_hold_the_call():
    async with listening(answering(b"-DENIED\n", takes=0, ends=True)) as url:
        assert await ask(at(url), request=b"x" * 20_000_000) == b"-DENIED\n"


async def test_a_refused_connection_sent_nothing():
    async with listening(answering()) as url:
        address = at(url)
    error = await failure(address)
    assert words_of(error) == "connection refused"
    assert (error.is_lost, error.sign) == (False, Liveness.SILENT)


@pytest.mark.parametrize("address", [("", 1), ("127.0.0.1", 0), ("127.0.0.1", 70_000), ("a..b", 1)])
async def test_an_address_that_is_none_sends_nothing(address):
    error = await failure(SocketAddress(*address))
    assert not error.is_lost


async def test_the_networks_of_the_host_hold():
    streams = StreamTransport(Host(HostConfig(networks=["192.0.2.0/24"])))
    async with listening(answering(b"pong\n")) as url:
        error = await failure(at(url), streams=streams)
        assert "in none of the networks" in error.reason
        allowed = StreamTransport(Host(HostConfig(networks=["127.0.0.0/8"])))
        assert await ask(at(url), streams=allowed) == b"pong\n"


async def test_calls_at_the_same_time_are_bounded():
    open_now, most = 0, 0

    async def serve(reader, writer):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await reader.readexactly(4)
        await asyncio.sleep(0.05)
        open_now -= 1
        writer.write(b"pong\n")
        await writer.drain()

    async with listening(serve) as url:
        streams = StreamTransport(concurrency=3)
        await asyncio.gather(*(ask(at(url), streams=streams) for _ in range(9)))
    assert most == 3


async def test_a_node_behind_a_bastion_is_reached_through_it(tmp_path):
    async with (
        ssh_site(tmp_path / "bastion") as bastion,
        listening(answering(b"pong\n")) as url,
        machines_of({"door": bastion.way(host="127.0.0.1")}) as machines,
    ):
        streams = StreamTransport(tunnels=machines)
        assert await ask(at(url), streams=streams.through("door")) == b"pong\n"
        assert bastion.counts.tunnels == [tuple(at(url))]
        error = await failure(at(url), streams=streams.through("other"))
        assert "no way 'other'" in error.reason
        assert not error.is_lost
        error = await failure(SocketAddress("redis.invalid", 6379), streams=streams.through("door"))
        assert "no connection from there" in error.reason
    without = await failure(at(url), streams=StreamTransport().through("door"))
    assert words_of(without) == "this host has no way `ssh.door`"
