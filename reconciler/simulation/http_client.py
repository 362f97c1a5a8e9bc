"""The HTTP client of simulated nodes: small, because thousands of nodes call from one process.

Each node has connections of its own, as a real one has; at most one of them waits for its next call.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import DEFAULT_PORTS, format_url_host
from reconciler.ports.simulator import OutgoingCall, Reply

NO_ANSWER: Final[Reply] = (0, {}, b"")
"""The reply if no answer came, or one that is not HTTP."""

LARGEST_HEAD: Final = 64 * 1024
"""Highest number of bytes of status line and headers."""

LARGEST_BODY: Final = 256 * 1024 * 1024
"""Highest number of bytes of a body."""

_BIND_ADDRESS_NO_PORT: Final = 24
"""`IP_BIND_ADDRESS_NO_PORT` of Linux, which Python 3.11 does not name."""

_BODILESS: Final = frozenset({204, 304})


class MalformedAnswer(ValueError):
    """An answer is not HTTP/1."""


class _Connection(asyncio.Protocol):
    """One connection; one call at a time."""

    def __init__(self, origin: tuple[str, str, int]) -> None:
        self.origin = origin
        self.is_open = False
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[Reply, bool]] | None = None
        self._head: tuple[int, dict[str, str], int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is None or self._answer.done():
            return
        # An answer without a length ends with its connection.
        if exc is None and self._head is not None and _get_length(self._head[1]) is None:
            self._answer.set_result(
                ((self._head[0], self._head[1], bytes(self._buffer[self._head[2] :])), False)
            )
        else:
            self._answer.set_exception(exc or ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        try:
            if self._head is None:
                self._head = _read_head(self._buffer)
            found = self._head and _read_body(self._buffer, *self._head)
        except (MalformedAnswer, ValueError) as error:
            self._answer.set_exception(MalformedAnswer(str(error)))
            self.close()
            return
        if self._head is None or found is None:
            return
        body, end = found
        status, headers, _ = self._head
        keeps = headers.get("connection", "").lower() != "close" and end == len(self._buffer)
        self._buffer.clear()
        self._head = None
        self._answer.set_result(((status, headers, body), keeps))

    async def ask(self, request: bytes) -> tuple[Reply, bool]:
        """The answer to a request, and whether the connection can be used again."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close it at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


def _read_head(buffer: bytearray) -> tuple[int, dict[str, str], int] | None:
    """Status, headers and where the body begins; None if the head is not complete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > LARGEST_HEAD:
            raise MalformedAnswer("its head is too long")
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if version not in {"HTTP/1.1", "HTTP/1.0"} or not rest[:3].isdecimal():
        raise MalformedAnswer("it has no status line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedAnswer("a header has no colon")
        headers[name.lower()] = value.strip()
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    status = int(rest[:3])
    if status in _BODILESS:
        headers["content-length"] = "0"
    return status, headers, end + 4


def _get_length(headers: Mapping[str, str]) -> int | None:
    """The length of the body; None if the answer does not say."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return -1
    return int(headers["content-length"]) if "content-length" in headers else None


def _read_body(
    buffer: bytearray, _status: int, headers: dict[str, str], start: int
) -> tuple[bytes, int] | None:
    """The body and where it ends; None if it is not complete."""
    length = _get_length(headers)
    if len(buffer) - start > LARGEST_BODY:
        raise MalformedAnswer("its body is too long")
    if length is None:
        return None
    if length < 0:
        return _read_chunks(buffer, start)
    end = start + length
    return (bytes(buffer[start:end]), end) if len(buffer) >= end else None


def _read_chunks(buffer: bytearray, position: int) -> tuple[bytes, int] | None:
    found = bytearray()
    while (end := buffer.find(b"\r\n", position)) >= 0:
        size = int(buffer[position:end].split(b";")[0], 16)
        if len(buffer) < end + 2 + size + 2:
            return None
        found += buffer[end + 2 : end + 2 + size]
        position = end + 2 + size + 2
        if size == 0:
            return bytes(found), position
    return None


class NodeClient:
    """Sends the calls of nodes.

    Args:
        trust: TLS settings; None for the certificates that this machine trusts.
    """

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self._trust = trust
        self._kept: dict[str, _Connection] = {}

    async def ask(self, node: str, call: OutgoingCall, *, keeps: bool = True, source: str = "") -> Reply:
        """The answer to a call; never raises, `NO_ANSWER` if there is none in time.

        Args:
            node: whose connection is used.
            call: what is sent.
            keeps: whether the connection is used again for the next call.
            source: address of this machine from which the node calls; empty for any.
        """
        try:
            async with asyncio.timeout(call.timeout):
                return await self._ask(node, call, keeps=keeps, source=source)
        except (OSError, TimeoutError, ValueError):
            return NO_ANSWER

    def close(self) -> None:
        """Close all connections."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    def drop(self, node: str) -> None:
        """Close the connection of a node that went down."""
        if connection := self._kept.pop(node, None):
            connection.close()

    async def _ask(self, node: str, call: OutgoingCall, *, keeps: bool, source: str) -> Reply:
        url = urlsplit(call.url)
        host = url.hostname or ""
        origin = (url.scheme, host, url.port or DEFAULT_PORTS[url.scheme])
        request = _write_request(call, origin, f"{url.path or '/'}{'?' if url.query else ''}{url.query}")
        connection = self._kept.pop(node, None)
        if connection is not None and connection.is_open and connection.origin == origin:
            try:
                return await self._use(node, connection, request, keeps=keeps)
            except ConnectionError:
                pass  # closed by the server while it waited, as it may: a new one, as every client does
        elif connection is not None:
            connection.close()
        loop = asyncio.get_running_loop()
        trust = None
        if url.scheme == "https":
            self._trust = trust = self._trust or ssl.create_default_context()
        end = {"sock": await _connect(origin, source)} if source else {"host": host, "port": origin[2]}
        name = host if trust and source else None
        _, connection = await loop.create_connection(
            lambda: _Connection(origin), **end, ssl=trust, server_hostname=name
        )
        return await self._use(node, connection, request, keeps=keeps)

    async def _use(self, node: str, connection: _Connection, request: bytes, *, keeps: bool) -> Reply:
        is_kept = False
        try:
            reply, is_kept = await connection.ask(request)
            return reply
        finally:
            # An unfinished call leaves an answer that may still come: such a connection is of no more use.
            if is_kept and keeps and node not in self._kept:
                self._kept[node] = connection
            else:
                connection.close()


async def _connect(origin: tuple[str, str, int], source: str) -> socket.socket:
    """A connection from an address of this machine."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    end = socket.socket(family, socket.SOCK_STREAM)
    end.setblocking(False)
    try:
        if sys.platform == "linux":
            # Without it, the port is chosen before the target is known: too few for a large fleet.
            end.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        end.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(end, (origin[1], origin[2]))
    except BaseException:
        end.close()
        raise
    return end


def _write_request(call: OutgoingCall, origin: tuple[str, str, int], target: str) -> bytes:
    scheme, host, port = origin
    shown = format_url_host(host) if port == DEFAULT_PORTS[scheme] else f"{format_url_host(host)}:{port}"
    lines = [f"{call.method} {target} HTTP/1.1", f"Host: {shown}"]
    lines += [
        f"{name}: {value}".replace("\r", " ").replace("\n", " ") for name, value in call.headers.items()
    ]
    if call.body or call.method == "POST":
        lines.append(f"Content-Length: {len(call.body)}")
    lines += ["Connection: keep-alive", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + call.body
