"""Connections that outlive a pass: used again for one node alone, bounded in number, idleness and age."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import pytest
from support.http_servers import OK, Server, listening, serving
from support.waiting import wait_until

from reconciler.errors import NodeUnreachable
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.transports import connection_pool, name_cache
from reconciler.transports.bundle import open_transports
from reconciler.transports.connection_pool import ConnectionPool
from reconciler.transports.http import HttpTransport


async def call(pool, url, *, node="n", method="GET", host=None):
    """One call with transports of its own, as each pass has them."""
    async with open_transports(host, pool=pool) as transports:
        return await transports.http.send(method, url, node=node, timeout=5)


async def test_a_later_pass_uses_the_connections_of_an_earlier_one():
    pool = ConnectionPool(10)
    async with serving(OK) as (server, url):
        for _ in range(3):
            assert (await call(pool, url)).body == b"hi"
        assert (server.connections, pool.idle) == (1, 1)
        await pool.aclose()
        await wait_until(lambda: server.open == 0)


async def test_transports_without_a_pool_leave_nothing_open():
    async with serving(OK) as (server, url):
        await call(None, url)
        await wait_until(lambda: server.open == 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_write_takes_and_leaves_no_connection(method):
    pool = ConnectionPool(10)
    async with serving(OK) as (server, url):
        await call(pool, url)
        await call(pool, url, method=method)
        assert (server.connections, pool.idle) == (2, 1)
        await pool.aclose()


async def test_no_other_node_and_no_other_name_gets_a_connection():
    pool = ConnectionPool(10)
    async with serving(OK) as (server, url):
        await call(pool, url, node="edge-01")
        await call(pool, url, node="edge-02")
        assert server.connections == 2
        await call(pool, url.replace("127.0.0.1", "localhost"), node="edge-01")
        assert server.connections == 3
        await call(pool, url, node="edge-01")
        assert (server.connections, pool.idle) == (3, 3)
        with pytest.raises(NodeUnreachable):  # the same address with TLS is another place
            await call(pool, url.replace("http:", "https:"), node="edge-01")
        await pool.aclose()


async def test_a_name_that_leads_elsewhere_in_a_later_pass_gets_a_new_connection(monkeypatch):
    now = ["127.0.0.1"]

    async def find_addresses(host):
        return [(socket.AF_INET, (address, 0)) for address in now]

    monkeypatch.setattr(name_cache, "find_addresses", find_addresses)
    pool, server = ConnectionPool(10), Server(OK)
    async with listening(server.serve, hosts=["127.0.0.1"]) as urls:
        port = urlsplit(urls[0]).port
        url = f"http://node.example.com:{port}/"
        await call(pool, url)
        now[:] = ["127.0.0.2"]
        with pytest.raises(NodeUnreachable):  # nothing runs there
            await call(pool, url)
        assert pool.idle == 0
        now[:] = ["127.0.0.2", "127.0.0.1"]
        await call(pool, url)
        await call(pool, url)
        assert server.connections == 2
        await pool.aclose()


async def test_a_network_that_the_host_does_not_allow_any_more_is_not_reached_over_a_kept_connection():
    pool = ConnectionPool(10)
    async with serving(OK) as (server, url):
        await call(pool, url)
        with pytest.raises(NodeUnreachable, match="none of the networks"):
            await call(pool, url, host=Host(HostConfig(networks=("192.0.2.0/24",))))
        assert len(server.requests) == 1
        await pool.aclose()


async def test_unused_connections_are_closed_after_a_while(monkeypatch):
    monkeypatch.setattr(connection_pool, "IDLE", 0.1)
    pool = ConnectionPool(10)
    async with serving(OK) as (server, url):
        for node in ("a", "b", "c"):
            await call(pool, url, node=node)
        assert pool.idle == 3
        await wait_until(lambda: pool.idle == 0 and server.open == 0)
        await call(pool, url, node="a")
        await wait_until(lambda: pool.idle == 0 and server.open == 0)
    assert server.connections == 4


async def test_a_connection_ends_by_age_however_often_it_is_used(monkeypatch):
    pool = ConnectionPool(10)
    async with serving(OK) as (server, url):
        await call(pool, url)
        first = pool.tls
        await call(pool, url)
        assert server.connections == 1
        monkeypatch.setattr(connection_pool, "LIFETIME", 0.0)
        await call(pool, url)
        assert server.connections == 2
        assert pool.tls is not first  # the authorities are read again, too
        await pool.aclose()


async def test_a_full_pool_keeps_what_it_has():
    pool, server = ConnectionPool(20), Server(OK)
    hosts = [f"127.0.3.{number}" for number in range(1, 51)]
    async with listening(server.serve, hosts=hosts) as urls:
        for _ in range(3):
            async with HttpTransport(pool=pool) as wire:
                await asyncio.gather(*(wire.send("GET", url, node=url, timeout=5) for url in urls))
            assert pool.idle == 20
        # Twenty nodes keep theirs over all passes; the others get a new one each time.
        assert server.connections == 50 + 30 + 30
        await wait_until(lambda: server.open == 20)
        await pool.aclose()


async def test_a_connection_that_its_node_closes_leaves_the_pool():
    pool = ConnectionPool(10)
    async with serving(OK, keep=False) as (server, url):
        await call(pool, url)
        await wait_until(lambda: pool.idle == 0)
        await call(pool, url)
    assert len(server.requests) == 2


async def test_calls_in_flight_end_with_their_transport_and_not_with_the_pool():
    pool = ConnectionPool(10)
    async with serving(OK) as (idle, other), serving(2.0) as (busy, url):
        await call(pool, other)
        async with HttpTransport(pool=pool) as wire:
            waiting = asyncio.ensure_future(wire.send("GET", url, node="n", timeout=30))
            await wait_until(lambda: len(busy.requests) == 1)
        with pytest.raises(NodeUnreachable):
            await waiting
        await wait_until(lambda: busy.open == 0)
        assert (pool.idle, idle.open) == (1, 1)
        await pool.aclose()
