"""Open connections to nodes between calls, bounded in number, in idle time and in age."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Container
from typing import Final, NamedTuple

from reconciler.transports.http_connection import ClientConnection, abort_connections

IDLE: Final = 60.0
"""Seconds for which an unused connection is kept: a pass reads a node for its plan, then for its step,
and the pass after it once more."""

LIFETIME: Final = 600.0
"""Seconds after which a connection takes no further request, and the system's authorities are read again: a
certificate, a route or a load balancer may have changed."""

BEHIND_BASTION: Final = 256
"""Idle connections through one bastion. `MOST_TUNNELS` of `ssh_tunnel` bounds all that are open through it:
those that nobody uses must leave room for the others."""


class ConnectionKey(NamedTuple):
    """For whom a connection was made; no other node, name, scheme, bastion or authority gets it."""

    node: str
    scheme: str
    host: str
    port: int
    via: str = ""
    authority: str = ""


class ConnectionPool:
    """Idle connections of one process; several transports may share it, one after another or at once.

    Args:
        most: idle connections at the same time; a further one is closed.
        tls: certificates to trust instead of the system's.
    """

    # A full pool closes the newcomer, not the oldest one: with more nodes than room, each pass reads them in
    # the same order, and would otherwise find none of its connections again.

    def __init__(self, most: int, tls: ssl.SSLContext | None = None) -> None:
        self._most = most
        self._given_tls = tls
        self._own_tls: dict[str, tuple[ssl.SSLContext, float]] = {}
        self._idle: dict[ClientConnection, tuple[ConnectionKey, float]] = {}  # the longest idle first
        self._by_key: dict[ConnectionKey, list[ClientConnection]] = {}
        self._behind: Counter[str] = Counter()  # bastion -> idle connections through it
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> int:
        """Idle connections."""
        return len(self._idle)

    @property
    def tls(self) -> ssl.SSLContext:
        """What verifies certificates."""
        if self._given_tls is not None:
            return self._given_tls
        return self.trust("")

    def trust(self, file: str) -> ssl.SSLContext:
        """What verifies certificates that an authority in a file has signed; empty for the system's.

        Raises:
            OSError: the file cannot be read, or has no certificate in PEM (`ssl.SSLError`).
        """
        now = time.monotonic()
        context, since = self._own_tls.get(file, (None, 0.0))
        if context is None or now - since > LIFETIME:  # a file may be renewed
            context = ssl.create_default_context(cafile=file or None)
            context.set_alpn_protocols(["http/1.1"])
            self._own_tls[file] = context, now
        return context

    def take(self, key: ConnectionKey, places: Container[str]) -> ClientConnection | None:
        """An idle connection for the next request; None if a new one must be made.

        Args:
            key: of the request.
            places: IP addresses that this node has now; a connection to another one is closed.
        """
        now = asyncio.get_running_loop().time()
        while kept := self._by_key.get(key):
            connection = kept[-1]
            self._remove(connection)
            if connection.is_open and connection.place in places and now - connection.since < LIFETIME:
                return connection
            connection.close()
        return None

    def put(self, key: ConnectionKey, connection: ClientConnection) -> None:
        """Keep a connection whose answer is complete; close it if there is no room."""
        is_full = len(self._idle) >= self._most or (key.via and self._behind[key.via] >= BEHIND_BASTION)
        if not connection.is_open or is_full:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle[connection] = key, loop.time()
        self._behind[key.via] += 1
        self._by_key.setdefault(key, []).append(connection)
        connection.on_lost = self._remove
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(IDLE, self._sweep)

    async def aclose(self) -> None:
        """Close every idle connection."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        idle = list(self._idle)
        for connection in idle:
            self._remove(connection)
        await abort_connections(idle)

    def _remove(self, connection: ClientConnection) -> None:
        found = self._idle.pop(connection, None)
        connection.on_lost = None
        if found is None:
            return
        self._behind[found[0].via] -= 1
        kept = self._by_key[found[0]]
        kept.remove(connection)
        if not kept:
            del self._by_key[found[0]]

    def _sweep(self) -> None:
        """Close what was idle for too long, and come again for the next one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._sweep_timer = None
        while self._idle:
            connection, (_, since) = next(iter(self._idle.items()))
            if since + IDLE > now:
                # Not for each one by itself: thousands of connections become idle one by one.
                self._sweep_timer = loop.call_at(max(since + IDLE, now + 1.0), self._sweep)
                return
            self._remove(connection)
            connection.close()
