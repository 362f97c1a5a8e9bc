"""Transports that reach each node as the fleet file says: through a bastion, with a trusted authority."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import InvalidAddress, SocketAddress, is_ip_address, parse_endpoint
from reconciler.errors import InputError, NodeUnreachable
from reconciler.ports.transport import Http, HttpAnswer, Streams, Transports
from reconciler.ports.wrapped_transports import WrappedHttp, WrappedStreams, keep_transport

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.ports.driver import Driver

_TWO: Final = 2


@dataclass(frozen=True, slots=True)
class Routes:
    """The ways to hosts.

    Args:
        hosts: host -> node there -> its entry of `ssh`, empty for none; only hosts with such an entry.
        nodes: node -> its entry of `ssh`; only nodes with one.
        authorities: node -> its entry of `authorities`; only nodes with one.
    """

    hosts: Mapping[str, Mapping[str, str]]
    nodes: Mapping[str, str]
    authorities: Mapping[str, str] = field(default_factory=dict)

    def find(self, host: str, node: str = "") -> str:
        """The way to a host, empty for none.

        Args:
            host: of an address.
            node: that is called; behind two bastions, one private address is that of two machines.

        Raises:
            NodeUnreachable: nodes of that host have different ways, and it is none of them.
        """
        # By node first: a further address that a cluster shows of it belongs to the network of its bastion.
        if node in self.nodes:
            return self.nodes[node]
        ways = self.hosts.get(host, {})
        several = set(ways.values())
        if len(several) < _TWO:
            return next(iter(several), "")
        if node not in ways:
            words = f"{host} is reached by several ways, and which one leads to this node is not known"
            raise NodeUnreachable(node, words, sent=False)
        return ways[node]


def route_transports(
    transports: Transports, fleet: Fleet, drivers: Mapping[str, Driver[Any, Any]]
) -> Transports:
    """The same transports, whose calls use the `via` and the `authority` that the fleet file names.

    Args:
        transports: of this host, not yet wrapped.
        fleet: names the nodes.
        drivers: kind -> product.
    """
    routes = find_routes(fleet, drivers)
    if not routes.nodes and not routes.authorities:
        return transports
    return transports.wrap(
        http=lambda http: _RoutedHttp(http, routes),
        commands=keep_transport,
        mailbox=keep_transport,
        files=keep_transport,
        streams=lambda streams: _RoutedStreams(streams, routes),
    )


def find_routes(fleet: Fleet, drivers: Mapping[str, Driver[Any, Any]]) -> Routes:
    """The ways to all hosts that have a node behind a bastion, and the authorities of nodes."""
    desired = {id(one.cluster_input) for one in fleet.desired}
    others = (one.entry for one in fleet.cluster_inputs if id(one) not in desired)
    if not any(one.is_routed for one in fleet.desired) and not any(one.is_routed for one in others):
        return Routes({}, {}, {})  # most fleets, several times in each pass
    found: dict[str, dict[str, str]] = defaultdict(dict)
    nodes = {node: way for one in fleet.cluster_inputs for node, way in one.entry.ways.items() if way}
    authorities = {node: name for one in fleet.cluster_inputs for node, name in one.entry.authorities.items()}
    if not nodes:
        return Routes({}, {}, authorities)
    known = {id(one.cluster_input): one.endpoints for one in fleet.desired}
    for cluster_input in fleet.cluster_inputs:
        entry = cluster_input.entry
        try:
            endpoints = known.get(id(cluster_input))
            if endpoints is None:
                endpoints = drivers[entry.kind].endpoints(cluster_input)
        except InputError:  # its desired state is reported by the pass
            continue
        for node, way in entry.ways.items():
            if node in endpoints:
                found[endpoints[node].host][node] = way
    hosts = {host: ways for host, ways in found.items() if any(ways.values())}
    return Routes(hosts, nodes, authorities)


class _RoutedHttp(WrappedHttp):
    def __init__(self, http: Http, routes: Routes) -> None:
        super().__init__(http)
        self._routes = routes

    async def call(
        self,
        method: str,  # noqa: ARG002
        url: str,
        node: str,
        send: Callable[[Http], Awaitable[HttpAnswer]],
    ) -> HttpAnswer:
        way, authority = self._routes.find(_read_host(url), node), self._routes.authorities.get(node, "")
        return await send(self._http.through(way, authority=authority) if way or authority else self._http)

    async def resolve(self, host: str) -> tuple[str, ...]:
        # A name behind a bastion resolves there, and may be that of another machine here.
        if host in self._routes.hosts:
            return (host,) if is_ip_address(host) else ()
        return await self._http.resolve(host)

    def local_address(self, url: str) -> str:
        # The node sees the address of the bastion.
        return "" if _read_host(url) in self._routes.hosts else self._http.local_address(url)


class _RoutedStreams(WrappedStreams):
    def __init__(self, streams: Streams, routes: Routes) -> None:
        super().__init__(streams)
        self._routes = routes

    async def call(
        self,
        name: str,  # noqa: ARG002
        address: SocketAddress,
        node: str,
        exchange: Callable[[Streams], Awaitable[bytes]],
    ) -> bytes:
        way = self._routes.find(_read_host(f"http://{address}"), node)
        return await exchange(self._streams.through(way) if way else self._streams)


def _read_host(url: str) -> str:
    try:
        return parse_endpoint(url).host
    except InvalidAddress:
        return urlsplit(url).hostname or ""
