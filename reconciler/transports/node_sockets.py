"""Connected sockets to nodes, directly or through a bastion, within the networks that this host allows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

from reconciler.host.host import Host
from reconciler.transports.http_errors import unsent
from reconciler.transports.machines.machine import MachineError, Tunnels
from reconciler.transports.name_cache import NameCache, ResolvedAddress
from reconciler.transports.networks import is_within_networks

_NEXT_ADDRESS: Final = 0.25
"""Seconds after which the next address of a name is tried too (RFC 8305)."""


class NodeSockets:
    """Finds the permitted addresses of nodes, and connects to them.

    Args:
        host: limits the networks of nodes.
        tunnels: to nodes behind bastions; None for a host without any.

    Attributes:
        names: the addresses of hosts, resolved once.
    """

    def __init__(self, host: Host, tunnels: Tunnels | None) -> None:
        self.names = NameCache()
        self._host = host
        self._tunnels = tunnels
        self._permitted: dict[str, dict[str, ResolvedAddress]] = {}

    async def find_places(self, host: str, via: str) -> Mapping[str, ResolvedAddress | None]:
        """IP address -> how to connect to it; those that this host allows.

        Behind a bastion it is the host itself, which resolves there.

        Raises:
            CallFailed: the name does not resolve, or the host allows none of its addresses.
        """
        if via:
            return {host: None}  # the tunnel checks it
        # The check is here, after name resolution: a name cannot change its address between check and
        # connection.
        places = self._permitted.get(host)
        if places is None:
            try:
                found = self.names.get_known(host) or await self.names.resolve(host)
            except (OSError, UnicodeError):
                raise unsent(
                    "name does not resolve",
                    remedy="correct the host name in its address in the fleet file, or the DNS of this host",
                ) from None
            networks = self._host.config.networks
            places = {one.ip: one for one in found if not networks or is_within_networks(one.ip, networks)}
            if not places:
                raise unsent(
                    f"{found[0].ip} is in none of the networks that this host allows for nodes "
                    "(`networks` in the host configuration)",
                    remedy="correct its address in the fleet file, or add the network to `networks`",
                )
            self._permitted[host] = places
        return places

    async def open_tunnel(self, via: str, host: str, port: int) -> socket.socket:
        """A socket to a node through a bastion.

        Raises:
            CallFailed: there is none.
        """
        if self._tunnels is None:
            raise unsent(
                f"this host has no way `ssh.{via}`", remedy=f"add `ssh.{via}` to the host configuration"
            )
        try:
            return await self._tunnels.open_tunnel(via, host, port)
        except MachineError as error:
            raise unsent(str(error), error.sign, remedy=error.remedy) from error


async def open_socket(places: Mapping[str, ResolvedAddress | None], port: int) -> socket.socket:
    """A socket that is connected to the first of the addresses that accepts it.

    Raises:
        OSError: none does; the error of the first one.
    """
    addresses = [place for place in places.values() if place]
    if len(addresses) == 1:
        return await _connect_socket(addresses[0], port)
    from aiohappyeyeballs import start_connection  # noqa: PLC0415  (most nodes have one address)

    rows = [(one.family, socket.SOCK_STREAM, 0, "", (one.host, port, *one.rest)) for one in addresses]
    return await start_connection(rows, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1)


async def _connect_socket(place: ResolvedAddress, port: int) -> socket.socket:
    opened = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, (place.host, port, *place.rest))
    except BaseException:
        opened.close()
        raise
    return opened
