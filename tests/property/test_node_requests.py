"""However bytes of requests are cut, a connection answers the same; and it survives any bytes."""

import asyncio
import io
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from support.node_servers import RECENT, MemoryNodes, TinyServer, http_date

from reconciler.server.logs import open_log
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.callers import CallerRules
from reconciler.server.nodes.connection import MOST_PIPELINED, NodeConnection
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_table import NodeTable
from reconciler.server.nodes.service import NodeService

POLL = f"GET /t1/setting HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: {http_date(RECENT)}\r\n\r\n".encode()
REPORT = b'POST /t1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"kind": "k"}'
CHUNKED = b"POST /t1/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
STRANGER = b"GET /t9/setting HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS = {POLL: 304, REPORT: 204, CHUNKED: 204, STRANGER: 404}
"""Request -> status of its answer."""


class MemoryTransport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self):
        super().__init__({"peername": ("192.0.2.7", 1)})
        self.written, self.closed = b"", False

    def write(self, data):
        assert not self.closed
        self.written += bytes(data)

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def can_write_eof(self):
        return False

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        pass

    resume_reading = pause_reading


class Owner:
    """Counts nothing."""

    is_crowded = False
    held_bytes = 0

    def forget(self, connection):
        pass

    identify = count_dropped = forget


async def converse(pieces):
    """Statuses of the answers to pieces of requests; errors in the log."""
    store = MemoryNodes()
    store.add("t1", "n1")
    table = NodeTable({"tiny": TinyServer()}.get)
    await table.apply(await store.read_changes(0))
    counters, log, owner = CallCounters(), io.StringIO(), Owner()
    recorder = CallRecorder(store.record_calls, lambda error: None, counters)
    service = NodeService(
        table,
        store,
        recorder,
        open_log(log, form="json"),
        counters=counters,
        rules=CallerRules(),
        rate=1e9,
        downloads=1,
    )
    stop = asyncio.Event()
    recording = asyncio.create_task(recorder.run(stop))
    connection, transport = NodeConnection(service, owner, "http"), MemoryTransport()
    connection.connection_made(transport)
    for piece in pieces:
        connection.data_received(piece)
        while connection.task is not None:
            await asyncio.sleep(0)
    connection.connection_lost(None)
    assert owner.held_bytes == 0
    stop.set()
    recorder.wake()
    await recording
    assert "unexpected" not in log.getvalue()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", transport.written)]


def cut(data, places):
    edges = [0, *sorted(places), len(data)]
    return [data[first:last] for first, last in pairwise(edges) if first < last]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([POLL, REPORT, CHUNKED]), max_size=MOST_PIPELINED - 1),
    st.sampled_from([POLL, REPORT, CHUNKED, STRANGER]),
    st.data(),
)
def test_the_answers_do_not_depend_on_how_the_bytes_are_cut(requests, last, data):
    sent = b"".join([*requests, last])
    places = data.draw(st.lists(st.integers(0, len(sent)), max_size=12))
    answers = asyncio.run(converse(cut(sent, places)))
    assert answers == [REQUESTS[one] for one in [*requests, last]]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([POLL, REPORT]), max_size=2), st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_are_answered_with_a_refusal_or_waited_for(requests, pieces):
    answers = asyncio.run(converse([*requests, *pieces]))
    assert answers[: len(requests)] == [REQUESTS[one] for one in requests]
    assert set(answers[len(requests) :]) <= {400, 404, 405, 413, 417, 431}
    assert len(answers) <= len(requests) + 2


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(REQUESTS)),
    st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4),
)
def test_a_damaged_request_is_never_a_defect(request_, damages):
    damaged = bytearray(request_)
    for place, data in damages:
        at = place % len(damaged)
        damaged[at : at + len(data)] = data
    assert 500 not in asyncio.run(converse([bytes(damaged)]))
