"""Accepts HTTP connections within bounds, so that whoever connects can neither fill them up nor hold them.

Every connection has a deadline for each of its phases: for its request's head, for the request and its
answer, for the next request. Where all connections are taken, a new one is accepted in place of the oldest
that only waits for a request or for a slow reader; so a health check gets through however many idle
connections there are. Connections are accepted here and not by `uvicorn.Server`: asyncio's own accept loop
logs thousands of lines a second once the process has no more open files.
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
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from reconciler.server.logs import Log
from reconciler.server.supervision import Report, supervise_loop
from reconciler.server.throttle import Throttle

CONNECTIONS = 200
"""Connections at once; fewer where the process may not open many files."""

HEAD_SECONDS = 10.0
"""Seconds that a new connection has to send the head of its request."""

IDLE_SECONDS = 5
"""Seconds of silence after an answer that end a connection in good order."""

NEXT_SECONDS = 10.0
"""Seconds from an answer that the next request's head, or what is left of a body, may take to come."""

REQUEST_SECONDS = 30.0
"""Seconds from the head of a request until its answer is made."""

READ_SECONDS = 30.0
"""Seconds that the caller has to read an answer."""

GRACE_SECONDS = 3.0
"""Seconds that the end of the watch waits for answers under way."""

PAUSE = 1.0
"""Seconds until the next try to accept where this host has no more open files or memory."""

FILES = 4096
"""Open files that the process asks for; it gets what its hard limit allows."""

_FILES_PER_CONNECTION = 4
"""One connection for so many files that the process may open: nodes, git and the store need the others."""

_EXHAUSTED_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Dropped = Callable[[str], None]
"""Is told why a connection was ended before its time: `deadline`, `room` or `files`."""


class HttpConnection(H11Protocol):
    """One connection: uvicorn's, with a deadline for every phase."""

    def __init__(self, config: uvicorn.Config, state: ServerState, dropped: Dropped) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._dropped = dropped
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether nothing of ours is under way: a request is awaited, or a slow reader."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with a deadline for the first head."""
        super().connection_made(transport)
        self._set_deadline(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; the deadline of its head stands however many pieces it comes in."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.cycle.response_complete:
            self._set_deadline(REQUEST_SECONDS)

    def on_response_complete(self) -> None:
        """The answer is made: it has to be read, or the next request has to come."""
        answered = self.cycle
        slow = self.transport.get_write_buffer_size() > 0
        self._set_deadline(READ_SECONDS if slow else NEXT_SECONDS)
        super().on_response_complete()
        if self.cycle is not answered:  # the next request was there already
            self._set_deadline(REQUEST_SECONDS)

    def drop(self, reason: str) -> None:
        """End at once, whatever is still to be read or written."""
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
        opened: the socket; it is not closed here.
        log: is told of limits that are reached, a few times a minute.
        dropped: counts connections that were ended before their time.
        report: is told where accepting breaks down; it is begun again.
        connections: at once; a suitable number where None.
        trusted_proxies: networks of proxies whose `X-Forwarded-For` says who calls; the log names the caller.
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
        # Explicit where uvicorn would else ask the environment (WEB_CONCURRENCY, FORWARDED_ALLOW_IPS).
        self._config = uvicorn.Config(
            application,
            http=HttpConnection,
            ws="none",
            lifespan="off",
            workers=1,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            server_header=False,
            log_config=None,
            access_log=False,
            timeout_keep_alive=IDLE_SECONDS,
        )
        self._config.load()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Accept connections for as long as the context lasts; answers under way are finished."""
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
                # Anything else concerns the one connection, which was gone before it was accepted.
                continue
            self._make_room()
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            try:
                _, connection = await loop.connect_accepted_socket(self._connection, connected)
                self._accepted[connection] = None
            except OSError:
                connected.close()

    def _connection(self) -> HttpConnection:
        return HttpConnection(self._config, self._state, self._dropped)

    def _make_room(self) -> None:
        """End the oldest waiting connection of the address that has the most, where all are taken."""
        alive = self._state.connections
        self._accepted = {one: None for one in self._accepted if one in alive}
        if len(self._accepted) < self._limit:
            return
        self._warn("the listener is at its limit of connections", limit=self._limit)
        if (oldest := self._find_oldest_waiting()) is not None:
            oldest.drop("room")
            del self._accepted[oldest]

    async def _recover_files(self, error: OSError) -> None:
        """This host has no more open files: give back one of ours, or wait; the log is told now and then."""
        self._warn("no connection can be accepted", message=error.strerror)
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
        hosts = Counter(one.client[0] if one.client else "" for one in waiting)
        busiest = hosts.most_common(1)[0][0]
        return next(one for one in waiting if (one.client[0] if one.client else "") == busiest)

    def _warn(self, event: str, **fields: object) -> None:
        if (more := self._throttle.admit(event)) is not None:
            remedy = "look at who connects to the endpoints; put a proxy with limits in front of them"
            self._log.warning(event, **fields, remedy=remedy, **more)

    async def _finish(self) -> None:
        """Close what waits, let answers under way end, and cut off what is left."""
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


def compute_connection_limit() -> int:
    """How many connections this process can afford, after it has asked for enough open files."""
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
