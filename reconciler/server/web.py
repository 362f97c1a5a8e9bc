"""The endpoints over HTTP: health, readiness, metrics and the webhook."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.errors import UsageError
from reconciler.server.board import Board
from reconciler.server.health import live, ready
from reconciler.server.logs import Log
from reconciler.server.metrics import Metrics
from reconciler.server.options import Address
from reconciler.server.webhook import CAP, TOO_LARGE, TOO_SLOW, UNWANTED, Reply, answer

BODY_SECONDS = 10
CONNECTIONS = 200
GRACE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the endpoints read, and the bell that the webhook rings.

    Args:
        ref: the branch, tag or commit watched; empty for the default branch.
        secret: shared with the forge; empty where the webhook is not wanted.
        ring: called with the trigger's name.
        monotonic: the clock of the board's pulses.
        wall: seconds since 1970.
    """

    board: Board
    metrics: Metrics
    log: Log
    ring: Callable[[str], None]
    monotonic: Callable[[], float]
    wall: Callable[[], float]
    ref: str = ""
    secret: str = ""
    dry_run: bool = False

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/metrics", self.figures),
                Route("/webhook", self.webhook, methods=["POST"]),
            ]
        )

    async def healthz(self, _request: Request) -> Response:
        """200 while every loop shows life, else 503."""
        good, detail = live(self.board, now=self.monotonic())
        return _json(detail, 200 if good else 503)

    async def readyz(self, _request: Request) -> Response:
        """200 once the first passes are done and source and store answer, else 503; details either way."""
        good, detail = ready(self.board, dry_run=self.dry_run)
        return _json(detail, 200 if good else 503)

    async def figures(self, request: Request) -> Response:
        """The metrics in Prometheus' or OpenMetrics' format."""
        body, content_type = self.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def webhook(self, request: Request) -> Response:
        """Believe the call or refuse it, and ring where it tells of a push."""
        reply = await self._reply(request)
        line = {
            "code": reply.code,
            "words": reply.words,
            "client": request.client.host if request.client else "",
        }
        if reply.rejected:
            self.metrics.rejects.labels(reply.code).inc()
            self.log.warning("webhook refused", **line)
        else:
            self.log.info("webhook answered", **line)
        if reply.asks:
            self.ring("webhook")
        close = {"connection": "close"} if reply in {TOO_LARGE, TOO_SLOW, UNWANTED} else None
        return _json({"status": reply.code, "message": reply.words}, reply.status, close)

    async def _reply(self, request: Request) -> Reply:
        if not self.secret:
            return UNWANTED
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return TOO_SLOW
        if body is None:
            return TOO_LARGE
        return answer(dict(request.headers), body, secret=self.secret, ref=self.ref, now=self.wall())


def _json(value: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that a person can read with nothing but curl."""
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, headers, media_type="application/json")


async def _body(request: Request) -> bytes | None:
    """The whole body; None as soon as it is known to be too large."""
    stated = request.headers.get("content-length", "0")
    if stated.isascii() and stated.isdigit() and int(stated) > CAP:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > CAP:
            return None
    return bytes(body)


class Server(uvicorn.Server):
    """uvicorn within a loop that is not its own: signals belong to the watch."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def bound(address: Address) -> socket.socket:
    """A socket that listens at the address, whoever will accept on it.

    Raises:
        UsageError: the address is taken, not this machine's, or not allowed.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(where)
            opened.listen(CONNECTIONS)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        remedy = "choose another with --listen HOST:PORT, or --listen off"
        raise UsageError(f"cannot listen on {address}: {error.strerror or error}", remedy=remedy) from error
    return opened


@contextlib.asynccontextmanager
async def serving(application: Any, opened: socket.socket) -> Any:
    """The application served on the socket for as long as the context lasts; gives the address."""
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="h11",
        ws="none",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = Server(config)
    host, port = opened.getsockname()[:2]
    task = asyncio.create_task(server.serve(sockets=[opened]), name="http")
    try:
        yield Address(host, port)
    finally:
        server.should_exit = True
        await asyncio.wait({task})
        opened.close()
    task.result()
