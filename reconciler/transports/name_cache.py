"""Resolves each host name once for all calls of a pass, so that the checked address is the called one."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from reconciler.core.endpoint import read_ip_address, unmap_address


@dataclass(frozen=True, slots=True)
class ResolvedAddress:
    """One address of a host.

    Args:
        ip: without a zone.
        rest: of a socket address after host and port: flow and zone of IPv6.
    """

    family: socket.AddressFamily
    host: str
    ip: str
    rest: tuple[Any, ...] = ()


class NameCache:
    """The addresses of hosts; results are kept for its lifetime, failures are not."""

    # Two nodes must not have one address. A name that resolved to another address at the next call would get
    # past that check.

    def __init__(self) -> None:
        self._known: dict[str, tuple[ResolvedAddress, ...]] = {}

    def get_known(self, host: str) -> tuple[ResolvedAddress, ...] | None:
        """The addresses, without waiting; None if the system must be asked."""
        found = self._known.get(host)
        if found is None:
            address = read_ip_address(host)
            if address is None or "%" in host:  # the system knows the number of the zone
                return None
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
            found = self._known[host] = (ResolvedAddress(family, host, str(address)),)
        return found

    async def resolve(self, host: str) -> tuple[ResolvedAddress, ...]:
        """The addresses, in the order in which the system prefers them.

        Raises:
            OSError: the name does not resolve.
        """
        if (known := self.get_known(host)) is not None:
            return known
        rows = await find_addresses(host)
        found = tuple(
            ResolvedAddress(family, place[0], str(ip_address(place[0].partition("%")[0])), tuple(place[2:]))
            for family, place in rows
        )
        if not found:
            raise OSError(None, "the name has no address")
        # Another call may have asked meanwhile: all of them use the first answer.
        return self._known.setdefault(host, found)


async def find_addresses(host: str) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """What the system's resolver knows of a host: family and socket address."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    return [(family, place) for family, _, _, _, place in rows if family in _FAMILIES]


def list_ips(addresses: tuple[ResolvedAddress, ...]) -> tuple[str, ...]:
    """The sorted addresses; an IPv4 address written as IPv6 is the IPv4 address."""
    return tuple(sorted({str(unmap_address(ip_address(one.ip))) for one in addresses}))


_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})
