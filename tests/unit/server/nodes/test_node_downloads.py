"""Downloads: complete, in parts, by condition, in turn, and never for ever."""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.node_servers import RECENT, MemoryNodes, NodeSite, freeze, http_date
from support.offers import make_offer
from support.waiting import wait_until

from reconciler.core.offers import OfferFeed
from reconciler.ports.central_server import InboundAnswer
from reconciler.server.nodes import connection
from reconciler.server.nodes.content import select_content
from reconciler.server.nodes.download_queue import SLOTS_PER_NODE, DownloadQueue
from reconciler.server.nodes.node_table import ServedNode

BIG = os.urandom(12_000_000)
"""More than all buffers of the kernel between two sockets."""

GET = b"GET /%s/package/o-%s.tgz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def site():
    store = MemoryNodes()
    store.add("t1", "n1")
    store.offer("n1", b"0123", b"456", b"789", taken=RECENT)
    async with NodeSite(store) as site:
        yield site


@pytest.mark.parametrize(
    ("headers", "status", "body", "range_"),
    [
        ({}, 200, b"0123456789", None),
        ({"Range": "bytes=2-5"}, 206, b"2345", "bytes 2-5/10"),
        ({"Range": "bytes=4-"}, 206, b"456789", "bytes 4-9/10"),
        ({"Range": "bytes=-3"}, 206, b"789", "bytes 7-9/10"),
        ({"Range": "bytes=-30"}, 206, b"0123456789", "bytes 0-9/10"),
        ({"Range": "bytes=0-999"}, 206, b"0123456789", "bytes 0-9/10"),
        ({"Range": "bytes=10-"}, 416, b"", "bytes */10"),
        ({"Range": "bytes=-0"}, 416, b"", "bytes */10"),
        ({"Range": "bytes=5-2"}, 200, b"0123456789", None),
        ({"Range": "bytes=0-1,4-5"}, 200, b"0123456789", None),
        ({"Range": "lines=0-1"}, 200, b"0123456789", None),
        ({"Range": "bytes=0-1", "If-Range": '"o1"'}, 206, b"01", "bytes 0-1/10"),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200, b"0123456789", None),
        ({"Range": "bytes=0-1", "If-Range": http_date(RECENT)}, 206, b"01", "bytes 0-1/10"),
        ({"Range": "bytes=0-1", "If-Range": http_date(RECENT - timedelta(1))}, 200, b"0123456789", None),
        ({"If-None-Match": '"o1"'}, 304, b"", None),
        ({"If-None-Match": 'W/"o1"'}, 304, b"", None),
        ({"If-None-Match": "*"}, 304, b"", None),
        ({"If-None-Match": '"a", "o1"'}, 304, b"", None),
        ({"If-None-Match": '"a"'}, 200, b"0123456789", None),
        ({"If-Match": '"a"'}, 412, b"", None),
        ({"If-Match": '"o1"'}, 200, b"0123456789", None),
        ({"If-Match": 'W/"o1"'}, 412, b"", None),
        # the node has this date from the feed already, and not yet the content
        ({"If-Modified-Since": http_date(RECENT)}, 200, b"0123456789", None),
    ],
)
async def test_conditions_and_ranges(site, headers, status, body, range_):
    answer = await site.client.get("/t1/package/o1.tgz", headers=headers)
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, body, range_)
    head = await site.client.head("/t1/package/o1.tgz", headers=headers)
    assert (head.status_code, head.content) == (status, b"")
    if status in {200, 206}:
        assert head.headers["content-length"] == str(len(body))
        assert (answer.headers["etag"], answer.headers["accept-ranges"]) == ('"o1"', "bytes")


@pytest.mark.parametrize("first", range(11))
@pytest.mark.parametrize("last", range(11))
def test_every_range_over_every_border_of_pieces(first, last):
    pieces = (b"0123", b"", b"456", b"789")
    answer = select_content({"range": f"bytes={first}-{last}"}, InboundAnswer(200, {"etag": '"a"'}, pieces))
    if first > last:
        assert answer.status == 200
    elif first > 9:
        assert answer.status == 416
    else:
        assert b"".join(answer.body) == b"0123456789"[first : last + 1]


async def test_another_nodes_offer_is_not_found(site):
    site.store.add("t2", "n2")
    await site.refreshed()
    assert (await site.client.get("/t2/package/o1.tgz")).status_code == 404
    assert (await site.client.get("/t1/package/o2.tgz")).status_code == 404


async def test_content_that_cannot_be_decrypted_is_told_and_not_made_up(site):
    site.store.contents.clear()
    assert (await site.client.get("/t1/package/o1.tgz")).status_code == 503
    assert site.logged("the content of an offer cannot be read")[0]["offer"] == "o1"
    assert (await site.client.get("/t1/setting")).status_code == 503


