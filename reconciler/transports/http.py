"""HTTP to nodes over kept and single connections, with limits of time, size and number."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType, TracebackType
from typing import Final, Self

from reconciler.core.endpoint import is_ip_address
from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.host.host import Host
from reconciler.ports.call_permit import ask_permit
from reconciler.ports.transport import Http, HttpAnswer
from reconciler.secrets.redaction import SHAPES
from reconciler.text.urls import strip_url
from reconciler.transports.connection_pool import ConnectionKey, ConnectionPool
from reconciler.transports.http_connection import Answer, AnswerBounds, ClientConnection, abort_connections
from reconciler.transports.http_errors import (
    CHECK_NETWORK,
    CallFailed,
    describe_connection_error,
    describe_os_error,
    unsent,
)
from reconciler.transports.http_request import RequestUrl, UrlOrigin, encode_request, parse_url
from reconciler.transports.machines.machine import Tunnels
from reconciler.transports.name_cache import ResolvedAddress, list_ips
from reconciler.transports.node_sockets import NodeSockets, open_socket

MIB: Final = 1024 * 1024
SMALL: Final = 2 * MIB
"""Bytes of an answer that every call may hold in memory."""

LARGE: Final = 4
"""Calls that may hold a larger answer at the same time: many nodes must not fill the memory together."""

_PATIENCE: Final = 5.0
"""Seconds for resolving a name when addresses are compared."""

_TLS_END: Final = 2.0
"""Seconds that the other end gets to confirm the end of TLS."""

_READS: Final = frozenset({"GET", "HEAD"})

_ANY_PORT: Final = 9
"""Port of a datagram socket that sends nothing; it does not affect the route."""


class HttpTransport(Http):
    """HTTP to nodes, as `ports.transport.Http` describes it; an asynchronous context manager.

    Redirects are not followed, cookies are not kept, proxies of the environment are ignored, TLS certificates
    are verified with the system's authorities. A read (GET, HEAD) may reuse an open connection to the same
    node; it is sent once more, on a new connection, if the node closed the kept one before any answer. Any
    other call, and one with `Connection: close` or `Upgrade`, gets its own connection and is never repeated:
    the caller must find out whether it had an effect.

    Args:
        host: limits the networks of nodes.
        concurrency: calls at the same time; the timeout of a waiting call starts with the call.
        body_limit: largest answer in bytes.
        tls: certificates to trust instead of the system's.
        keep: connections that are kept open for later reads.
        pool: keeps connections beyond the life of this transport, instead of `tls` and `keep`.
        tunnels: to nodes behind bastions; None for a host without any.
    """

    # A client of its own on httptools: calls are most of the CPU of a pass, and a library for all kinds of
    # clients (cookies, redirects, proxies) takes a multiple of it.

    def __init__(
        self,
        host: Host | None = None,
        *,
        concurrency: int = 128,
        body_limit: int = 64 * MIB,
        tls: ssl.SSLContext | None = None,
        keep: int = 256,
        pool: ConnectionPool | None = None,
        tunnels: Tunnels | None = None,
    ) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._large = asyncio.Semaphore(LARGE)
        self._body_limit = body_limit
        self._pool = pool or ConnectionPool(keep, tls)
        self._owns_pool = pool is None
        self._sockets = NodeSockets(host or Host(), tunnels)
        self._authorities = host.config.authorities if host else {}
        self._busy: set[ClientConnection] = set()
        self._local_addresses: dict[str, str] = {}
        self._origins: dict[str, UrlOrigin] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def resolve(self, host: str) -> tuple[str, ...]:
        try:
            return list_ips(await asyncio.wait_for(self._sockets.names.resolve(host), _PATIENCE))
        except (OSError, TimeoutError, UnicodeError):
            return ()

    def local_address(self, url: str) -> str:
        try:
            host = parse_url(url, self._origins).origin.host
        except CallFailed:
            return ""
        found = self._local_addresses.get(host)
        if found is None:
            found = self._local_addresses[host] = _find_local_address(host)
        return found

    def through(self, way: str, *, authority: str = "") -> Http:
        return _HttpThrough(self, way, authority)

    async def aclose(self) -> None:
        """Close every connection, except those in a pool of its caller; calls in flight fail."""
        await abort_connections(self._busy)
        if self._owns_pool:
            await self._pool.aclose()

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced here)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
        via: str = "",
        authority: str = "",
    ) -> HttpAnswer:
        method = method.upper()
        given = {name.lower(): text for name, text in headers.items()}
        switches = "upgrade" in given and method == "GET"
        bounds = AnswerBounds(self._body_limit, SMALL, is_head=method == "HEAD", may_switch=switches)
        is_alone = "close" in given.get("connection", "").lower() or switches or method not in _READS
        async with self._slots:
            await ask_permit(timeout)
            try:
                call = _Call(node, parse_url(url, self._origins), timeout, connect, via, authority)
                request = encode_request(method, call.url, headers, content, closes=is_alone)
                answer = await self._run(call, request, bounds, is_alone=is_alone)
            except CallFailed as error:
                failure = NodeUnidentified if error.is_other_protocol else NodeUnreachable
                raise failure(
                    node,
                    f"{error.reason} ({strip_url(url)})",
                    remedy=error.remedy,
                    sign=error.sign,
                    sent=error.sent,
                    closed=error.closed,
                ) from error
        return HttpAnswer(answer.status, answer.headers, bytes(answer.body), (SHAPES,))

    async def _run(self, call: _Call, request: bytes, bounds: AnswerBounds, *, is_alone: bool) -> Answer:
        """Send a request and give its answer within the time of the call."""
        try:
            async with asyncio.timeout(call.timeout):
                return await (self._call_once if is_alone else self._read)(call, request, bounds)
        except TimeoutError as error:
            raise call.describe_timeout() from error

    async def _call_once(self, call: _Call, request: bytes, bounds: AnswerBounds) -> Answer:
        """Send a request on a connection of its own."""
        connection = await self._connect(call, await self._find_places(call))
        try:
            return await self._exchange(call, connection, request, bounds)
        finally:
            # An answer that came is complete: what is left to send of the request is of no use to anyone.
            connection.close()

    async def _read(self, call: _Call, request: bytes, bounds: AnswerBounds) -> Answer:
        """Send a read on a kept connection if there is one, and keep the connection."""
        origin = call.url.origin
        places = await self._find_places(call)
        key = ConnectionKey(call.node, origin.scheme, origin.host, origin.port, call.via, call.authority)
        kept = self._pool.take(key, places)
        if kept is not None:
            try:
                answer = await self._exchange(call, kept, request, bounds)
            except CallFailed as error:
                # The node closed it while it was idle, or just now: the request had no effect that counts,
                # because it only reads. After any part of an answer it is an answer that failed.
                if not error.closed:
                    raise
            else:
                self._release(key, kept, answer)
                return answer
        connection = await self._connect(call, places)
        answer = await self._exchange(call, connection, request, bounds)
        self._release(key, connection, answer)
        return answer

    async def _exchange(
        self, call: _Call, connection: ClientConnection, request: bytes, bounds: AnswerBounds
    ) -> Answer:
        """Send a request and give its answer; a connection without a complete one is ended."""
        self._busy.add(connection)
        call.stage = _Stage.SENT
        answer = None
        try:
            answer = await connection.exchange(request, bounds, self._large)
            return answer
        finally:
            self._busy.discard(connection)
            if answer is None:  # also a cancelled call: its answer must not become that of the next one
                connection.abort()

    def _release(self, key: ConnectionKey, connection: ClientConnection, answer: Answer) -> None:
        if answer.can_continue:
            self._pool.put(key, connection)
        else:
            connection.close()

    async def _find_places(self, call: _Call) -> Mapping[str, ResolvedAddress | None]:
        return await self._sockets.find_places(call.url.origin.host, call.via)

    async def _connect(self, call: _Call, places: Mapping[str, ResolvedAddress | None]) -> ClientConnection:
        """A new connection to one of the addresses.

        Raises:
            CallFailed: there is none.
        """
        # The login at a bastion has its own time: its first call would otherwise fail.
        origin = call.url.origin
        tunnel = await self._sockets.open_tunnel(call.via, origin.host, origin.port) if call.via else None
        call.stage = _Stage.CONNECTING
        try:
            async with asyncio.timeout(call.connect or None):
                opened = tunnel or await open_socket(places, origin.port)
                call.stage = _Stage.ACCEPTED
                return await self._start(call, opened, is_tunnel=tunnel is not None)
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise  # of this program's clock, not of the kernel
            failed = describe_connection_error(error)
            if call.stage is _Stage.ACCEPTED:
                failed.sign = Liveness.ALIVE
            raise failed from error

    def _find_tls(self, authority: str) -> ssl.SSLContext:
        """What verifies the certificate of a node.

        Raises:
            CallFailed: the host has no such authority, or its file cannot be used.
        """
        if not authority:
            return self._pool.tls
        file = self._authorities.get(authority)
        if file is None:
            raise unsent(f"this host has no authority `authorities.{authority}`")
        try:
            return self._pool.trust(str(file))
        except (OSError, ssl.SSLError) as error:
            is_other = isinstance(error, ssl.SSLError)
            reason = "it has no certificate in PEM" if is_other else describe_os_error(error)
            raise unsent(f"`authorities.{authority}`: {file} cannot be used: {reason}") from error

    async def _start(self, call: _Call, opened: socket.socket, *, is_tunnel: bool) -> ClientConnection:
        """The connection on a connected socket, after the handshake if it has TLS."""
        origin = call.url.origin
        place = origin.host if is_tunnel else str(opened.getpeername()[0]).partition("%")[0]
        is_tls = origin.scheme == "https"
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: ClientConnection(place),
                sock=opened,
                ssl=self._find_tls(call.authority) if is_tls else None,
                server_hostname=origin.host.partition("%")[0].rstrip(".") if is_tls else None,
                ssl_shutdown_timeout=_TLS_END if is_tls else None,
            )
        except BaseException:
            opened.close()
            raise
        if not is_tunnel and is_ip_address(origin.host):  # what it would be found to be by another socket
            self._local_addresses.setdefault(origin.host, str(opened.getsockname()[0]))
        return connection


class _HttpThrough(Http):
    """The HTTP of a transport, through the machine of a way, or with another authority."""

    def __init__(self, http: HttpTransport, way: str, authority: str) -> None:
        self._http = http
        self._way = way
        self._authority = authority

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (handed on)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> HttpAnswer:
        return await self._http.send(
            method,
            url,
            node=node,
            timeout=timeout,
            connect=connect,
            headers=headers,
            content=content,
            via=self._way,
            authority=self._authority,
        )


class _Stage(Enum):
    """How far a call has come."""

    RESOLVING = auto()
    CONNECTING = auto()
    ACCEPTED = auto()
    SENT = auto()


@dataclass(slots=True)
class _Call:
    """One call: its limits, and how far it has come, which decides what a timeout means."""

    node: str
    url: RequestUrl
    timeout: float
    connect: float
    via: str
    authority: str
    stage: _Stage = _Stage.RESOLVING

    def describe_timeout(self) -> CallFailed:
        """Why it failed, if its time is over."""
        if self.stage is _Stage.SENT:
            return CallFailed(
                f"no answer within {self.timeout:g} s",
                remedy="look at the load and the log of the node, or raise `timeouts.read` in the fleet file",
            )
        sign = {_Stage.RESOLVING: Liveness.UNASKED, _Stage.CONNECTING: Liveness.SILENT}
        words = f"no connection within {self.connect or self.timeout:g} s"
        if self.via and self.stage is _Stage.RESOLVING:
            words = f"no way to it through `ssh.{self.via}` within {self.timeout:g} s"
        return unsent(words, sign.get(self.stage, Liveness.ALIVE), remedy=CHECK_NETWORK)


def _find_local_address(host: str) -> str:
    """The source address that the system would choose for an IP address; empty for a name."""
    # Connecting a datagram socket sends nothing. Names are left to the resolver that the calls use.
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, _ANY_PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
