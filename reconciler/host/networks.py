"""Whether an address lies in the networks that this host allows for nodes."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from reconciler.core.endpoint import unmap_address
from reconciler.host.config import Network


class OutsideNetworks(OSError):
    """A connection is not made: its address is in none of the host's networks."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is in none of the networks that this host allows for nodes "
            "(`networks` in the host configuration)"
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
