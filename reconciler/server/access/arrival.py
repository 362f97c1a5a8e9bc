"""How a request arrives: from this machine, through a proxy, encrypted or not (pure).

The one place that decides whether a request is local. Pages, acts and the API ask it before anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from starlette.requests import HTTPConnection

from reconciler.core.endpoint import LAST_PORT, is_ip_address, is_loopback_host, unmap_address
from reconciler.host.config_fields import Network
from reconciler.server.access.refusal import AccessRefused

_FORWARDING: Final = re.compile(
    r"(?:x-)?forwarded(?:-.+)?|via|cdn-loop"
    r"|(?:.+-)?(?:client|connecting|real|remote|source|user|external)-(?:ip|ipv6|addr|address)"
    r"|x-(?:original|rewrite|real|proxy|proxyuser|envoy|appengine|azure|arr|vercel|nf)-.+"
    r"|x-amzn-trace-id|x-amz-cf-id|x-cloud-trace-context|(?:cf|fly|fastly)-.+"
)
"""Headers by which a proxy, a balancer or a tunnel says that it forwards a request; no browser sends one."""

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z._\-]{1,253}))(?::([0-9]{1,5}))?")

PEER: Final = "reconciler.peer"
"""Key of an ASGI scope with the address of the connection, also if a proxy named another caller."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a request arrived.

    Args:
        peer: address of the other end of the connection.
        caller: address of who sent it, which a trusted proxy may have named.
        is_local: whether a program on this machine sent it, without a proxy.
        is_private: whether nobody can read it on its way: by TLS, or because it does not leave this machine.
        origin: scheme, host and port at which the caller reached this server.
    """

    peer: str
    caller: str
    is_local: bool
    is_private: bool
    origin: str


def judge_arrival(request: HTTPConnection, proxies: Sequence[Network] = ()) -> Arrival:
    """How a request arrived.

    Args:
        request: as the server has it; its scheme and client are those that a trusted proxy named.
        proxies: networks of trusted proxies.

    Raises:
        AccessRefused: a program on this machine forwards requests and is no trusted proxy, or the host name
            of the request is not that of this machine, or missing.
    """
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or (host := _read_host(hosts[0])) is None:
        raise AccessRefused("the request needs exactly one valid Host header", remedy="name one", status=400)
    scheme = request.scope.get("scheme", "http")
    caller = request.client.host if request.client else ""
    peer = request.scope.get(PEER) or caller
    origin = f"{scheme}://{hosts[0].strip().lower()}"
    here = is_loopback_host(_unmap(peer))
    forwarded = find_forwarding_header(request.headers)
    is_private = scheme == "https" or (here and not forwarded and is_loopback_host(host))
    if not here or is_within(peer, proxies):
        return Arrival(peer, caller, is_local=False, is_private=is_private, origin=origin)
    # Whoever reaches a forwarding program on this machine would count as local.
    if forwarded:
        raise AccessRefused(
            f"the request was forwarded (header {forwarded}) by a program that is no trusted proxy",
            remedy="name the proxy's network in `trusted_proxies` of the host configuration, with a login",
        )
    # A page from elsewhere may have its name point to 127.0.0.1 (DNS rebinding): the browser would let it
    # read the answer.
    if not is_loopback_host(host):
        raise AccessRefused(
            "the host name of the request is not that of this machine",
            remedy="use http://localhost or http://127.0.0.1 with the port of the watch",
        )
    return Arrival(peer, caller, is_local=True, is_private=True, origin=origin)


def find_forwarding_header(names: Iterable[str]) -> str:
    """The first header that tells of a program which forwards the request; empty if none does.

    Args:
        names: of all headers, in lower case.
    """
    # Some programs write `_` for `-`.
    return next((name for name in names if _FORWARDING.fullmatch(name.replace("_", "-"))), "")


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of these networks."""
    if not is_ip_address(address):
        return False
    found = unmap_address(ip_address(address))
    return any(found in network for network in networks)


def _unmap(address: str) -> str:
    return str(unmap_address(ip_address(address))) if is_ip_address(address) else address


def _read_host(text: str) -> str | None:
    """The host in a `Host` header, without brackets and port; None if it is not valid."""
    found = _HOST.fullmatch(text.strip())
    if found is None or (found[3] is not None and not 0 < int(found[3]) <= LAST_PORT):
        return None
    return (found[1] or found[2]).lower().removesuffix(".")
