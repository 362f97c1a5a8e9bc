"""Transports that reach nodes behind a bastion through it, as the fleet file names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.core.endpoint import InvalidAddress, SocketAddress, is_ip_address, parse_endpoint
from reconciler.errors import InputError
from reconciler.ports.transport import Http, HttpAnswer, Streams, Transports

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.ports.driver import Driver


def route_transports(
    transports: Transports, fleet: Fleet, drivers: Mapping[str, Driver[Any, Any]]
) -> Transports:
    """The same transports, whose calls to nodes with `via` go through that entry of the host configuration.

    Args:
        transports: of this host, not yet wrapped.
        fleet: names the nodes.
        drivers: kind -> product.
    """
    routes = find_routes(fleet, drivers)
    if not routes:
        return transports
    return transports.wrap(
        http=lambda http: _RoutedHttp(http, routes),
        commands=_keep,
        mailbox=_keep,
        files=_keep,
        streams=lambda streams: _RoutedStreams(streams, routes),
    )


def find_routes(fleet: Fleet, drivers: Mapping[str, Driver[Any, Any]]) -> dict[str, str]:
    """Host of a node -> entry of `ssh`, for all nodes behind a bastion."""
    # By host, not by node: each way to a node's host, such as another port of it, goes through the bastion.
    routes: dict[str, str] = {}
    for cluster_input in fleet.cluster_inputs:
        entry = cluster_input.entry
        ways = {node.name: way for node in entry.members() if (way := node.via or entry.via)}
        if not ways:
            continue
        try:
            endpoints = drivers[entry.kind].endpoints(cluster_input)
        except InputError:  # its desired state is reported by the pass
            continue
        routes |= {endpoints[node].host: way for node, way in ways.items() if node in endpoints}
    return routes


def _keep(transport: Any) -> Any:
    return transport


class _RoutedHttp(Http):
    def __init__(self, http: Http, routes: Mapping[str, str]) -> None:
        self._http = http
        self._routes = routes

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
        way = _find_way(self._routes, url)
        return await (self._http.through(way) if way else self._http).send(
            method, url, node=node, timeout=timeout, connect=connect, headers=headers, content=content
        )

    async def resolve(self, host: str) -> tuple[str, ...]:
        # A name behind a bastion resolves there, and may be that of another machine here.
        if host in self._routes:
            return (host,) if is_ip_address(host) else ()
        return await self._http.resolve(host)

    def local_address(self, url: str) -> str:
        # The node sees the address of the bastion.
        return "" if _find_way(self._routes, url) else self._http.local_address(url)


class _RoutedStreams(Streams):
    def __init__(self, streams: Streams, routes: Mapping[str, str]) -> None:
        self._streams = streams
        self._routes = routes

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
        return await self._find(address).ask(
            address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
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
        return await self._find(address).send(
            address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
        )

    def _find(self, address: SocketAddress) -> Streams:
        way = _find_way(self._routes, f"http://{address}")
        return self._streams.through(way) if way else self._streams


def _find_way(routes: Mapping[str, str], url: str) -> str:
    try:
        host = parse_endpoint(url).host
    except InvalidAddress:
        host = urlsplit(url).hostname or ""
    return routes.get(host, "")
