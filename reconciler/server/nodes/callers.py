"""Which addresses may call, and who the caller is behind a trusted proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from reconciler.core.endpoint import unmap_address

Networks: TypeAlias = Sequence[IPv4Network | IPv6Network]


@dataclass(frozen=True, slots=True)
class CallerRules:
    """Who may call.

    Args:
        allow: networks of callers; empty for all.
        proxies: networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` count.
    """

    allow: Networks = ()
    proxies: Networks = ()

    def is_proxy(self, peer: str) -> bool:
        """Whether the other end of a connection is a trusted proxy."""
        return bool(self.proxies) and _is_in(peer, self.proxies)

    def is_allowed(self, caller: str) -> bool:
        """Whether a caller with this address may call."""
        return not self.allow or _is_in(caller, self.allow)

    def find_caller(self, headers: Mapping[str, str], proxy: str) -> str:
        """The address of the caller behind a trusted proxy; empty if the proxy does not say it.

        Args:
            headers: of the request; several `X-Forwarded-For` are joined with commas.
            proxy: address of the other end of the connection.
        """
        # From the right: each proxy appends the address that it saw, and what is left of the first address
        # that is no trusted proxy was written by the caller itself.
        if "x-forwarded-for" not in headers:
            return proxy
        for text in reversed(headers["x-forwarded-for"].split(",")):
            address = _parse_address(text)
            if address is None:
                return ""
            if not any(address in network for network in self.proxies):
                return str(address)
        return proxy


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # IPv4 with a port
        text = text.partition(":")[0]
    try:
        return unmap_address(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _is_in(text: str, networks: Networks) -> bool:
    address = _parse_address(text)
    return address is not None and any(address in network for network in networks)
