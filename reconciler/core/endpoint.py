"""Endpoints of APIs in one normal form, so that two spellings of one endpoint are equal.

Differences that mean nothing to a resolver or a socket are removed: case and a final dot of a host name,
leading zeros and `::` of IPv6, an IPv4 address inside IPv6 (`::ffff:192.0.2.7`), the default port of a URL.
Forms that a resolver reads as an IPv4 address and few people recognise (`0x7f.1`, `2130706433`) are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

LAST_PORT: Final = 65_535

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_HOST = re.compile(
    r"(?=.{1,253}\Z)[0-9A-Za-z_]([0-9A-Za-z_-]{0,62})(\.[0-9A-Za-z_]([0-9A-Za-z_-]{0,62}))*\.?"
)
# What a resolver reads as IPv4: as a host name, `127.1` would pass every check and reach this machine.
_NUMERIC_END = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")
_BEHIND_BRACKET = re.compile(r"\][^:]")
_FORMS = "write host, host:port or [IPv6]:port"


def format_url_host(host: str) -> str:
    """A host name or an address as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


class SocketAddress(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{format_url_host(self.host)}:{self.port}"


def unmap_address(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address holds (`::ffff:192.0.2.7`); any other address as it is."""
    held = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return held or address


# As for `parse_endpoint`: whether the host of a node is an address is asked some six times in one pass.
@lru_cache(maxsize=131_072)
def read_ip_address(text: str) -> IPv4Address | IPv6Address | None:
    """The IPv4 or IPv6 address that a text is; None for a name."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_ip_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address, and not a name."""
    return read_ip_address(text) is not None


def is_loopback_host(host: str) -> bool:
    """Whether a host name or an address, without brackets, means this machine."""
    address = read_ip_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def is_private_address(text: str) -> bool:
    """Whether a text is an IP address that different networks may use for different machines."""
    address = read_ip_address(text)
    return address is not None and not address.is_global


def read_base_host(base: str) -> str:
    """The host of a URL that `Endpoint.base` gave, without brackets."""
    return base.partition("://")[2].rpartition(":")[0].strip("[]")


class InvalidAddress(ValueError):
    """A text is not a valid address.

    Args:
        message: what is wrong, without the text itself.
        remedy: what to write instead; may be empty.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where an API is reached, in its normal form.

    Args:
        scheme: `http` or `https`.
        host: a name in lower case, or an IP address in its shortest form, without brackets.
        port: None if the text has none.
        path: of an API that is not at the root; without a slash at its end, empty for the root.
    """

    scheme: str
    host: str
    port: int | None
    path: str = ""

    def base(self, port: int) -> str:
        """The URL before the path; `port` is used if the address has none."""
        return f"{self.scheme}://{format_url_host(self.host)}:{self.port or port}"

    def at(self, port: int) -> Endpoint:
        """The same with a port; `port` is used if the address has none."""
        return replace(self, port=self.port or port)

    @property
    def place(self) -> tuple[str, int | None, str]:
        """What two addresses of one API have in common, whatever their scheme: host, port and path."""
        return self.host, self.port, self.path

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{format_url_host(self.host)}{port}{self.path}"


# One address is read by validation, planning and each call; the bound is above the nodes of one host.
@lru_cache(maxsize=131_072)
def parse_endpoint(text: str) -> Endpoint:
    """A node's address: `host`, `host:port`, `[v6]:port`, or `http(s)://` with any of them.

    Raises:
        InvalidAddress: it is none of these, or contains what an address must not, such as a password.
    """
    scheme, _, rest = text.rpartition("://")
    if scheme not in {"", *DEFAULT_PORTS}:
        raise InvalidAddress(f"has the scheme {scheme}", "write http or https")
    rest = rest.removesuffix("/") if scheme else rest
    if "@" in rest:
        raise InvalidAddress(
            "has a user name", "remove it: the node's API identifies callers only by their address"
        )
    if not rest.isascii():
        try:
            ascii_name = (rest.rpartition(":")[0] or rest).encode("idna").decode()
            remedy = f"write the ASCII form of the name, {ascii_name}"
        except UnicodeError:
            remedy = _FORMS
        raise InvalidAddress("has characters that are not ASCII", remedy)
    if re.search(r"[\s/?#\\]", rest):
        raise InvalidAddress("has more than a host and a port", _FORMS)
    scheme = scheme or "http"
    if rest.count(":") > 1 and not rest.startswith("["):
        return Endpoint(scheme, _parse_ipv6(rest), None)
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        if (number := re.search(r":([0-9]{5,20})$", rest)) and int(number[1]) > LAST_PORT:
            raise InvalidAddress(
                f"has the port {number[1]}, above {LAST_PORT}", f"write a port from 1 to {LAST_PORT}"
            ) from error
        raise InvalidAddress("is not an address with a port", "write host:port or [IPv6]:port") from error
    if port == 0 or rest.endswith(":") or _BEHIND_BRACKET.search(rest):
        raise InvalidAddress("has no usable port", f"write a port from 1 to {LAST_PORT}")
    return Endpoint(scheme, _parse_ipv6(host) if rest.startswith("[") else _parse_host(host), port)


def parse_api(url: str) -> Endpoint:
    """The URL of an API: `http(s)://HOST[:PORT][/PATH]`, always with a port.

    Raises:
        InvalidAddress: it is not a URL, or has a user name, a query or a fragment.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InvalidAddress("has no scheme", "write http:// or https:// before it")
    if re.search(r"[?#\\\s]", rest):
        raise InvalidAddress("has more than a path after the host", "remove the query and the fragment")
    authority, _, path = rest.partition("/")
    found = parse_endpoint(f"{scheme}://{authority}")
    # A path with `..` could reach another API of the host than the one that a reviewer reads here.
    if re.search(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", path, re.IGNORECASE):
        raise InvalidAddress("has a path with . or .. in it", "write the path without . and ..")
    clean = path.strip("/")
    return replace(found.at(DEFAULT_PORTS[found.scheme]), path=f"/{clean}" if clean else "")


def _parse_ipv6(text: str) -> str:
    """An IPv6 address in its shortest form, or the IPv4 address that it holds."""
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise InvalidAddress("is not an IPv6 address", _FORMS) from error
    return str(unmap_address(address))


def _parse_host(text: str) -> str:
    """A host name, or an IPv4 address if its last part is a number: a resolver reads it as one."""
    if _NUMERIC_END.search(text):
        address = read_ip_address(text)
        if address is None:
            raise InvalidAddress(
                "is not an IPv4 address", "write four numbers up to 255, without leading zeros"
            )
        return str(address)
    if not _HOST.fullmatch(text):
        raise InvalidAddress("is not a host name", "use letters, digits, dots and hyphens only")
    return text.lower().rstrip(".")


def check_single_machine(endpoint: Endpoint) -> None:
    """Check that an endpoint can be the address of one machine.

    Raises:
        InvalidAddress: it means all addresses of a host (`0.0.0.0` reaches this host itself), or many hosts.
    """
    address = read_ip_address(endpoint.host)
    if address is not None and (address.is_unspecified or address.is_multicast):
        raise InvalidAddress("is not the address of one machine", "write the node's own address")
