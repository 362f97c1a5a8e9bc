"""Connections are bounded in number, size and time, and what one caller does harms no other one."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from support.node_servers import RECENT, MemoryNodes, NodeSite, http_date
from support.waiting import wait_until

from reconciler.server.nodes import connection, listener, service

POLL = f"GET /t1/setting HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: {http_date(RECENT)}\r\n\r\n".encode()


def report(body=b"{}", *more):
    head = [b"POST /t1/report HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *more]
    return b"\r\n".join([*head, b"", body])


@pytest.fixture
async def site():
    store = MemoryNodes()
    store.add("t1", "n1")
    store.add("t2", "n2")
    async with NodeSite(store) as site:
        yield site


async def read_all(reader):
    """What the server sends until it ends the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def exchange(site, data):
    async with site.raw() as (reader, writer):
        writer.write(data)
        return await read_all(reader)


def statuses(data):
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


async def read_status(reader):
    async with asyncio.timeout(10):
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


async def test_requests_that_come_together_are_answered_in_their_order(site):
    last = POLL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answered = await exchange(site, POLL + report() + POLL + report(b"{") + last)
    assert statuses(answered) == [304, 204, 304, 400, 304]


async def test_a_flood_of_requests_in_one_piece_is_cut(site):
    site.store.gate.clear()
    async with site.raw() as (reader, writer):
        writer.write(report() * 1000)
        await wait_until(lambda: site.counters.polls or site.connected)
        await asyncio.sleep(0.05)
        site.store.gate.set()
        answered = statuses(await read_all(reader))
    assert len(answered) <= connection.MOST_PIPELINED + 2
    assert set(answered) == {204}


async def test_a_request_byte_by_byte_is_answered(site):
    async with site.raw() as (reader, writer):
        for byte in report(b'{"kind": "slow"}'):
            writer.write(bytes([byte]))
            await writer.drain()
        assert await read_status(reader) == 204


async def test_a_body_in_chunks_is_read(site):
    head = b"POST /t1/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert statuses(await exchange(site, head + b"1\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n")) == [204]


