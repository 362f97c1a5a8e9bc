"""Exchanges with nodes over TCP, one on a connection, with limits of time, size and number."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from reconciler.core.endpoint import SocketAddress
from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.host.host import Host
from reconciler.ports.call_permit import ask_permit
from reconciler.ports.transport import OtherProtocol, Streams
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import format_size, make_one_line
from reconciler.transports.http_errors import (
    CHECK_NETWORK,
    LOOK_AT_NODE,
    CallFailed,
    describe_connection_error,
    describe_end,
    unsent,
)
from reconciler.transports.machines.machine import Tunnels
from reconciler.transports.node_sockets import NodeSockets, open_socket

_CHUNK: Final = 16 * 1024
_LONGEST_REASON: Final = 200
_MOST_PORT: Final = 65_535


class StreamTransport(Streams):
    """Exchanges with nodes, as `ports.transport.Streams` describes them.

    Args:
        host: limits the networks of nodes.
        concurrency: calls at the same time; the timeout of a waiting call starts with the call.
        tunnels: to nodes behind bastions; None for a host without any.
        way: entry of `ssh` through whose machine all connections go; empty for direct ones.
    """

    # No kept connections: one would stay logged in as whoever it was, and a password that changed meanwhile
    # would not show.

    def __init__(
        self,
        host: Host | None = None,
        *,
        concurrency: int = 128,
        tunnels: Tunnels | None = None,
        way: str = "",
    ) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._sockets = NodeSockets(host or Host(), tunnels)
        self._way = way

    def through(self, way: str) -> Streams:
        other = StreamTransport(way=way)
        other._slots, other._sockets = self._slots, self._sockets
        return other

    async def ask(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced here)
        limit: int,
    ) -> bytes:
        exchange = _Exchange(request, is_complete, limit, timeout)
        async with self._slots:
            await ask_permit(timeout)
            try:
                async with asyncio.timeout(timeout):
                    return await self._run(address, exchange)
            except TimeoutError as error:
                _raise_node_error(node, address, exchange.describe_timeout(), error)
            except CallFailed as error:
                _raise_node_error(node, address, error, error)

    async def send(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced here)
        limit: int,
    ) -> bytes:
        # The difference is what the caller may do: `planning.read_only` refuses this one.
        return await self.ask(
            address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
        )

    async def _run(self, address: SocketAddress, exchange: _Exchange) -> bytes:
        opened = await self._connect(address, exchange)
        try:
            exchange.sign = Liveness.ALIVE
            return await exchange.run(opened)
        finally:
            opened.close()

    async def _connect(self, address: SocketAddress, exchange: _Exchange) -> socket.socket:
        if not address.host or not 0 < address.port <= _MOST_PORT:
            raise unsent("its address is not a host and a port")
        places = await self._sockets.find_places(address.host, self._way)
        if self._way:
            return await self._sockets.open_tunnel(self._way, address.host, address.port)
        exchange.sign = Liveness.SILENT
        try:
            return await open_socket(places, address.port)
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise  # of this program's clock, not of the kernel
            raise describe_connection_error(error) from error


@dataclass(slots=True)
class _Exchange:
    """One request and its answer, and how far they have come, which decides what a failure means."""

    request: bytes
    is_complete: Callable[[bytes], bool]
    limit: int
    timeout: float
    sign: Liveness = Liveness.UNASKED
    is_sent: bool = False

    def describe_timeout(self) -> CallFailed:
        """Why it failed, if its time is over."""
        if self.is_sent:
            return CallFailed(f"no answer within {self.timeout:g} s", remedy=LOOK_AT_NODE)
        return unsent(f"no connection within {self.timeout:g} s", self.sign, remedy=CHECK_NETWORK)

    async def run(self, opened: socket.socket) -> bytes:
        """Send the request and give its complete answer.

        Raises:
            CallFailed: there is none.
        """
        loop = asyncio.get_running_loop()
        self.is_sent = True
        # Both at once: a node may answer, and end, before it has taken the whole request.
        sending = asyncio.ensure_future(loop.sock_sendall(opened, self.request))
        try:
            return await self._receive(opened)
        finally:
            sending.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await sending

    async def _receive(self, opened: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        answer = bytearray()
        while True:
            try:
                part = await loop.sock_recv(opened, _CHUNK)
            except OSError as error:
                raise describe_end(error, begun=bool(answer)) from error
            if not part:
                raise describe_end(None, begun=bool(answer))
            answer += part
            if len(answer) > self.limit:
                raise CallFailed(f"its answer is larger than {format_size(self.limit)}")
            try:
                if self.is_complete(part):
                    return bytes(answer)
            except OtherProtocol as error:
                words = make_one_line(SHAPES.redact_text(str(error)), _LONGEST_REASON)
                raise CallFailed(f"its answer {words}", is_other_protocol=True) from None


def _raise_node_error(node: str, address: SocketAddress, failed: CallFailed, cause: Exception) -> NoReturn:
    failure = NodeUnidentified if failed.is_other_protocol else NodeUnreachable
    host = f"[{address.host}]" if ":" in address.host else address.host
    raise failure(
        node,
        f"{failed.reason} ({host}:{address.port})",
        remedy=failed.remedy,
        sign=failed.sign,
        sent=failed.sent,
        closed=failed.closed,
    ) from cause
