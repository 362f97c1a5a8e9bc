"""Transports around others: a call is handed on as it is, and a subclass says what is done around it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from reconciler.core.endpoint import SocketAddress
from reconciler.ports.transport import Http, HttpAnswer, Streams

T = TypeVar("T")


class WrappedHttp(Http):
    """HTTP around another one.

    Args:
        http: the other one.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    @abstractmethod
    async def call(
        self, method: str, url: str, node: str, send: Callable[[Http], Awaitable[HttpAnswer]]
    ) -> HttpAnswer:
        """Make one call.

        Args:
            method: of the request.
            url: that is called.
            node: the name for errors.
            send: makes the call with an `Http`.
        """

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
        return await self.call(
            method,
            url,
            node,
            lambda http: http.send(
                method, url, node=node, timeout=timeout, connect=connect, headers=headers, content=content
            ),
        )

    async def resolve(self, host: str) -> tuple[str, ...]:
        return await self._http.resolve(host)

    def local_address(self, url: str) -> str:
        return self._http.local_address(url)


class WrappedStreams(Streams):
    """Exchanges over TCP around others.

    Args:
        streams: the others.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    @abstractmethod
    async def call(
        self, name: str, address: SocketAddress, node: str, exchange: Callable[[Streams], Awaitable[bytes]]
    ) -> bytes:
        """Make one exchange.

        Args:
            name: of the method, `ask` or `send`.
            address: that is called.
            node: the name for errors.
            exchange: makes it with some `Streams`.
        """

    async def ask(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (handed on)
        limit: int,
    ) -> bytes:
        return await self.call(
            "ask",
            address,
            node,
            lambda streams: streams.ask(
                address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
            ),
        )

    async def send(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (handed on)
        limit: int,
    ) -> bytes:
        return await self.call(
            "send",
            address,
            node,
            lambda streams: streams.send(
                address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
            ),
        )


def keep_transport(transport: T) -> T:
    """The same transport, for `Transports.wrap`, where none is left as it is by mistake."""
    return transport
