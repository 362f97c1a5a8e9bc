"""Whether an address is in the networks that the host configuration allows for nodes."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from reconciler.core.endpoint import unmap_address
from reconciler.host.config_fields import Network


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
