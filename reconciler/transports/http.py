"""HTTP to nodes over aiohttp, with limits of time, size and number."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_address
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.core.endpoint import unmap_address
from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.host.config import Network
from reconciler.host.host import Host
from reconciler.ports.transport import Http, HttpAnswer
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import format_size
from reconciler.transports.http_errors import DROPPED, classify_liveness, describe_failure, is_other_protocol

if TYPE_CHECKING:
    import aiohttp

    from reconciler.transports.name_cache import NameCache

MIB: Final = 1024 * 1024
SMALL: Final = 2 * MIB
"""Bytes of an answer that every call may hold in memory."""

LARGE: Final = 4
"""Calls that may hold a larger answer at the same time: many nodes must not fill the memory together."""

_PATIENCE: Final = 5.0
"""Seconds for resolving a name when addresses are compared."""

MOST_KEPT: Final = 4096
"""Highest number of connections that are kept open for later readings, one for each node of a pass."""

IDLE: Final = 60.0
"""Seconds for which an unused connection is kept: a pass reads a node for its plan, then for its step."""

_ANY_PORT: Final = 9
"""Port of a datagram socket that sends nothing; it does not affect the route."""


class OutsideNetworks(OSError):
    """A connection is refused: its address is in none of the host's networks."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is in none of the networks that this host allows for nodes "
            "(`networks` in the host configuration)"
        )


