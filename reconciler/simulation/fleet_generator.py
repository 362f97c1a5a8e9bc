"""Generates the files of a fleet of simulated nodes on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from reconciler.errors import UsageError
from reconciler.ports.simulator import SocketAddress
from reconciler.simulation.addresses import keep_loopback_address
from reconciler.simulation.products import list_simulated_kinds

if TYPE_CHECKING:
    from reconciler.ports.driver import Driver

FIRST: Final = SocketAddress("127.0.0.1", 20_001)
"""Default address of the first node."""

_LAST_PORT: Final = 65_535


def generate_fleet(
    kind: str, nodes: int, drivers: Mapping[str, Driver[Any, Any]], first: SocketAddress = FIRST
) -> Mapping[str, str]:
    """The files of a fleet: path -> text; the same arguments give the same files.

    Args:
        kind: the product.
        nodes: number of nodes.
        drivers: kind -> product.
        first: address of the first node. The port counts up from 127.0.0.1; the host counts up from any other
            address of 127.0.0.0/8.

    Raises:
        UsageError: unknown product, or not enough addresses.
    """
    simulator = drivers[kind].simulator() if kind in drivers else None
    if simulator is None:
        raise UsageError(
            f"unknown kind {kind!r}", remedy=f"one of {', '.join(list_simulated_kinds(drivers))}"
        )
    return simulator.sample_fleet(list(_count_up_addresses(nodes, first)), same_port=first.host != FIRST.host)


def _count_up_addresses(count: int, first: SocketAddress) -> Iterator[SocketAddress]:
    keep_loopback_address("the first node", first)
    if first.host == "localhost":
        raise UsageError("the first address must be numeric, not localhost", remedy=f"for example {FIRST}")
    last = SocketAddress(first.host, first.port + count - 1)
    if first.host != FIRST.host:
        last = SocketAddress(str(ip_address(first.host) + count - 1), first.port)
    if last.port > _LAST_PORT or not ip_address(last.host).is_loopback:
        raise UsageError(
            f"there are fewer than {count} addresses from {first} on", remedy="start with a lower one"
        )
    for index in range(count):
        if first.host == FIRST.host:
            yield SocketAddress(first.host, first.port + index)
        else:
            yield SocketAddress(str(ip_address(first.host) + index), first.port)
