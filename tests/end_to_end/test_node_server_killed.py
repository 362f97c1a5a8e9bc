"""A node server that is killed at any time forgets nothing that it has acknowledged."""

import asyncio
import json
import random
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from support.offers import make_draft

from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.core.plan import Payload
from reconciler.core.secret import reveal
from reconciler.drivers.m2.central_server.offered_parts import write_package
from reconciler.drivers.m2.package import PackageCache
from reconciler.store.factory import open_store

NODES = tuple(f"n{number}" for number in range(8))
LONG_AGO = "Tue, 11 Oct 2022 12:45:26 GMT"


@asynccontextmanager
async def served(folder):
    """The process of a server, and a client."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.node_server_process", str(folder)),
        cwd=Path(__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def report_until_killed(client, token, acknowledged, node):
    """Send heartbeats with growing numbers until the server is gone."""
    number = acknowledged.get(node, 0)
    with suppress(httpx.TransportError):
        while True:
            number += 1
            message = {"messageVer": "1", "node": {"hostname": node, "iplist": [], "settingVer": number}}
            answer = await client.post(f"/{token}/report", json=message)
            if answer.status_code == 204:
                acknowledged[node] = number


@pytest.fixture
async def tokens(tmp_path):
    with open_store(tmp_path) as host:
        store = await host.enter_fleet(FleetIdentity(source="/fleet", name="fleet"))
        await store.enrol("c", "m2", NODES)
        found = await store.tokens("c", NODES)
    return {node: reveal(tokens.current) for node, tokens in found.items()}


async def test_no_acknowledged_report_is_lost(tmp_path, tokens):
    acknowledged = {}
    for _ in range(4):
        async with served(tmp_path) as (process, client):
            work = [report_until_killed(client, tokens[node], acknowledged, node) for node in NODES]
            running = asyncio.gather(*work)
            await asyncio.sleep(random.uniform(0.3, 0.8))
            process.kill()
            await running
        with open_store(tmp_path) as host:
            (fleet,) = await host.fleets()
            mail = await host.select_fleet(fleet.number).mail("c", NODES)
        for node, number in acknowledged.items():
            body = json.loads(mail[node].items["heartbeat.feedback"].body)
            assert number <= body["node"]["settingVer"] <= number + 1
    assert min(acknowledged.values()) > 0


async def test_what_a_node_took_stays_taken_and_can_be_downloaded_after_a_kill(tmp_path, tokens):
    parts = write_package(Payload({"hosting": []}), PackageCache())
    with open_store(tmp_path) as host:
        (fleet,) = await host.fleets()
        store = host.select_fleet(fleet.number)
        draft = make_draft("n0", seconds=600)
        offer = await store.offer(replace(draft, parts=parts), "run", "revision")
    async with served(tmp_path) as (process, client):
        url = f"/{tokens['n0']}/setting"
        feed = await client.get(url, headers={"If-Modified-Since": LONG_AGO})
        assert feed.status_code == 200
        process.kill()
    with open_store(tmp_path) as host:
        # the pass thinks better of it: what the node has taken stays
        await host.select_fleet(fleet.number).withdraw("c", ["n0"], OfferFeed.SETTING)
    async with served(tmp_path) as (_, client):
        date = feed.headers["last-modified"]
        assert (await client.get(url, headers={"If-Modified-Since": date})).status_code == 304
        earlier = parsedate_to_datetime(date) - timedelta(seconds=1)
        again = await client.get(url, headers={"If-Modified-Since": f"{earlier:%a, %d %b %Y %H:%M:%S} GMT"})
        assert again.status_code == 200
        package = await client.get(f"/{tokens['n0']}/package/{offer.id}.tgz")
        assert (package.status_code, package.content[:2]) == (200, b"\x1f\x8b")


async def test_without_the_state_nothing_is_delivered(tmp_path, tokens):
    for file in tmp_path.iterdir():
        if file.is_file():
            file.unlink()
    async with served(tmp_path) as (_, client):
        for headers in ({}, {"If-Modified-Since": LONG_AGO}):
            assert (await client.get(f"/{tokens['n0']}/setting", headers=headers)).status_code == 404