async def test_a_caller_that_asks_first_may_send_its_body(site):
    async with site.raw() as (reader, writer):
        head, _, body = report(b"{}", b"Expect: 100-continue").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await read_status(reader) == 100
        writer.write(body)
        assert await read_status(reader) == 204


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /t1/setting HTTP/1.1\r\n\r\n", 400),
        (b"GET /t1/setting HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET /t1/setting HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /t1/setting HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: a\r\nIf-Modified-Since: b\r\n\r\n", 400),
        (b"GET /t1/setting HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /t1/setting HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 600_000, 431),
        (b"GET /t1/setting HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 70 + b"\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (
            b"GET /t1/setting HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"A%d: a\r\n" % n for n in range(70))
            + b"\r\n",
            431,
        ),
        (b"POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"POST /t1/report HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (b"POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: magic\r\n\r\n", 417),
        (b"CONNECT /t1/setting HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET http://elsewhere/t1/setting HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /%74%31/setting HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /forged/setting HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET //setting HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else ascii(value[:60]),
)
async def test_what_is_no_request_of_a_node_is_refused_and_the_connection_ends(site, data, status):
    assert statuses(await exchange(site, data)) == [status]
    async with site.raw() as (reader, writer):
        writer.write(POLL)
        assert await read_status(reader) == 304


async def test_a_body_that_is_too_large_is_refused_before_and_while_it_comes(site, monkeypatch):
    monkeypatch.setattr(service.NodeService, "largest_body", 1000)
    assert statuses(await exchange(site, report(b"a" * 5000))) == [413]
    head = b"POST /t1/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(await exchange(site, head + b"1388\r\n" + b"a" * 5000)) == [413]


@pytest.mark.parametrize("piece", [b"", b"a"])
@pytest.mark.parametrize(
    "begin",
    [b"GET /", b"GET /t1/setting HTTP/1.1\r\nA: ", POLL + b"GET /t1"],
    ids=["target", "header", "next"],
)
async def test_a_head_that_does_not_come_or_trickles_has_a_deadline(site, monkeypatch, piece, begin):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(listener, "SWEEP_SECONDS", 0.05)
    async with site.raw() as (reader, writer):
        writer.write(begin)
        await writer.drain()
        await trickle(reader, writer, piece)
        assert site.counters.dropped["deadline"] == 1


async def trickle(reader, writer, piece):
    ended = asyncio.create_task(read_all(reader))
    while not ended.done():
        writer.write(piece)
        await asyncio.sleep(0.01)


async def test_a_body_that_trickles_has_a_deadline(site, monkeypatch):
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.2)
    async with site.raw() as (reader, writer):
        writer.write(b"POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        await trickle(reader, writer, b" ")
        assert site.counters.dropped["deadline"] == 1


async def test_a_connection_between_two_requests_ends_in_order(site, monkeypatch):
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.1)
    async with site.raw() as (reader, writer):
        writer.write(POLL)
        assert statuses(await read_all(reader)) == [304]
    assert not site.counters.dropped


async def test_many_connections_of_one_node_cost_its_own_ones_only(site):
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(site.raw())
        other[1].write(POLL.replace(b"/t1/", b"/t2/"))
        assert await read_status(other[0]) == 304
        opened = []
        for _ in range(3 * service.NODE_CONNECTIONS):
            opened.append(await stack.enter_async_context(site.raw()))
            opened[-1][1].write(POLL)
            assert await read_status(opened[-1][0]) == 304
        assert site.server.counters.dropped["node"] == 2 * service.NODE_CONNECTIONS
        other[1].write(POLL.replace(b"/t1/", b"/t2/"))
        assert await read_status(other[0]) == 304


async def test_callers_without_a_token_make_room_first(monkeypatch):
    monkeypatch.setattr(listener, "CONNECTIONS", 20)
    store = MemoryNodes()
    store.add("t1", "n1")
    async with NodeSite(store) as site, AsyncExitStack() as stack:
        known = await stack.enter_async_context(site.raw())
        known[1].write(POLL)
        assert await read_status(known[0]) == 304
        idle = [await stack.enter_async_context(site.raw()) for _ in range(60)]
        assert await read_all(idle[0][0]) == b""
        known[1].write(POLL)
        assert await read_status(known[0]) == 304
        await wait_until(lambda: site.counters.dropped["room"] >= 40)


async def test_a_node_that_calls_too_often_is_told_so_and_others_are_not(monkeypatch):
    store = MemoryNodes()
    store.add("t1", "n1")
    store.add("t2", "n2")
    store.offer("n1", b"content", taken=RECENT)
    async with NodeSite(store, rate=3) as site:
        asked = {"If-Modified-Since": http_date(RECENT)}
        found = [await site.client.get("/t1/setting", headers=asked) for _ in range(5)]
        assert [one.status_code for one in found] == [304, 304, 304, 429, 429]
        assert int(found[-1].headers["retry-after"]) >= 1
        assert (await site.client.get("/t2/setting", headers=asked)).status_code == 304
        # the node has the date of its offer already, and would not ask for it again
        assert (await site.client.get("/t1/package/o1.tgz")).status_code == 200
        assert site.logged("node calls too often")[0]["node"] == "n1"


async def test_a_product_that_fails_ends_one_request_only(site):
    answer = await site.client.post("/t1/report", json={"crash": 1})
    assert answer.status_code == 500
    assert site.logged("unexpected error in a call of a node")
    assert (await site.client.post("/t1/report", json={})).status_code == 204


async def test_a_caller_that_reads_no_answers_is_read_no_further(site, monkeypatch):
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    async with site.raw() as (_, writer):
        with pytest.raises((ConnectionError, TimeoutError)):
            await _flood(writer)
        assert sum(site.counters.dropped.values()) or site.counters.refused[429]


async def _flood(writer):
    async with asyncio.timeout(5):
        while True:
            writer.write(POLL * 10)
            await writer.drain()


async def test_bodies_of_one_node_in_memory_are_bounded_before_those_of_all(site, monkeypatch):
    monkeypatch.setattr(service, "NODE_HELD", 3000)
    async with site.raw() as (_, writer):
        writer.write(report(b"{" + b" " * 2000 + b"}")[:-1])  # its last byte does not come
        await wait_until(lambda: site.connected)
        assert statuses(await exchange(site, report(b"{" + b" " * 2000 + b"}"))) == [503]
        assert (await site.client.post("/t2/report", content=b"{" + b" " * 2000 + b"}")).status_code == 204


async def test_bodies_that_follow_without_a_gap_are_counted_as_long_as_they_are_in_memory(site, monkeypatch):
    monkeypatch.setattr(service, "NODE_HELD", 5000)
    one = report(b"{" + b" " * 2000 + b"}")
    async with site.raw() as (reader, writer):
        writer.write(one[:-1])
        for _ in range(10):
            writer.write(one[-1:] + one[:-1])  # a part of the next one is there before each answer
            async with asyncio.timeout(5):
                assert await read_status(reader) == 204


async def test_bodies_of_strangers_leave_the_memory_to_nodes(site, monkeypatch):
    monkeypatch.setattr(service, "MOST_UNKNOWN", 2)
    monkeypatch.setattr(connection, "MOST_HELD", 7000)
    async with AsyncExitStack() as stack:
        for number in range(4):
            _, writer = await stack.enter_async_context(site.raw())
            head = f"POST /{number:043}/report HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n"
            writer.write(head.encode() + b" " * 2999)
            await writer.drain()
        await wait_until(lambda: site.counters.refused.total() == 4)
        answer = await site.client.post("/t1/report", content=b"{" + b" " * 500 + b"}")
        assert answer.status_code == 204


async def test_bodies_in_memory_are_bounded_for_all_callers_together(site, monkeypatch):
    monkeypatch.setattr(connection, "MOST_HELD", 3000)
    site.store.gate.clear()
    async with site.raw() as (reader, writer):
        writer.write(report(b'{"kind": "%s"}' % (b"k" * 2000)))
        await wait_until(lambda: site.connected)
        assert statuses(await exchange(site, report(b"{" + b" " * 2000 + b"}"))) == [503]
        site.store.gate.set()
        assert await read_status(reader) == 204
    async with site.raw() as (reader, writer):
        writer.write(report(b"{" + b" " * 2000 + b"}"))
        assert await read_status(reader) == 204
