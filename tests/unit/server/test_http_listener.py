"""Connections and requests are bounded in number and time."""

import asyncio
import errno
import io
import resource
from contextlib import AsyncExitStack

import pytest
from support.waiting import wait_until
from support.web_server import SECRET, Site, raw, signed, status

from reconciler.server import http_listener
from reconciler.server.http_listener import CONNECTIONS, compute_connection_limit
from reconciler.server.throttle import BURST
from reconciler.server.webhook.endpoint import BODIES

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LONG = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


async def closed(reader):
    """Wait until the server ends a connection; gives what it sent before."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def trickle(reader, writer, piece=b"a"):
    """Send piece after piece until the server ends the connection; gives what it sent before."""
    ended = asyncio.create_task(closed(reader))
    while not ended.done():
        writer.write(piece)
        await asyncio.sleep(0.01)
    return await ended


async def test_idle_connections_beyond_the_limit_do_not_block_a_health_check():
    async with Site(connections=20) as site, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(raw(site)) for _ in range(60)]
        answer = await site.client.get("/healthz")
        assert answer.status_code == 200
        assert await closed(idle[0][0]) == b""  # the oldest went first
        assert site.dropped("room") >= 41
        assert len(site.logged("connection limit reached")) == BURST


async def test_the_address_with_the_most_connections_makes_room():
    async with Site(connections=20) as site, AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(raw(site, "127.0.0.2"))
        for _ in range(60):
            await stack.enter_async_context(raw(site))
        quiet[1].write(GET)
        assert status(await closed(quiet[0])) == 200


@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_a_head_that_does_not_come_or_trickles_has_a_deadline(piece, monkeypatch):
    monkeypatch.setattr(http_listener, "HEAD_SECONDS", 0.1)
    async with Site() as site, raw(site) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nA: ")
        assert await trickle(reader, writer, piece) == b""
        assert site.dropped("deadline") == 1


@pytest.mark.parametrize(
    ("request_head", "answer"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he", 200),
        (LONG.replace(b"/webhook", b"/healthz"), 405),
    ],
    ids=["the next request", "a body that nobody reads"],
)
async def test_what_follows_an_answer_has_a_deadline_too(request_head, answer, monkeypatch):
    monkeypatch.setattr(http_listener, "NEXT_SECONDS", 0.1)
    async with Site() as site, raw(site) as (reader, writer):
        writer.write(request_head)
        assert status(await reader.readuntil(b"\r\n\r\n")) == answer
        await trickle(reader, writer)
        assert site.dropped("deadline") == 1


async def test_slow_bodies_are_bounded_in_time_and_number_and_do_not_block_a_health_check(monkeypatch):
    monkeypatch.setattr("reconciler.server.webhook.endpoint.BODY_SECONDS", 0.5)
    async with Site(connections=BODIES + 8) as site, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(raw(site)) for _ in range(BODIES + 1)]
        for _, writer in slow:
            writer.write(LONG)
        statuses = {status(await closed(reader)) for reader, _ in slow[-1:]}
        assert statuses == {503}
        assert (await site.client.get("/healthz")).status_code == 200
        assert {status(await closed(reader)) for reader, _ in slow[:-1]} == {408}
        assert site.rejects("busy") == 1


async def large(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(100):
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
    await send({"type": "http.response.body"})


async def test_a_reader_that_does_not_read_has_a_deadline(monkeypatch):
    monkeypatch.setattr(http_listener, "REQUEST_SECONDS", 0.1)
    async with Site(application=large) as site, raw(site) as (_reader, writer):
        writer.write(GET)
        await wait_until(lambda: site.dropped("deadline"))


class Exhausted:
    """A socket whose next accepts fail as in a process without file descriptors."""

    def __init__(self, loop, times):
        self.accept, self.times = loop.sock_accept, times

    async def __call__(self, opened):
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await self.accept(opened)


async def test_without_open_files_it_waits_logs_a_few_lines_and_continues(monkeypatch):
    monkeypatch.setattr(http_listener, "PAUSE", 0.001)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", Exhausted(asyncio.get_running_loop(), 500))
    async with Site() as site:
        assert (await site.client.get("/healthz")).status_code == 200
        assert len(site.logged("cannot accept connections")) == BURST
        assert len(site.lines.getvalue()) < 10_000


async def test_without_open_files_an_idle_connection_is_closed(monkeypatch):
    exhausted = Exhausted(asyncio.get_running_loop(), 0)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", exhausted)
    async with Site() as site, raw(site) as (reader, _):
        assert (await site.client.get("/healthz")).status_code == 200
        await site.client.aclose()
        exhausted.times = 1
        async with raw(site) as (_, other):  # the accept under way takes this one, the next one fails
            async with raw(site) as (third, writer):
                writer.write(GET)
                assert status(await closed(third)) == 200
            other.close()
        assert await closed(reader) == b""
        assert site.dropped("files") == 1


def test_connections_leave_most_files_to_nodes_git_and_the_store(monkeypatch):
    limits = [64, 64]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.__setitem__(slice(None), wanted))
    assert compute_connection_limit() == 16
    limits[:] = [256, 1024]
    assert compute_connection_limit() == CONNECTIONS
    assert limits == [1024, 1024]
    limits[:] = [1024, resource.RLIM_INFINITY]
    assert compute_connection_limit() == CONNECTIONS
    assert limits[0] == 4096


async def broken(scope, receive, send):
    raise SystemExit(2)


async def test_an_application_that_crashes_costs_only_its_own_answer():
    async with Site(application=broken) as site:
        for _ in range(3):
            async with raw(site) as (reader, writer):
                writer.write(GET)
                assert status(await closed(reader)) == 500


async def test_an_unexpected_error_is_in_the_log_and_not_in_the_answer(monkeypatch):
    async with Site() as site:
        monkeypatch.setattr("reconciler.server.web.check_readiness", lambda *_, **__: {}["the-secret"])
        for _ in range(30):
            answer = await site.client.get("/readyz")
        assert answer.status_code == 500
        assert answer.json()["status"] == "error"
        assert (await site.client.get("/healthz")).status_code == 200
    assert "the-secret" not in f"{answer.text} {site.lines.getvalue()}"
    assert len(site.logged("unexpected error in a request")) == BURST
    assert (
        site.metrics.registry.get_sample_value("reconciler_unexpected_errors_total", {"loop": "http"}) == 30
    )


async def test_refused_calls_fill_no_log_but_are_counted():
    async with Site() as site:
        for _ in range(100):
            await site.client.post("/webhook", content=b"{} ", headers=signed(b"{}"))
        assert len(site.logged("webhook rejected")) == BURST
        assert site.rejects("bad-signature") == 100
        assert SECRET not in site.lines.getvalue()


async def test_the_environment_of_uvicorn_does_not_count(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with Site() as site:
        headers = {**signed(b"{}"), "X-Forwarded-For": "203.0.113.9"}
        await site.client.post("/webhook", content=b"{} ", headers=headers)
    assert site.logged("webhook rejected")[0]["client"] == "127.0.0.1"
    assert isinstance(site.lines, io.StringIO)
