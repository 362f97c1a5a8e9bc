"""The HTTP client of simulated nodes against servers that answer in every way, byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager

import pytest
from support.certificates import write_certificate

from reconciler.ports.simulator import OutgoingCall
from reconciler.simulation.http_client import NO_ANSWER, NodeClient


@asynccontextmanager
async def answering(*answers, closes=False, pieces=False, tls=None):
    """A server that gives these answers in turn; gives its URL and the list of connections' requests."""
    left, asked = list(answers), []

    async def serve(reader, writer):
        requests = []
        asked.append(requests)
        try:
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                requests.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        requests[-1] += await reader.readexactly(int(line.split(b":")[1]))
                data = left.pop(0)
                for piece in [data[i : i + 1] for i in range(len(data))] if pieces else [data]:
                    writer.write(piece)
                    await writer.drain()
                if closes:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/x?y=1", asked
    finally:
        server.close()


def call(url, **more):
    return OutgoingCall("test", url, more.pop("timeout", 5), **more)


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n", 200, b"abc"),
    ],
)
async def test_an_answer_is_read_in_one_or_in_many_pieces_and_its_connection_is_used_again(
    answer, status, body, pieces
):
    async with answering(answer, answer, pieces=pieces) as (url, asked):
        client = NodeClient()
        replies = [await client.ask("n1", call(url)) for _ in range(2)]
        client.close()
    assert [(reply[0], reply[2]) for reply in replies] == [(status, body)] * 2
    assert [len(requests) for requests in asked] == [2]


async def test_an_answer_without_a_length_ends_with_its_connection():
    async with answering(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nabc", closes=True) as (url, _):
        assert await NodeClient().ask("n1", call(url)) == (200, {"a": "b"}, b"abc")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"a" * 70_000,
    ],
)
async def test_what_is_not_a_complete_answer_is_no_answer(answer):
    async with answering(answer, closes=True) as (url, _):
        assert await NodeClient().ask("n1", call(url)) == NO_ANSWER


async def test_a_kept_connection_that_the_server_closed_is_replaced():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with answering(answer, answer, closes=True) as (url, asked):
        client = NodeClient()
        posts = [await client.ask("n1", call(url, method="POST", body=b"{}")) for _ in range(2)]
    assert [status for status, *_ in posts] == [200, 200]
    assert [len(requests) for requests in asked] == [1, 1]


async def test_nodes_share_no_connection_and_one_that_keeps_none_has_a_new_one():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with answering(*[answer] * 4) as (url, asked):
        client = NodeClient()
        for node in ("n1", "n2"):
            await client.ask(node, call(url))
        for _ in range(2):
            await client.ask("n1", call(url), keeps=False)
    assert [len(requests) for requests in asked] == [2, 1, 1]


async def test_silence_ends_with_the_timeout_and_a_late_answer_goes_to_nobody():
    async with answering() as (url, _):
        assert await NodeClient().ask("n1", call(url, timeout=0.05)) == NO_ANSWER


async def test_a_request_has_a_host_a_length_and_no_second_header_by_a_line_break():
    async with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, asked):
        headers = {"X-Label": "a\r\nX-More: b"}
        await NodeClient().ask("n1", call(url, method="POST", headers=headers, body=b"{}"))
    lines = asked[0][0].split(b"\r\n")
    assert lines[0] == b"POST /x?y=1 HTTP/1.1"
    assert b"X-Label: a  X-More: b" in lines
    assert b"Content-Length: 2" in lines


async def test_nobody_listening_is_no_answer():
    assert await NodeClient().ask("n1", call("http://127.0.0.1:9/")) == NO_ANSWER


async def test_a_server_with_tls_is_called_if_its_certificate_is_trusted_and_not_otherwise(tmp_path):
    files = write_certificate(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(files["certificate"], files["key"])
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"] * 2
    async with answering(*answers, tls=served) as (url, asked):
        trusting = NodeClient(ssl.create_default_context(cafile=files["certificate"]))
        for _ in range(2):
            reply = await trusting.ask("n1", call(url))
            assert (reply[0], reply[2]) == (200, b"abc")
        assert [len(requests) for requests in asked] == [2]
        strict = NodeClient()
        assert await strict.ask("n1", call(url)) == NO_ANSWER
        assert sum(map(len, asked)) == 2
        for client in (trusting, strict):
            client.close()
