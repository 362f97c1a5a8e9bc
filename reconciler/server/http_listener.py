"""Accepts HTTP connections within limits, so that no caller can use up all connections.

Every connection has a deadline for each phase: the head of a request, the request with its answer, the next
request. When all connections are in use, a new one replaces the oldest that only waits for a request or a
slow reader, so that a health check is answered however many idle connections there are. Connections are
accepted here and not by `uvicorn.Server`: the accept loop of asyncio logs thousands of lines per second once
the process has no more file descriptors.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from typing import Any

import h11
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from reconciler.server.access.arrival import PEER
from reconciler.server.logs import Log
from reconciler.server.supervision import Report, supervise_loop
from reconciler.server.throttle import Throttle

CONNECTIONS = 200
"""Connections at the same time; fewer if the process may open few files."""

HEAD_SECONDS = 10.0
"""Seconds in which a new connection must send the head of its request."""

IDLE_SECONDS = 5
"""Seconds without a request after which a connection is closed normally."""

NEXT_SECONDS = 10.0
"""Seconds from an answer in which the next request's head, or the rest of a body, must arrive."""

REQUEST_SECONDS = 30.0
"""Seconds from the head of a request to its answer."""

READ_SECONDS = 30.0
"""Seconds in which the caller must read an answer."""

GRACE_SECONDS = 3.0
"""Seconds that the stopping watch waits for running answers."""

PAUSE = 1.0
"""Seconds until the next attempt to accept when this host has no file descriptors or memory left."""

FILES = 4096
"""Open files that the process requests; its hard limit may allow fewer."""

_FILES_PER_CONNECTION = 4
"""Allowed open files per HTTP connection: nodes, git and the store need the rest."""

_EXHAUSTED_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Dropped = Callable[[str], None]
"""Called with the reason why a connection was closed early: `deadline`, `room` or `files`."""