async def test_head_of_a_poll_delivers_nothing(site):
    site.store.offer("n1", b"new", id="o2", last_modified=RECENT + timedelta(seconds=1))
    await site.refreshed()
    assert (await site.client.head("/t1/setting")).status_code == 200
    assert not [call for call in site.store.calls if call.took]
    assert (await site.client.get("/t1/setting")).status_code == 200
    assert [call.took for call in site.store.calls if call.took] == ["o2"]


async def test_the_id_from_the_head_of_a_poll_downloads_nothing_that_was_not_taken(site):
    site.store.offer("n1", b"new", id="o2", last_modified=RECENT + timedelta(seconds=1))
    await site.refreshed()
    assert (await site.client.head("/t1/setting")).status_code == 200
    assert (await site.client.get("/t1/package/o2.tgz")).status_code == 404
    assert (await site.client.get("/t1/setting")).status_code == 200
    assert (await site.client.get("/t1/package/o2.tgz")).content == b"new"


def test_a_reading_from_before_an_offer_was_taken_does_not_take_it_back():
    node, offer = ServedNode((1, "c", "n")), make_offer()
    stale = {OfferFeed.SETTING: (offer, None)}
    node.take_over(stale)
    assert node.find_offer("o1").taken is None
    node.set_taken(OfferFeed.SETTING, replace(offer, taken=RECENT))
    node.take_over(stale)
    assert node.offers[OfferFeed.SETTING] == (replace(offer, taken=RECENT),) * 2


async def fill(*, nodes, content, **options):
    store = MemoryNodes()
    for number in range(nodes):
        store.add(f"t{number}", f"n{number}")
        store.offer(f"n{number}", content, id=f"o-{number}", taken=RECENT)
    return NodeSite(store, **options)


