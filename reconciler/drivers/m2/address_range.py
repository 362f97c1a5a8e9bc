"""Addresses as M2 writes them: the forms of the allowList, parsed and printed; pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range
from typing import Any, Final

from reconciler.core.endpoint import InvalidAddress

FORMS: Final = "192.168.1.1, 192.168.2.1-255, 192.168.3.0/24 or 192.168.4.0/255.255.255.0"
"""The four forms of an `addr` (M2 manual, allowList)."""

LONGEST: Final = 100
"""Highest number of characters of an `addr`; two IPv6 addresses with a netmask have fewer."""

_RANGE = re.compile(r"(\d+\.\d+\.\d+)\.(\d+)-(\d+)", re.ASCII)
_WHOLE_RANGE = re.compile(r"(\d+\.\d+\.\d+)\.(\d+)-\1\.(\d+)", re.ASCII)
_BYTE = 255


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """Consecutive addresses of one IP version, both ends included; `str` gives the canonical form."""

    version: int
    low: int
    high: int

    def overlaps(self, other: AddressRange) -> bool:
        """Whether both share an address."""
        return self.version == other.version and self.low <= other.high and other.low <= self.high

    def within(self, other: AddressRange) -> bool:
        """Whether the other contains all addresses of this one."""
        return self.version == other.version and other.low <= self.low and self.high <= other.high

    def __str__(self) -> str:
        make = IPv4Address if self.version == 4 else IPv6Address  # noqa: PLR2004
        first, last = make(self.low), make(self.high)
        if self.low == self.high:
            return str(first)
        network, *more = summarize_address_range(first, last)
        return f"{first}-{str(last).rpartition('.')[2]}" if more else str(network)


EVERYONE: Final = (AddressRange(4, 0, 2**32 - 1), AddressRange(6, 0, 2**128 - 1))
"""All addresses."""


def has_overlap(some: Sequence[AddressRange], others: Sequence[AddressRange]) -> bool:
    """Whether the two lists share an address, found in one sweep over both."""
    first, second = sorted(some), sorted(others)
    here = there = 0
    while here < len(first) and there < len(second):
        one, other = first[here], second[there]
        if one.overlaps(other):
            return True
        # The range that ends first cannot overlap any later range of the other list.
        if (one.version, one.high) < (other.version, other.high):
            here += 1
        else:
            there += 1
    return False


def find_uncovered(some: Sequence[AddressRange], others: Sequence[AddressRange]) -> list[AddressRange]:
    """The ranges of `some` that no range of `others` contains, in their own order."""
    starts: list[tuple[int, int]] = []
    reach: list[int] = []
    for other in sorted(others):
        same = bool(starts) and starts[-1][0] == other.version
        starts.append((other.version, other.low))
        reach.append(max(other.high, reach[-1]) if same else other.high)

    def covered(span: AddressRange) -> bool:
        place = bisect_right(starts, (span.version, span.low)) - 1
        return place >= 0 and starts[place][0] == span.version and reach[place] >= span.high

    return [span for span in some if not covered(span)]


@lru_cache(maxsize=8192)  # rules and lints ask about one list one after another
def parse_address_range(addr: str) -> AddressRange:
    """The addresses of an `addr` in one of the `FORMS`, or of an IPv6 address or network.

    M2's pages do not show IPv6; the check of a setting warns of it.

    Raises:
        InvalidAddress: it has none of the forms, or is ambiguous.
    """
    # First of all: a node may show an address of any length, and numbers of many digits are slow to read.
    if len(addr) > LONGEST:
        raise InvalidAddress(f"has {len(addr):,} characters", f"write it like {FORMS}")
    if addr != addr.strip():
        raise InvalidAddress("has white space at its start or end", f"write {addr.strip()}")
    if "%" in addr:
        raise InvalidAddress("has the name of a network interface", "write the address without it")
    if "-" in addr:
        return _parse_range(addr)
    if "/" in addr:
        return _parse_network(addr)
    try:
        address = ip_address(addr)
    except ValueError as error:
        raise InvalidAddress("is not an address", f"write it like {FORMS}") from error
    return AddressRange(address.version, int(address), int(address))


def get_address_range(entry: Any) -> AddressRange | None:
    """The addresses of an allowList entry; None where it has no valid `addr`."""
    addr = entry.get("addr") if isinstance(entry, Mapping) else None
    try:
        return parse_address_range(addr) if isinstance(addr, str) else None
    except InvalidAddress:
        return None


def _parse_range(addr: str) -> AddressRange:
    whole = _WHOLE_RANGE.fullmatch(addr)
    if whole:
        prefix, first, last = whole.groups()
        raise InvalidAddress("repeats the network after the dash", f"write {prefix}.{first}-{last}")
    match = _RANGE.fullmatch(addr)
    if not match:
        raise InvalidAddress(
            "is not a range", "a range is in the last part of the address, for example 192.168.2.1-255"
        )
    prefix, first, last = match.groups()
    if int(first) > int(last):
        raise InvalidAddress("is a range that ends before it starts", f"write {prefix}.{last}-{first}")
    if int(last) > _BYTE:
        raise InvalidAddress(f"is a range that ends at {last}", "the last part of an address is at most 255")
    try:
        low, high = IPv4Address(f"{prefix}.{first}"), IPv4Address(f"{prefix}.{last}")
    except ValueError as error:
        raise InvalidAddress("is not a valid range", f"write it like {FORMS}") from error
    return AddressRange(4, int(low), int(high))


def _parse_network(addr: str) -> AddressRange:
    try:
        network = ip_network(addr, strict=False)
    except ValueError as error:
        raise InvalidAddress("is not a network", f"write it like {FORMS}") from error
    host, _, mask = addr.partition("/")
    # The library also accepts host masks such as 0.0.0.255. In an allowList they are a mistake.
    if "." in mask and mask != str(network.netmask):
        raise InvalidAddress(f"has {mask}, which is not a netmask", f"did you mean {host}/{network.netmask}?")
    if int(ip_address(host)) != int(network.network_address):
        right = f"{network.network_address}/{mask}"
        raise InvalidAddress(
            "is not the first address of its network",
            f"write {right} for the network, or {host} for the single address",
        )
    return AddressRange(network.version, int(network.network_address), int(network.broadcast_address))
