"""A small, strict central server for simulated M2 nodes, which keeps every call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from aiohttp import web

from reconciler.core.canonical import write_json
from reconciler.drivers.m2.package import pack_files


@dataclass
class Poll:
    """One poll as it came."""

    feed: str
    asked: str | None
    label: str | None
    status: int


@dataclass
class Served:
    """What a node gets at its next poll of a feed."""

    body: bytes
    modified: datetime
    content_type: str = "application/json"


@dataclass
class CentralServer:
    """The server's memory: what it offers, and what nodes sent."""

    url: str = ""
    offers: dict[tuple[str, str], Served] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    polls: dict[str, list[Poll]] = field(default_factory=dict)
    reports: dict[str, list[Any]] = field(default_factory=dict)
    downloads: list[tuple[str, str]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def settings(self, node: str, *, every: int = 1, feed: str = "apiPolling", **more: Any) -> dict[str, Any]:
        """`env.management.server` of a node that polls and reports here."""
        base, schedule = f"{self.url}/{node}", f"*/{every} * * * * *"
        suffix = ".tgz" if feed == "tgzPolling" else ""
        feeds = {"url": f"{base}/setting{suffix}", "schedule": schedule, "timeout": 5}
        report = {"type": "api", "info": {"url": f"{base}/report", "timeout": 5}}
        beat = {"type": "apiPolling", "info": {**report["info"], "schedule": schedule}}
        purges = {"type": "apiPolling", "info": {**feeds, "url": f"{base}/purge"}}
        features = {
            "setting": {"enable": True, "feed": {"type": feed, "info": feeds}, "feedback": report},
            "purge": {"enable": True, "feed": purges, "feedback": report},
            "heartbeat": {"enable": True, "feedback": beat},
        }
        return {"enable": True, "features": {**features, **more}}

    def offer(self, node: str, setting: Any, userdata: Any = None, *, resources: Any = None) -> None:
        """Offer a setting, strictly later than the one before."""
        self.packages[node] = pack_files(write_json(setting), resources or {})
        self._serve(node, "setting", "/setting/upload", [f"{self.url}/{node}/package"], userdata)

    def offer_tgz(self, node: str, setting: Any) -> None:
        """Offer a setting to a node that polls for the package itself."""
        self._add(node, "setting.tgz", pack_files(write_json(setting), {}), "application/x-compressed")

    def purge(self, node: str, *urls: str, userdata: Any = None) -> None:
        """Offer a purge."""
        self._serve(node, "purge", "/command/purge", list(urls), userdata)

    def _serve(self, node: str, feed: str, api: str, urls: list[str], userdata: Any) -> None:
        message = {
            "messageVer": "1",
            "timestamp": "2026-01-01T00:00:00.000Z",
            "userdata": userdata,
            "action": {"api": api},
            "parameters": [{"url": url} for url in urls],
        }
        self._add(node, feed, write_json(message), "application/json")

    def _add(self, node: str, feed: str, body: bytes, content_type: str) -> None:
        self.clock += timedelta(seconds=1)
        self.offers[node, feed] = Served(body, self.clock, content_type)

    def report_of(self, node: str, api: str) -> list[Any]:
        """The reports of a node about an API; of `heartbeat` and `nodelist` too."""
        return [one for one in self.reports.get(node, []) if _kind(one) == api]

    async def answer(self, request: web.Request) -> web.Response:
        node, _, path = request.path.strip("/").partition("/")
        if path in self.broken:
            return web.Response(status=503)
        if request.method == "POST":
            assert request.content_type == "application/json"
            assert request.headers["Connection"].lower() == "keep-alive"
            body = await request.read()
            assert int(request.headers["Content-Length"]) == len(body)
            self.reports.setdefault(node, []).append(json.loads(body, object_pairs_hook=_keep_both))
            return web.Response(status=204)
        if path == "package":
            self.downloads.append((node, request.path))
            headers = {"Last-Modified": format_datetime(self.offers[node, "setting"].modified, usegmt=True)}
            return web.Response(body=self.packages[node], headers=headers)
        return self._answer_poll(node, path, request)

    def _answer_poll(self, node: str, feed: str, request: web.Request) -> web.Response:
        asked, offer = request.headers.get("If-Modified-Since"), self.offers.get((node, feed))
        is_new = offer is not None and (not asked or parsedate_to_datetime(asked) < offer.modified)
        status = 200 if is_new else 304 if asked else 503
        label = request.headers.get("X-M2-Setting-Meta-Version")
        self.polls.setdefault(node, []).append(Poll(feed, asked, label, status))
        if not is_new or offer is None:
            return web.Response(status=status)
        headers = {"Last-Modified": format_datetime(offer.modified, usegmt=True)}
        return web.Response(body=offer.body, content_type=offer.content_type, headers=headers)

    def polls_of(self, node: str, feed: str) -> list[Poll]:
        """The polls of one feed by one node, in order."""
        return [poll for poll in self.polls.get(node, []) if poll.feed == feed]


def _kind(report: Any) -> str:
    if "action" in report:
        return str(report["action"]["api"])
    return "nodelist" if "nodelist" in report else "heartbeat"


def _keep_both(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose name that comes twice keeps both values."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = [found[name], value] if name in found else value
    return found


@asynccontextmanager
async def serve_central() -> AsyncIterator[CentralServer]:
    """A central server on loopback."""
    server = CentralServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