class HttpConnection(H11Protocol):
    """A connection of uvicorn with a deadline for every phase."""

    def __init__(self, config: uvicorn.Config, state: ServerState, dropped: Dropped) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._dropped = dropped
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether this connection only waits for a request or for a slow reader."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start, with a deadline for the first head."""
        super().connection_made(transport)
        self._set_deadline(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        # Only a complete head starts a new deadline: a caller that sends one byte at a time gains no time.
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.cycle.response_complete:
            self._set_deadline(REQUEST_SECONDS)

    def on_response_complete(self) -> None:
        """The answer is complete: the caller must read it, or send the next request."""
        answered = self.cycle
        slow = self.transport.get_write_buffer_size() > 0
        self._set_deadline(READ_SECONDS if slow else NEXT_SECONDS)
        super().on_response_complete()
        if self.cycle is not answered:  # the next request had arrived already
            self._set_deadline(REQUEST_SECONDS)

    def drop(self, reason: str) -> None:
        """Close at once, without reading or writing the rest."""
        if self._timer is not None:
            self._timer.cancel()
        self._dropped(reason)
        self.transport.abort()

    def _set_deadline(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.drop, "deadline")


class HttpListener:
    """Serves an application on a listening socket.

    Args:
        application: an ASGI application.
        opened: the listening socket; the caller closes it.
        log: gets a warning when a limit is reached, a few times per minute.
        dropped: counts connections that were closed early.
        report: called when accepting crashes, before it restarts.
        connections: limit; None for one that fits the limit of open files.
        trusted_proxies: networks of proxies whose `X-Forwarded-For` names the caller.
    """

    def __init__(
        self,
        application: Any,
        opened: socket.socket,
        *,
        log: Log,
        dropped: Dropped,
        report: Report,
        connections: int | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        self._opened, self._log, self._dropped, self._report = opened, log, dropped, report
        self._limit = connections or compute_connection_limit()
        self._throttle = Throttle()
        self._state = ServerState()
        self._accepted: dict[HttpConnection, None] = {}
        # Explicit, or uvicorn would read them from the environment (WEB_CONCURRENCY, FORWARDED_ALLOW_IPS).
        self._config = uvicorn.Config(
            _RecordPeer(application, trusted_proxies),
            http=HttpConnection,
            ws="none",
            lifespan="off",
            workers=1,
            proxy_headers=False,  # `_RecordPeer` applies them
            server_header=False,
            log_config=None,
            access_log=False,
            timeout_keep_alive=IDLE_SECONDS,
        )
        self._config.load()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Accept connections while the context lasts, then finish running answers."""
        self._opened.setblocking(False)
        closing = asyncio.Event()
        accepting = asyncio.ensure_future(
            supervise_loop(self._accept, "http", stop=closing, report=self._report)
        )
        try:
            yield
        finally:
            closing.set()
            accepting.cancel()
            await asyncio.wait({accepting})
            await self._finish()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(self._opened)
            except OSError as error:
                if error.errno in _EXHAUSTED_ERRNOS:
                    await self._recover_files(error)
                # Any other error concerns one connection, which closed before it was accepted.
                continue
            self._make_room()
            # The server loop of uvicorn, which this replaces, would refresh this header.
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            try:
                _, connection = await loop.connect_accepted_socket(
                    lambda: HttpConnection(self._config, self._state, self._dropped), connected
                )
                self._accepted[connection] = None
            except OSError:
                connected.close()

    def _make_room(self) -> None:
        """If all connections are in use, close the oldest waiting one of the address with the most."""
        alive = self._state.connections
        self._accepted = {one: None for one in self._accepted if one in alive}
        if len(self._accepted) < self._limit:
            return
        self._warn("connection limit reached", limit=self._limit)
        if (oldest := self._find_oldest_waiting()) is not None:
            oldest.drop("room")
            del self._accepted[oldest]

    async def _recover_files(self, error: OSError) -> None:
        """No file descriptors are left: close one waiting connection, or wait."""
        self._warn("cannot accept connections", message=error.strerror)
        if (oldest := self._find_oldest_waiting()) is not None:
            oldest.drop("files")
            self._accepted.pop(oldest, None)
            await asyncio.sleep(0.05)
        else:
            await asyncio.sleep(PAUSE)

    def _find_oldest_waiting(self) -> HttpConnection | None:
        waiting = [one for one in self._accepted if one.transport is not None and one.is_waiting]
        if not waiting:
            return None
        # A caller with many connections loses its own first, not those of a health check.
        hosts = Counter(one.client[0] if one.client else "" for one in waiting)
        busiest = hosts.most_common(1)[0][0]
        # `_accepted` keeps the order of acceptance: the first match is the oldest.
        return next(one for one in waiting if (one.client[0] if one.client else "") == busiest)

    def _warn(self, event: str, **fields: object) -> None:
        if (more := self._throttle.admit(event)) is not None:
            remedy = "check who connects to the endpoints; put a proxy with limits in front of them"
            self._log.warning(event, **fields, remedy=remedy, **more)

    async def _finish(self) -> None:
        """Close waiting connections, let running answers end, and abort what is left."""
        for connection in list(self._state.connections):
            with suppress(h11.ProtocolError):
                connection.shutdown()
        if tasks := set(self._state.tasks):
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        await asyncio.sleep(0)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.sleep(0)


class _RecordPeer:
    """Keeps the address of the connection before a trusted proxy names another caller.

    Args:
        application: an ASGI application.
        trusted: networks of trusted proxies.
    """

    def __init__(self, application: Any, trusted: Sequence[str]) -> None:
        self._application = (
            ProxyHeadersMiddleware(application, trusted_hosts=list(trusted)) if trusted else application
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope[PEER] = scope["client"][0] if scope.get("client") else ""
        await self._application(scope, receive, send)


def compute_connection_limit() -> int:
    """The limit of connections; first raises the limit of open files as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return (
        CONNECTIONS
        if soft == resource.RLIM_INFINITY
        else max(8, min(CONNECTIONS, soft // _FILES_PER_CONNECTION))
    )
