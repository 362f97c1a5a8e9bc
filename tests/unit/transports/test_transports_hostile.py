"""HTTP against nodes that answer to do harm: nothing of one answer gets into another, and all is bounded."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.call_errors import words as words_of
from support.http_servers import listening
from support.waiting import wait_until

from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.transports import http_errors
from reconciler.transports.http import HttpTransport
from reconciler.transports.http_connection import HEAD_LIMIT, Answer, AnswerBounds

HEAD = b"HTTP/1.1 200 OK\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOUNDS = AnswerBounds(1_000_000, 500_000)


class Node:
    """Answers the requests of all connections one after another, each with the next script; the last repeats.

    A script is a list: bytes are sent, a number is a pause in seconds, `None` closes the connection, and
    `...` says that nothing more is sent.
    """

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                for part in script:
                    if part is None:
                        return
                    if part is ...:
                        writer.write_eof()
                    elif isinstance(part, float):
                        await asyncio.sleep(part)
                    else:
                        writer.write(part)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def node(*scripts):
    server = Node(*scripts)
    async with listening(server.serve) as url:
        yield server, url


async def read(wire, url, **more):
    return await wire.send("GET", url, node="n", **{"timeout": 5, **more})


async def failure(wire, url, method="GET", **more):
    with pytest.raises(NodeUnreachable) as caught:
        await wire.send(method, url, node="n", **{"timeout": 5, **more})
    return caught.value


AMBIGUOUS = {
    "length and chunks": HEAD
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunks and length": HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\nhello",
    "the same length twice": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\nhi",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\nhi",
    "a signed length": HEAD + b"Content-Length: +2\r\n\r\nhi",
    "a length in hexadecimal": HEAD + b"Content-Length: 0x2\r\n\r\nhi",
    "a length that overflows": HEAD + b"Content-Length: 18446744073709551618\r\n\r\nhi",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding below chunks": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding above chunks": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a second coding": HEAD
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "space before a colon": HEAD + b"Content-Length : 2\r\n\r\nhi",
    "a folded header": HEAD + b"X-One: a\r\n Content-Length: 5\r\nContent-Length: 2\r\n\r\nhi",
    "a bare line feed": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "a zero byte": HEAD + b"X-One: a\x00b\r\nContent-Length: 2\r\n\r\nhi",
    "a chunk size that overflows": CHUNKED + b"10000000000000002\r\nhi\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nhiho\r\n0\r\n\r\n",
    "a length in a trailer": CHUNKED + b"2\r\nhi\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/0.9": b"hi\r\n\r\n",
    "a status of no class": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a long status": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nhi",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_an_answer_whose_end_is_ambiguous_is_refused_with_its_connection(name):
    async with node([AMBIGUOUS[name]], [OK]) as (server, url), HttpTransport() as wire:
        failed = await failure(wire, url)
        assert isinstance(failed, NodeUnidentified)
        assert (failed.sign, failed.sent, failed.closed) == (Liveness.ALIVE, True, False)
        assert "not valid HTTP" in failed.reason
        assert (await read(wire, url)).body == b"hi"
    assert server.connections == 2


@pytest.mark.parametrize("pause", [(), (0.05,)])
@pytest.mark.parametrize("surplus", [HEAD + b"Content-Length: 6\r\n\r\nforged", b"junk", b"\x00"])
async def test_bytes_after_an_answer_never_become_the_next_answer(surplus, pause):
    async with node([OK, *pause, surplus], [OK]) as (server, url), HttpTransport() as wire:
        assert (await read(wire, url)).body == b"hi"
        await asyncio.sleep(0.1)
        assert (await read(wire, url)).body == b"hi"
        assert server.connections == 2


@pytest.mark.parametrize(
    "ahead", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nX-Early: 1\r\n\r\n"]
)
async def test_interim_answers_are_skipped_and_leave_nothing_behind(ahead):
    async with node([ahead + ahead, 0.02, ahead, OK]) as (server, url), HttpTransport() as wire:
        for _ in range(2):
            answer = await read(wire, url)
            assert (answer.status, answer.body, answer.headers) == (200, b"hi", {"content-length": "2"})
    assert server.connections == 1


async def test_interim_answers_without_end_are_refused():
    endless = b"HTTP/1.1 103 Early\r\nX-Early: 1\r\n\r\n" * 4_000
    async with node([endless, 30.0]) as (_, url), HttpTransport() as wire:
        assert "headers are larger than 64 KB" in (await failure(wire, url)).reason


async def test_trailers_do_not_become_headers():
    end = CHUNKED + b"2;name=value\r\nhi\r\n0\r\nX-Late: 1\r\n\r\n"
    async with node([end]) as (server, url), HttpTransport() as wire:
        for _ in range(2):
            answer = await read(wire, url)
            assert (answer.body, "x-late" in answer.headers) == (b"hi", False)
    assert server.connections == 1


@pytest.mark.parametrize(
    "endless",
    [
        CHUNKED + b"2\r\nhi\r\n0\r\n" + b"X-Late: 1\r\n" * 20_000,
        HEAD + b"X-Long: " + b"x" * HEAD_LIMIT,
        HEAD + b"X: y\r\n" * HEAD_LIMIT,
        b"HTTP/1.1 200 " + b"O" * 2 * HEAD_LIMIT,
        CHUNKED + b"2;" + b"x" * 20 * 1_000 + b"x" * HEAD_LIMIT,
    ],
)
async def test_what_never_ends_is_refused_before_the_time_is_over(endless):
    async with node([endless, 30.0]) as (_, url), HttpTransport(body_limit=1_000) as wire:
        assert "not valid HTTP" in (await failure(wire, url)).reason


async def test_a_slow_head_counts_against_the_time_of_the_call():
    drip = [part for _ in range(50) for part in (b"X: y\r\n", 0.05)]
    async with node([HEAD, *drip]) as (server, url), HttpTransport() as wire:
        failed = await failure(wire, url, timeout=0.3)
        assert (words_of(failed), failed.sign) == ("no answer within 0.3 s", Liveness.ALIVE)
        await wait_until(lambda: server.open == 0)


async def test_a_length_above_the_limit_is_refused_before_its_body():
    head = HEAD + b"Content-Length: 5000\r\n\r\n"
    async with node([head, 30.0]) as (_, url), HttpTransport(body_limit=4999) as wire:
        assert words_of(await failure(wire, url)) == "its answer is larger than 4.88 KB"


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"fa0\r\n" + b"x" * 4000 + b"\r\n"])
async def test_chunks_count_by_their_sum(chunk):
    async with node([CHUNKED + chunk * 5_000, 30.0]) as (_, url), HttpTransport(body_limit=4_999) as wire:
        assert words_of(await failure(wire, url)) == "its answer is larger than 4.88 KB"


async def test_a_half_closed_connection_is_not_kept():
    async with node([OK, ...], [OK]) as (server, url), HttpTransport() as wire:
        assert (await read(wire, url)).body == b"hi"
        assert (await read(wire, url)).body == b"hi"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([...], http_errors.DROPPED),
        ([None], http_errors.DROPPED),
        ([HEAD, ...], http_errors.CUT),
        ([HEAD + b"Content-Length: 5\r\n\r\nhi", ...], http_errors.CUT),
        ([CHUNKED + b"2\r\nhi\r\n", ...], http_errors.CUT),
        ([CHUNKED + b"2\r\nhi\r\n0\r\n", None], http_errors.CUT),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_half_an_answer_is_none(script, reason, method):
    async with node(script) as (server, url), HttpTransport() as wire:
        failed = await failure(wire, url, method)
        assert (words_of(failed), failed.sent) == (reason, True)
        assert failed.closed == (reason == http_errors.DROPPED)
    assert len(server.requests) == 1


async def test_a_body_may_end_with_its_connection():
    async with node([HEAD + b"\r\nall ", 0.02, b"of it", None]) as (server, url), HttpTransport() as wire:
        for _ in range(2):
            assert (await read(wire, url)).body == b"all of it"
    assert server.connections == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body_has_none(status):
    async with node([b"HTTP/1.1 " + status + b"\r\n\r\n"]) as (server, url), HttpTransport() as wire:
        for _ in range(2):
            assert (await read(wire, url)).body == b""
    assert server.connections == 1


async def test_an_answer_to_head_has_no_body():
    async with (
        node([HEAD + b"Content-Length: 5000\r\n\r\n"]) as (_, url),
        HttpTransport(body_limit=9) as wire,
    ):
        answer = await wire.send("HEAD", url, node="n", timeout=5)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5000")


@pytest.mark.parametrize("last", [b"HTTP/1.0 200 OK\r\n", HEAD + b"Connection: close\r\n"])
async def test_a_connection_that_the_node_gives_up_is_not_used_again(last):
    async with node([last + b"Content-Length: 2\r\n\r\nhi", 0.2]) as (server, url), HttpTransport() as wire:
        for _ in range(2):
            assert (await read(wire, url)).body == b"hi"
    assert server.connections == 2


async def test_a_kept_connection_that_the_node_closes_costs_one_more_read_and_no_error():
    async with node([OK], [None], [OK]) as (server, url), HttpTransport() as wire:
        await read(wire, url)
        assert (await read(wire, url)).body == b"hi"
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_read_is_sent_twice_at_most():
    async with node([OK], [None]) as (server, url), HttpTransport() as wire:
        await read(wire, url)
        assert words_of(await failure(wire, url)) == http_errors.DROPPED
    assert len(server.requests) == 3


@pytest.mark.parametrize("begun", [b"H", HEAD, HEAD + b"Content-Length: 5\r\n\r\nhi"])
async def test_a_read_that_was_answered_in_part_is_not_repeated(begun):
    async with node([OK], [begun, None], [OK]) as (server, url), HttpTransport() as wire:
        await read(wire, url)
        assert words_of(await failure(wire, url)) == http_errors.CUT
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PURGE"])
async def test_a_write_never_uses_a_kept_connection(method):
    async with node([OK], [None], [OK]) as (server, url), HttpTransport() as wire:
        await read(wire, url)
        failed = await failure(wire, url, method, content=b"")
        assert (failed.sent, failed.closed) == (True, True)
    assert (server.connections, len(server.requests)) == (2, 2)


async def test_the_answer_to_a_cancelled_read_goes_to_nobody():
    late = HEAD + b"Content-Length: 4\r\n\r\nlate"
    async with node([OK], [0.2, late], [OK]) as (server, url), HttpTransport() as wire:
        await read(wire, url)
        task = asyncio.ensure_future(read(wire, url))
        await wait_until(lambda: len(server.requests) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await read(wire, url)).body == b"hi"
    assert server.connections == 2


async def test_an_early_answer_ends_the_upload():
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    async with node([early, 30.0]) as (_, url), HttpTransport() as wire:
        answer = await wire.send("POST", url, node="n", timeout=5, content=bytes(8_000_000))
        assert answer.status == 413


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("", {"X-One": "a\r\nX-Two: b"}),
        ("", {"X-One": "a\nX-Two: b"}),
        ("", {"X-One": "a\x00"}),
        ("", {"X-One\r\nX-Two": "b"}),
        ("", {"X One": "b"}),
        ("", {"Host": "a\r\nX-Two: b"}),
        ("", {"X-One": "\ud800"}),
        ("/a b", {}),
        ("/a\r\nX-Two: b", {}),
        ("/\x00", {}),
    ],
)
async def test_nothing_can_add_a_line_to_a_request(url, headers):
    async with node([OK]) as (server, base), HttpTransport() as wire:
        failed = await failure(wire, base + url, headers=headers)
        assert (failed.sent, failed.sign) == (False, Liveness.UNASKED)
    assert server.connections == 0


async def test_only_this_program_says_how_long_a_request_is():
    lies = {"Content-Length": "99", "transfer-encoding": "chunked"}
    async with node([OK]) as (server, url), HttpTransport() as wire:
        await read(wire, url, headers=lies)
        await read(wire, f"{url}/ä?ö=%20", headers={"X-One": "ä"})
    assert b"content-length" not in server.requests[0].lower()
    assert b"chunked" not in server.requests[0]
    assert server.requests[1].startswith(b"GET /%C3%A4?%C3%B6=%20 HTTP/1.1\r\n")


async def test_a_user_in_a_url_is_sent_as_a_header_only():
    async with node([OK]) as (server, url), HttpTransport() as wire:
        await read(wire, url.replace("://", "://us%65r:p%3Aw@"))
    assert b"Authorization: Basic dXNlcjpwOnc=\r\n" in server.requests[0]
    assert b"us%65r" not in server.requests[0]


async def test_a_handshake_without_end_is_no_connection_to_something_that_lives():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with HttpTransport() as wire:
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
            failed = await failure(wire, url, connect=0.2)
    assert (words_of(failed), failed.sign, failed.sent) == (
        "no connection within 0.2 s",
        Liveness.ALIVE,
        False,
    )


@given(
    st.sampled_from([OK, CHUNKED + b"2\r\nhi\r\n0\r\nX-Late: 1\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n" + OK]),
    st.lists(st.integers(1, 20), max_size=20),
)
def test_how_an_answer_is_cut_on_its_way_changes_nothing(told, cuts):
    answer, rest = Answer(BOUNDS), told
    for cut in cuts:
        piece, rest = rest[:cut], rest[cut:]
        if piece:
            answer.feed(piece)
    if rest:
        answer.feed(rest)
    assert (answer.status, bytes(answer.body), answer.is_complete, answer.can_continue) == (
        200,
        b"hi",
        True,
        True,
    )


@given(st.binary(max_size=300) | st.sampled_from(list(AMBIGUOUS.values())), st.binary(max_size=100))
def test_any_bytes_give_an_answer_or_a_reason(first, second):
    answer = Answer(BOUNDS)
    for piece in (first, HEAD, second, OK):
        if piece and not answer.is_over:
            answer.feed(piece)
    answer.end()
    assert answer.is_complete or answer.failure is not None or answer.status in {0, 200}