def connect(site):
    """A socket whose buffer holds little, so that what is not read stays with the server."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect(tuple(site.address))
    opened.setblocking(False)
    return opened


async def begin(site, stack, number):
    opened = stack.enter_context(connect(site))
    await asyncio.get_running_loop().sock_sendall(opened, GET % (b"t%d" % number, b"%d" % number))
    return opened


async def read_until_end(opened, size):
    got = 0
    loop = asyncio.get_running_loop()
    while got < size:
        data = await loop.sock_recv(opened, 1 << 20)
        if not data:
            break
        got += len(data)
    return got


async def test_downloads_at_once_are_bounded_until_the_other_end_has_read_them():
    # small enough for the buffers of this host: the program has written them long before they are read
    content = os.urandom(200_000)
    async with await fill(nodes=6, content=content, downloads=2) as site, AsyncExitStack() as stack:
        opened = [await begin(site, stack, number) for number in range(6)]
        await wait_until(lambda: site.counters.downloads == 2)
        await asyncio.sleep(0.3)
        assert site.counters.downloads == 2
        for one in opened:
            async with asyncio.timeout(10):
                assert await read_until_end(one, len(content)) > len(content) - 1
        assert site.counters.downloads == 6


@pytest.mark.parametrize("size", [20_000, 200_000])
async def test_the_sockets_of_other_ends_show_how_many_downloads_are_under_way(size):
    # Seen from outside: a socket has bytes as soon as its download has begun.
    content = os.urandom(size)
    async with await fill(nodes=6, content=content, downloads=2) as site, AsyncExitStack() as stack:
        waiting = [await begin(site, stack, number) for number in range(6)]
        while waiting:
            most = min(2, len(waiting))
            begun = await wait_until(lambda most=most: len(found := list_begun(waiting)) >= most and found)
            await asyncio.sleep(0.1)
            assert list_begun(waiting) == begun, "the others wait until one of these was read"
            waiting.remove(begun[0])
            async with asyncio.timeout(10):
                assert await read_until_end(begun[0], size) >= size


def list_begun(opened):
    """The sockets to which bytes have come."""
    return [one for one in opened if struct.unpack("i", fcntl.ioctl(one, termios.FIONREAD, bytes(4)))[0]]


async def test_polls_are_answered_while_all_slots_are_taken():
    async with await fill(nodes=4, content=BIG, downloads=2) as site, AsyncExitStack() as stack:
        for number in range(4):
            await begin(site, stack, number)
        await wait_until(lambda: site.counters.downloads == 2)
        asked = {"If-Modified-Since": http_date(RECENT)}
        assert (await site.client.get("/t3/setting", headers=asked)).status_code == 304
        assert (await site.client.post("/t3/report", json={})).status_code == 204


async def test_one_node_has_its_share_of_slots_only():
    async with await fill(nodes=2, content=BIG, downloads=4) as site, AsyncExitStack() as stack:
        for _ in range(5):
            await begin(site, stack, 0)
        await wait_until(lambda: site.counters.downloads == SLOTS_PER_NODE)
        answer = await site.client.get("/t1/package/o-1.tgz")
        assert answer.content == BIG


async def test_a_download_whose_other_end_has_gone_or_reads_nothing_gives_its_slot_back(monkeypatch):
    monkeypatch.setattr(connection, "STALL_SECONDS", 0.6)
    async with await fill(nodes=3, content=BIG, downloads=1) as site, AsyncExitStack() as stack:
        stalled = await begin(site, stack, 0)
        await wait_until(lambda: site.counters.downloads == 1)
        waiting = await begin(site, stack, 1)
        gone = await begin(site, stack, 2)
        gone.close()
        async with asyncio.timeout(20):
            assert await read_until_end(waiting, len(BIG)) >= len(BIG)
        assert site.counters.dropped["stalled"] == 1
        stalled.close()


async def test_a_download_that_is_read_too_slowly_ends(monkeypatch):
    monkeypatch.setattr(connection, "READ_SECONDS", 0.5)
    monkeypatch.setattr(connection, "SLOWEST", 100_000_000)
    async with await fill(nodes=1, content=BIG, downloads=1) as site, AsyncExitStack() as stack:
        opened = await begin(site, stack, 0)
        with pytest.raises(ConnectionError):
            await _read_slowly(opened)
        assert site.counters.dropped["deadline"] == 1


async def _read_slowly(opened):
    async with asyncio.timeout(10):
        while await asyncio.get_running_loop().sock_recv(opened, 1000):
            await asyncio.sleep(0.05)


async def test_a_whole_package_as_the_answer_to_a_poll_waits_for_its_turn_too():
    store = MemoryNodes()
    for number in range(3):
        store.add(f"t{number}", f"n{number}")
        store.offer(f"n{number}", BIG, id=f"o-{number}")
    async with NodeSite(store, downloads=1) as site, AsyncExitStack() as stack:
        opened = []
        for number in range(3):
            opened.append(stack.enter_context(connect(site)))
            line = b"GET /t%d/setting.tgz HTTP/1.1\r\nHost: x\r\n\r\n" % number
            await asyncio.get_running_loop().sock_sendall(opened[-1], line)
        await wait_until(lambda: site.counters.downloads == 1)
        await asyncio.sleep(0.1)
        assert len([call for call in store.calls if call.took]) == 1  # those that wait have not taken it
        for one in opened:
            async with asyncio.timeout(20):
                assert await read_until_end(one, len(BIG)) >= len(BIG)
        assert len([call for call in store.calls if call.took]) == 3


@pytest.mark.parametrize("end", ["held", "closed"])
async def test_an_offer_that_is_held_or_closes_while_its_poll_waits_for_a_turn_is_not_taken(end):
    store, frozen = MemoryNodes(), set()
    store.add("t0", "n0")
    store.offer("n0", BIG, id="o-0", taken=RECENT)
    store.add("t1", "n1")
    closes = datetime.now(UTC) + timedelta(seconds=1.5 if end == "closed" else 60)
    store.offer("n1", BIG, id="o-1", closes=closes)
    async with (
        NodeSite(
            store,
            downloads=1,
            find_holds=freeze(frozen),
        ) as site,
        AsyncExitStack() as stack,
    ):
        first = await begin(site, stack, 0)
        await wait_until(lambda: site.counters.downloads == 1)
        asked = {"If-Modified-Since": http_date(RECENT - timedelta(days=1))}
        waiting = asyncio.create_task(site.client.get("/t1/setting.tgz", headers=asked, timeout=30))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        if end == "held":
            frozen.add("c")
        await wait_until(lambda: end == "held" or datetime.now(UTC) > closes)
        await read_until_end(first, len(BIG))
        assert (await waiting).status_code == 304
    assert not any(call.took for call in store.calls)


async def test_turns_go_round_by_node():
    queue, order = DownloadQueue(1), []

    async def download(node):
        async with queue.slot(node):
            order.append(node)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for node in ("a", "a", "a", "b", "c", "b"):
            group.create_task(download(node))
    assert order == ["a", "a", "b", "c", "a", "b"]
    assert (queue.active, queue.waiting) == (0, 0)


async def test_a_slot_that_comes_with_a_cancellation_is_given_on():
    queue = DownloadQueue(1)
    async with queue.slot("a"):
        second = asyncio.create_task(_hold(queue, "b"))
        third = asyncio.create_task(_hold(queue, "c"))
        await asyncio.sleep(0)
    second.cancel()
    async with asyncio.timeout(5):
        await third
    assert (queue.active, queue.waiting) == (0, 0)


async def _hold(queue, node):
    async with queue.slot(node):
        pass
