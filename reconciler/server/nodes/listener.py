"""Accepts the connections of nodes, bounds their number, and ends those whose deadline is over."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import UsageError
from reconciler.host.sockets import listen_on
from reconciler.server.logs import Log
from reconciler.server.nodes.callers import CallerRules
from reconciler.server.nodes.connection import NodeConnection
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.service import NodeService
from reconciler.server.supervision import Report, supervise_loop
from reconciler.server.throttle import Throttle

CONNECTIONS = 16_384
"""Connections at the same time; fewer if the process may open few files."""

FILES = 32_768
"""Open files that the process requests; its hard limit may allow fewer."""

RESERVED = 512
"""Open files that are no connections: the store, and what is being accepted."""

BACKLOG = 1_024
"""Connections that the kernel accepts ahead: nodes that poll by the same clock come together."""

HANDSHAKE_SECONDS = 10.0
"""Seconds of a TLS handshake."""

HANDSHAKES = 512
"""TLS handshakes at the same time."""

SWEEP_SECONDS = 0.5
"""Seconds between two looks for connections whose deadline is over."""

GRACE_SECONDS = 3.0
"""Seconds that the stopping server waits for running answers."""

PAUSE = 0.5
"""Seconds until the next attempt to accept when this host has no file descriptors or memory left."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class NodeHttpListener:
    """Owns the connections of one listening socket.

    Args:
        opened: the listening socket; the caller closes it.
        tls: None for plain HTTP.
        report: called when accepting crashes, before it restarts.
        limit: connections at the same time; None for one that fits the limit of open files.

    Attributes:
        held_bytes: bytes of bodies in memory.
        is_crowded: whether few connections are left, so that each ends after its answer.
    """

    def __init__(
        self,
        service: NodeService,
        opened: socket.socket,
        *,
        log: Log,
        rules: CallerRules,
        counters: CallCounters,
        report: Report,
        tls: ssl.SSLContext | None = None,
        limit: int | None = None,
    ) -> None:
        self._service, self._opened, self._log = service, opened, log
        self._rules, self._counters, self._report, self._tls = rules, counters, report, tls
        self._limit = limit or compute_node_connections()
        self._throttle = Throttle()
        # Both in the order of acceptance. A connection that has not shown a token yet goes first.
        self._unknown: dict[NodeConnection, None] = {}
        self._known: dict[NodeConnection, None] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self.is_crowded = False
        self.held_bytes = 0

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._unknown) + len(self._known)

    def forget(self, connection: NodeConnection) -> None:
        """A connection has ended."""
        self._unknown.pop(connection, None)
        self._known.pop(connection, None)
        self._note_number()

    def identify(self, connection: NodeConnection) -> None:
        """A request with a token that counts came in."""
        if self._unknown.pop(connection, 0) is None:
            self._known[connection] = None

    def count_dropped(self, reason: str) -> None:
        """A connection is ended early."""
        self._counters.dropped[reason] += 1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Accept connections while the context lasts, then finish running answers."""
        self._opened.setblocking(False)
        closing = asyncio.Event()
        loops = [
            asyncio.ensure_future(supervise_loop(loop, "nodes", stop=closing, report=self._report))
            for loop in (self._accept, self._sweep)
        ]
        try:
            yield
        finally:
            closing.set()
            for task in loops:
                task.cancel()
            await asyncio.wait(loops)
            await self._finish()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, peer = await loop.sock_accept(self._opened)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._warn("cannot accept connections of nodes", message=error.strerror)
                    self._drop_oldest("files")
                    await asyncio.sleep(PAUSE)
                # Any other error concerns one connection, which closed before it was accepted.
                continue
            # A proxy says later who calls.
            if not self._rules.is_proxy(str(peer[0])) and not self._rules.is_allowed(str(peer[0])):
                self._counters.refused[403] += 1
                self._warn("connection from an address that is not allowed", caller=str(peer[0]))
                connected.close()
                continue
            if self.connections + len(self._handshakes) >= self._limit and not self._drop_oldest("room"):
                self._warn("connection limit of nodes reached", limit=self._limit)
                self.count_dropped("room")
                connected.close()
                continue
            if self._tls is None:
                await self._connect(connected)
            elif len(self._handshakes) >= HANDSHAKES:
                self.count_dropped("handshake")
                connected.close()
            else:
                task = asyncio.ensure_future(self._connect(connected))
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)

    async def _connect(self, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        scheme = "http" if self._tls is None else "https"
        limits = {} if self._tls is None else {"ssl_handshake_timeout": HANDSHAKE_SECONDS}
        try:
            _, connection = await loop.connect_accepted_socket(
                lambda: NodeConnection(self._service, self, scheme), connected, ssl=self._tls, **limits
            )
        except (OSError, TimeoutError):  # also a failed handshake
            self._counters.dropped["handshake"] += self._tls is not None
            connected.close()
            return
        if connection.transport is not None:
            self._unknown[connection] = None
            self._note_number()

    def _note_number(self) -> None:
        self.is_crowded = self.connections > self._limit * 3 // 4

    def _drop_oldest(self, reason: str) -> bool:
        """End the oldest connection that waits, one without a token first; gives whether there was one."""
        for connections in (self._unknown, self._known):
            for connection in connections:
                if connection.is_waiting:
                    connection.drop(reason)
                    del connections[connection]
                    return True
        return False

    async def _sweep(self) -> None:
        """End connections whose deadline is over, or whose other end reads nothing."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connections in (self._unknown, self._known):
                for connection in list(connections):
                    if connection.deadline < now:
                        connection.expire()
                    else:
                        connection.check_progress(now)

    def _warn(self, event: str, **fields: object) -> None:
        if (more := self._throttle.admit(event)) is not None:
            self._log.warning(event, **fields, **more)

    async def _finish(self) -> None:
        """Close waiting connections, let running answers end, and abort what is left."""
        for task in self._handshakes:
            task.cancel()
        for connection in [*self._unknown, *self._known]:
            connection.close()
        tasks = [one.task for one in [*self._unknown, *self._known] if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        await asyncio.sleep(0)
        for connection in [*self._unknown, *self._known]:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)


def compute_node_connections() -> int:
    """The limit of connections; first raises the limit of open files as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    # The process has little else to open.
    return (
        CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, max(soft // 2, soft - RESERVED))
    )


def bind_node_socket(address: SocketAddress) -> socket.socket:
    """A socket that listens at the address.

    Raises:
        UsageError: the address is in use, not on this machine, or not permitted.
    """
    try:
        return listen_on(address.host, address.port, BACKLOG)
    except OSError as error:
        remedy = "choose another address in `nodes.listen` of the host configuration"
        message = f"cannot listen for nodes on {address}: {error.strerror or error}"
        raise UsageError(message, remedy=remedy) from error