class HttpTransport(Http):
    """HTTP to nodes, as `ports.transport.Http` describes it; an asynchronous context manager.

    Redirects are not followed, cookies are not kept, TLS certificates are verified with the system's
    authorities. A read (GET, HEAD) may reuse an open connection to the same node. Any other call, and one
    with `Connection: close`, gets its own connection and is never repeated: the caller must find out whether
    it had an effect.

    Args:
        host: limits the networks of nodes.
        concurrency: calls at the same time; the timeout of a waiting call starts with the call.
        body_limit: largest answer in bytes.
        tls: certificates to trust instead of the system's.
        keep: connections that are kept open for later reads.
    """

    # aiohttp, not httpx: 2,000 reads of 1,000 nodes take half the time, and most passes only read. Proxies of
    # the environment are ignored: they would hide which address is reached.

    def __init__(
        self,
        host: Host | None = None,
        *,
        concurrency: int = 128,
        body_limit: int = 64 * MIB,
        tls: ssl.SSLContext | None = None,
        keep: int = 256,
    ) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._large = asyncio.Semaphore(LARGE)
        self._body_limit = body_limit
        self._host = host or Host()
        self._tls = tls
        self._keep = keep
        self._reads: _Pool | None = None
        self._writes: aiohttp.ClientSession | None = None
        self._retired: set[_Pool] = set()
        self._resolver: NameCache | None = None
        self._local_addresses: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def resolve(self, host: str) -> tuple[str, ...]:
        try:
            found = await asyncio.wait_for(self._get_resolver().resolve(host, 0, socket.AF_UNSPEC), _PATIENCE)
        except (OSError, TimeoutError, UnicodeError):
            return ()
        addresses = (ip_address(one["host"].partition("%")[0]) for one in found)
        return tuple(sorted({str(unmap_address(one)) for one in addresses}))

    def local_address(self, url: str) -> str:
        host = urlsplit(url).hostname or ""
        if host not in self._local_addresses:
            self._local_addresses[host] = _find_local_address(host)
        return self._local_addresses[host]

    def _get_resolver(self) -> NameCache:
        from reconciler.transports.name_cache import NameCache  # noqa: PLC0415  (heavy: loaded with the first call)

        if self._resolver is None:
            self._resolver = NameCache()
        return self._resolver

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail."""
        pools = {self._reads, *self._retired} - {None}
        self._reads, self._retired = None, set()
        sessions = [pool.session for pool in pools if pool]
        if self._writes is not None:
            sessions.append(self._writes)
            self._writes = None
        await asyncio.gather(*(session.close() for session in sessions))

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced by aiohttp)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> HttpAnswer:
        from aiohttp import (  # noqa: PLC0415  (heavy: loaded with the first call)
            ClientConnectorError,
            ClientError,
            ClientTimeout,
            ConnectionTimeoutError,
        )

        unconnected = (ClientConnectorError, ConnectionTimeoutError)

        closes = any(
            name.lower() == "connection" and "close" in text.lower() for name, text in headers.items()
        )
        own = closes or method.upper() not in {"GET", "HEAD"}
        bounds = ClientTimeout(total=timeout, sock_connect=connect or None)
        async with self._slots:
            # The pool is chosen after the wait for a slot, or a call could get a pool that has been retired.
            pool = None if own else self._take_pool()
            session = pool.session if pool else self._get_write_session()
            try:
                # aiohttp's timeout excludes waits in this code, such as for memory in `_read_body`
                async with (
                    asyncio.timeout(timeout),
                    session.request(
                        method,
                        url,
                        headers=headers,
                        data=content or None,
                        timeout=bounds,
                        allow_redirects=False,
                    ) as response,
                ):
                    body = await self._read_body(response, node)
                    return HttpAnswer(response.status, _lower_names(response.headers), body, (SHAPES,))
            except (ClientError, OSError, ValueError) as error:
                # Without a connection no request was sent. After any other failure the node may have got it.
                sent = not isinstance(error, unconnected)
                words = describe_failure(error, timeout=timeout, connect=connect)
                failure = NodeUnidentified if is_other_protocol(error) else NodeUnreachable
                raise failure(
                    node, words, sign=classify_liveness(error), sent=sent, closed=words == DROPPED
                ) from error
            finally:
                if pool:
                    await self._release_pool(pool)

    def _new_socket(self, pool: _Pool | None, info: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for the address that aiohttp connects to next.

        Args:
            pool: that will have the connection.
            info: the address.

        Raises:
            OutsideNetworks: the host does not allow this address.
        """
        # The check is here, after name resolution: a name cannot change its address between check and
        # connection.
        family, kind, protocol, _, place = info
        networks = self._host.config.networks
        if networks and not is_within_networks(str(place[0]), networks):
            raise OutsideNetworks(str(place[0]))
        if pool:
            pool.connections += 1
        return socket.socket(family=family, type=kind, proto=protocol)

    async def _read_body(self, response: aiohttp.ClientResponse, node: str) -> bytes:
        """The complete body; a large one waits for one of `LARGE` slots."""
        body = bytearray()
        async with AsyncExitStack() as stack:
            async for chunk in response.content.iter_any():
                # True once for each large answer, so that it takes one slot and not one for each chunk.
                if len(body) <= SMALL < len(body) + len(chunk):
                    await stack.enter_async_context(self._large)
                body += chunk
                if len(body) > self._body_limit:
                    response.close()
                    words = f"its answer is larger than {format_size(self._body_limit)}"
                    raise NodeUnreachable(node, words, sign=Liveness.ALIVE)
            return bytes(body)

    def _take_pool(self) -> _Pool:
        """The pool for a read; a new one after every `keep` connections, which limits idle ones."""
        if self._reads is None or self._reads.connections >= self._keep:
            if self._reads is not None:
                self._retired.add(self._reads)
            pool = self._reads = _Pool()
            pool.session = self._make_session(pool)
        self._reads.busy += 1
        return self._reads

    async def _release_pool(self, pool: _Pool) -> None:
        """End a read; a pool that made all its connections closes after the last of its reads."""
        pool.busy -= 1
        if pool.busy or pool.connections < self._keep:
            return
        self._retired.discard(pool)
        if pool is self._reads:
            self._reads = None
        await pool.session.close()

    def _get_write_session(self) -> aiohttp.ClientSession:
        if self._writes is None:
            self._writes = self._make_session()
        return self._writes

    def _make_session(self, pool: _Pool | None = None) -> aiohttp.ClientSession:
        """A session for the reads of a pool; without one, for calls with a connection each."""
        import aiohttp  # noqa: PLC0415

        tls = self._tls if self._tls is not None else True
        # No limit here: `_slots` bounds the calls, so that the timeout starts after the wait for a slot.
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=tls,
            force_close=pool is None,
            keepalive_timeout=IDLE if pool else None,
            socket_factory=partial(self._new_socket, pool),
            resolver=self._get_resolver(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # a cookie would carry state from call to call
            trust_env=False,
            headers={"User-Agent": f"reconciler/{__version__}", "Accept-Encoding": "identity"},
            middlewares=() if pool else (_prevent_retry,),
        )


def is_within_networks(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; an IPv4 address written as IPv6 is the IPv4 address.

    Args:
        address: as the system gives it, with or without the zone of a link-local IPv6 address.
        networks: as the host configuration lists them.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = unmap_address(found)
    return any(found.version == network.version and found in network for network in networks)


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


class _Pool:
    """A session, the number of connections that it made, and of its reads that still run."""

    session: aiohttp.ClientSession

    def __init__(self) -> None:
        self.connections = 0
        self.busy = 0


async def _prevent_retry(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Prevent aiohttp from repeating a call when its connection breaks."""
    # aiohttp retries idempotent methods such as PUT and DELETE on some errors. The second call could reach
    # the node after its state has changed.
    import aiohttp  # noqa: PLC0415

    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientError(describe_failure(error)) from error


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with names in lower case; the first of a repeated header counts."""
    found: dict[str, str] = {}
    for name, text in headers.items():
        found.setdefault(name.lower(), text)
    return found
