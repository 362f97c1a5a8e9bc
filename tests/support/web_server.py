"""The endpoints served on a real socket, for tests to call with clients of every kind."""

import asyncio
import hashlib
import hmac
import io
import json
from contextlib import asynccontextmanager
from ipaddress import ip_network

import httpx

from reconciler.core.endpoint import SocketAddress
from reconciler.server.access.access_control import AccessControl
from reconciler.server.cluster_pass import LoopContext
from reconciler.server.http_listener import HttpListener
from reconciler.server.logs import open_log
from reconciler.server.metrics import Metrics
from reconciler.server.watch_state import WatchState
from reconciler.server.web import Endpoints, bind_socket

SECRET = "s3cret"


class Site:
    """One served application with its state, triggers and log."""

    def __init__(self, secret=SECRET, connections=None, application=None, trusted_proxies=(), access=None):
        self.watch_state, self.triggers, self.lines = WatchState(), [], io.StringIO()
        self.metrics = Metrics(self.watch_state, dry_run=False)
        context = LoopContext(
            watch_state=self.watch_state,
            metrics=self.metrics,
            log=open_log(self.lines, form="json"),
            clock=lambda: 100.0,
            wall=lambda: 0.0,
            draw=lambda: 1.0,
            interval=60.0,
        )
        endpoints = Endpoints(
            context,
            self.triggers.append,
            ref="main",
            secret=lambda: secret,
            access=access or AccessControl(trusted=[ip_network(one) for one in trusted_proxies]),
        )
        self.broken = []
        self.socket = bind_socket(SocketAddress("127.0.0.1", 0))
        self.address = self.socket.getsockname()[:2]
        self.context = HttpListener(
            application or endpoints.application(),
            self.socket,
            log=context.log,
            dropped=lambda reason: self.metrics.dropped.labels(reason).inc(),
            report=lambda *told: self.broken.append(told),
            connections=connections,
            trusted_proxies=trusted_proxies,
        ).serving()

    async def __aenter__(self):
        await self.context.__aenter__()
        host, port = self.address
        self.client = httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False)
        return self

    async def __aexit__(self, *error):
        await self.client.aclose()
        await self.context.__aexit__(*error)
        self.socket.close()
        assert self.broken == []

    def dropped(self, reason):
        found = {"reason": reason}
        return self.metrics.registry.get_sample_value("reconciler_http_connections_dropped_total", found)

    def logged(self, event):
        found = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in found if line["event"] == event]

    def rejects(self, reason):
        return self.metrics.registry.get_sample_value("reconciler_webhook_rejects_total", {"reason": reason})


def signed(body):
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={digest}"}


@asynccontextmanager
async def raw(site, source="127.0.0.1"):
    """A connection without any client library."""
    reader, writer = await asyncio.open_connection(*site.address, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(site, request):
    """All bytes that come back for some bytes, until the server closes or falls silent."""
    async with raw(site) as (reader, writer):
        writer.write(request)
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(10):
            try:
                return await reader.read()
            except ConnectionError:
                return b""


def status(answer):
    """The status of the first answer; 0 where there is none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
