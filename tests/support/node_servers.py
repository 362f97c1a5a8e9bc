"""The node server over a small product and a store in memory, for tests to call."""

import asyncio
import hashlib
import io
import json
import threading
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import httpx

from reconciler.core.endpoint import SocketAddress
from reconciler.core.offers import OfferFeed
from reconciler.errors import StateError
from reconciler.ports.central_server import (
    CentralServer,
    InboundAnswer,
    InvalidReport,
    NodeRoute,
    PollHeaders,
    ReceivedReport,
    RouteKind,
)
from reconciler.ports.node_store import KnownToken, NodeChanges
from reconciler.ports.transport import NodeMail
from reconciler.server.logs import open_log
from reconciler.server.nodes.callers import CallerRules
from reconciler.server.nodes.node_server import NodeServer, NodeServerOptions, NodeServerParts
from support.offers import make_offer

RECENT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
POLL = NodeRoute("setting", RouteKind.POLL, ("GET",), OfferFeed.SETTING)
WHOLE = NodeRoute("setting.tgz", RouteKind.POLL, ("GET",), OfferFeed.SETTING)
DOWNLOAD = NodeRoute("package", RouteKind.DOWNLOAD, ("GET",), OfferFeed.SETTING, ".tgz")
REPORT = NodeRoute("report", RouteKind.REPORT, ("POST",))


def freeze(clusters):
    """The holds of clusters that are frozen as long as they are in a set."""
    return lambda cluster, node, now: frozenset({"frozen"} if cluster in clusters else ())


def http_date(moment):
    return format_datetime(moment, usegmt=True)


class TinyServer(CentralServer):
    """A product whose content is its parts, and whose reports are JSON with any keys of `ReceivedReport`."""

    routes = (POLL, WHOLE, DOWNLOAD, REPORT)

    def read_poll(self, headers):
        try:
            asked = parsedate_to_datetime(headers.get("if-modified-since", ""))
        except ValueError:
            asked = None
        return PollHeaders(asked, headers.get("x-label", ""))

    def answer_poll(self, request, offer, parts):
        headers = {"Last-Modified": http_date(offer.last_modified), "Content-Type": "application/json"}
        if request.route is WHOLE:
            return InboundAnswer(200, headers, tuple(parts)) if parts else InboundAnswer(404)
        body = json.dumps({"url": f"{request.base}/package/{offer.id}.tgz", "at": request.at.isoformat()})
        return InboundAnswer(200, headers, (body.encode(),))

    def answer_download(self, request, offer, parts):
        headers = {"Last-Modified": http_date(offer.last_modified), "ETag": f'"{offer.id}"'}
        return InboundAnswer(200, headers, tuple(parts))

    def read_report(self, request):
        try:
            fields = json.loads(request.body)
            if "crash" in fields:
                raise ZeroDivisionError(fields["crash"])
            about = OfferFeed(fields.pop("about", "setting")) if "succeeded" in fields else None
            return ReceivedReport(
                **{"kind": "heartbeat", "about": about, **fields, "body": bytes(request.body)}
            )
        except (ValueError, TypeError) as error:
            raise InvalidReport("not a report") from error

    def list_secrets(self, mail):
        return frozenset(mail.content.body.decode().split() if mail.content else ())

    def describe(self, route):
        return {}


class MemoryNodes:
    """The part of a store that the node server uses; its writes can be held back and refused."""

    def __init__(self):
        self.tokens, self.offers, self.contents, self.suspended = {}, {}, {}, frozenset()
        self.mails = {}
        self.calls, self.groups, self.refused = [], [], set()
        self.position = 1
        self.broken = None
        self.gate = threading.Event()
        self.gate.set()

    def add(self, token, node, *, cluster="c", fleet=1, kind="tiny", **fields):
        digest = hashlib.sha256(token.encode()).hexdigest()
        self.tokens[token] = KnownToken(digest, fleet, cluster, kind, node, **fields)
        self.position += 1

    def offer(self, node, *parts, cluster="c", fleet=1, **fields):
        fields = {"last_modified": RECENT, "opens": RECENT, "closes": RECENT + timedelta(days=1), **fields}
        offer = make_offer(node=node, cluster=cluster, **fields)
        self.contents[offer.id] = parts
        last = self.offers.get((fleet, cluster, node), {}).get(offer.feed, (None, None))[1]
        known = self.offers.get((fleet, cluster, node), {})
        self.offers[fleet, cluster, node] = {**known, offer.feed: (offer, offer if offer.taken else last)}
        self.position += 1
        return offer

    def select_fleet(self, fleet):
        return self

    async def mail(self, cluster, nodes):
        return {node: self.mails.get(node, NodeMail()) for node in nodes}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    async def fleets(self):
        return ()

    async def read_changes(self, since):
        if self.broken:
            raise StateError(self.broken)
        if since == self.position:
            return NodeChanges(position=since, suspended=self.suspended)
        return NodeChanges(
            position=self.position,
            tokens=tuple(self.tokens.values()),
            offers=dict(self.offers),
            suspended=self.suspended,
        )

    async def parts(self, offer):
        return self.contents.get(offer.id)

    async def record_calls(self, calls):
        while not self.gate.is_set():
            await asyncio.sleep(0.005)
        if self.broken:
            raise StateError(self.broken)
        self.calls += calls
        self.groups.append(len(calls))
        for call in calls:
            key = (call.fleet, call.cluster, call.node)
            if call.took and call.took not in self.refused:
                offer = replace(self.offers[key][call.feed][0], taken=call.at)
                self.offers[key] = {**self.offers[key], call.feed: (offer, offer)}
                self.position += 1
        return frozenset(self.refused & {call.took for call in calls})

    def reports(self):
        return [call for call in self.calls if call.kind]

    def polls(self):
        return [call for call in self.calls if not call.kind]


class NodeSite:
    """A running node server over a store in memory."""

    def __init__(
        self,
        store=None,
        *,
        products=None,
        find_holds=lambda cluster, node, now: frozenset(),
        fresh=60.0,
        **options,
    ):
        self.store = store or MemoryNodes()
        self.lines, self.crashes = io.StringIO(), deque()
        rules = CallerRules(options.pop("allow", ()), options.pop("proxies", ()))
        products = products or {"tiny": TinyServer()}
        self.server = NodeServer(
            NodeServerOptions(SocketAddress("127.0.0.1", 0), rules=rules, **options),
            NodeServerParts(
                lambda: self.store,
                products.get,
                find_holds,
                lambda cluster: fresh,
                open_log(self.lines, form="json"),
                lambda *crash: self.crashes.append(crash),
            ),
        )

    @property
    def counters(self):
        return self.server.counters

    @property
    def connected(self):
        """Whether the server knows a node's connection."""
        return any(node.connections for node in self.server.table.nodes())

    @property
    def address(self):
        return self.server.address

    def logged(self, event):
        lines = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def refreshed(self):
        """Wait until the server knows what the store has."""
        async with asyncio.timeout(10):
            while self.server.table.position != self.store.position:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def raw(self):
        """A connection; its reader and writer."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def __aenter__(self):
        self._running = self.server.running()
        self.url = self._running.__enter__()
        await self.refreshed()
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False)
        return self

    async def __aexit__(self, *error):
        await self.client.aclose()
        await asyncio.to_thread(self._running.__exit__, None, None, None)
        assert not self.crashes
