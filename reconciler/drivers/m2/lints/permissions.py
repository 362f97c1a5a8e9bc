"""Lints of roles, and of allowList entries that overlap or are too wide; pure.

M2's pages do not say whether the first entry that names a caller counts or all of them do (see
`choices.AllowListMatch`), so whatever depends on that is doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.address_range import AddressRange, get_address_range, parse_address_range
from reconciler.drivers.m2.caller_permissions import list_granted_permissions
from reconciler.drivers.m2.setting.check import MANAGEMENT
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_named_items, get_object, warn
from reconciler.drivers.m2.setting.models import FACTORY_ROLES

DANGEROUS: Final = ("enableSetting", "enablePurge", "enableInstall", "enableRestart")
"""The permissions that change a node or empty its cache; the first one lets a caller grant the others."""

STOPPING: Final = ("enableInstall", "enableRestart")
"""The permissions that take the node out of service."""

WIDE: Final = 256
"""Highest number of addresses, of an entry or a role, that is not too wide: a /24."""

WIDE_PUBLIC: Final = 16
"""The same for public addresses: a /28."""

CODES: Final = frozenset({"unused-role", "shadowed-entry", "overlapping-entries", "wide-entry", "wide-role"})

MOST_PAIRS: Final = 100_000
"""Highest number of pairs of overlapping entries that are compared."""

Plain: TypeAlias = Mapping[str, Any]

_LIST: Final[Path] = (*MANAGEMENT, "api", "allowList")
_ROLES: Final[Path] = (*MANAGEMENT, "roles")
_SUBNET: Final = 2**64
_V4: Final = 4


_EVERY = parse_address_range("0.0.0.0/0")
_LOOPBACK: Final = tuple(map(parse_address_range, ("127.0.0.0/8", "::1/128")))
_PRIVATE: Final = tuple(
    map(
        parse_address_range,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class ReadableEntry:
    """An allowList entry with a valid `addr`.

    Args:
        index: its place in the allowList, from 0.
        granted: the permissions of its role.
    """

    index: int
    addresses: AddressRange
    role: str
    granted: frozenset[str]

    @property
    def label(self) -> str:
        """The entry in a message."""
        return f'entry {self.index + 1} ({self.addresses}, role "{self.role}")'


def lint_access(management: Plain) -> Iterator[Diagnostic]:
    """The lints of an `env.management`."""
    entries = _read_entries(management)
    yield from _find_unused_roles(management)
    yield from _find_overlaps(entries)
    for entry in entries:
        danger = [name for name in DANGEROUS if name in entry.granted]
        if danger and (many := _describe_wide([entry.addresses])):
            message = f'the role "{entry.role}" grants {_join(danger)} to {many}'
            remedy = "list only the hosts that need it, or give this network a role without it"
            yield warn((*_LIST, entry.index, "addr"), "wide-entry", message, remedy)
    yield from _find_wide_roles(management, entries)


def _read_entries(management: Plain) -> list[ReadableEntry]:
    given = management.get("roles")
    roles = {
        name: role for _, name, role in get_named_items({"": FACTORY_ROLES if given is None else given}, "")
    }
    default = _get_default_role(management)
    found = []
    for index, entry in get_items(management, "api", "allowList"):
        addresses, role = get_address_range(entry), get_object(entry).get("role") or default
        if addresses is not None and isinstance(role, str):
            granted = list_granted_permissions(roles[role]) if role in roles else frozenset()
            found.append(ReadableEntry(index, addresses, role, granted))
    return found


def _get_default_role(management: Plain) -> str:
    role = get_object(management, "api").get("defaultRole", "admin")
    return role if isinstance(role, str) else ""


def _find_unused_roles(management: Plain) -> Iterator[Diagnostic]:
    """Roles that neither an entry nor `defaultRole` names; without an allowList there are none."""
    entries = get_items(management, "api", "allowList")
    if not entries:
        return
    used = {str(get_object(entry).get("role") or "") for _, entry in entries}
    if "" in used or "defaultRole" in get_object(management, "api"):
        used.add(_get_default_role(management))
    for index, name, _ in get_named_items(management, "roles"):
        if name not in used:
            message = f'no allowList entry has the role "{name}", so no caller ever gets it'
            yield warn((*_ROLES, index, "name"), "unused-role", message, "use it in an entry, or remove it")


def _find_overlaps(entries: Sequence[ReadableEntry]) -> Iterator[Diagnostic]:
    """Entries that share addresses with earlier ones; one warning each, about the first that matters."""
    earlier: dict[int, list[int]] = {}
    for one, other in _find_overlapping_pairs(entries):
        earlier.setdefault(max(one, other), []).append(min(one, other))
    for later in sorted(earlier):
        entry, others = entries[later], [entries[index] for index in sorted(earlier[later])]
        cover = next((other for other in others if entry.addresses.within(other.addresses)), None)
        if cover is not None:
            yield _shadowed(entry, cover)
            continue
        # A narrow entry before a wide one that grants no more is the usual exception: first match and all
        # matches then give its addresses the same permissions, so nothing is doubtful.
        doubtful = next(
            (
                other
                for other in others
                if other.role == entry.role
                or not other.addresses.within(entry.addresses)
                or not entry.granted <= other.granted
            ),
            None,
        )
        if doubtful is not None:
            yield _overlapping(entry, doubtful)


def _find_overlapping_pairs(entries: Sequence[ReadableEntry]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of entries that share an address, found in one sweep; at most some `MOST_PAIRS`."""
    # In the order of addresses, only entries that reach this one can overlap it: no comparison of all pairs.
    reached: list[int] = []
    found = 0
    for index in sorted(range(len(entries)), key=lambda index: entries[index].addresses):
        here = entries[index].addresses
        reached = [other for other in reached if entries[other].addresses.overlaps(here)]
        yield from ((other, index) for other in reached)
        found += len(reached)
        # Entries that all overlap have as many pairs as the square of their number: a file with some
        # thousand of them could otherwise stop the check, and nobody reads that many warnings.
        if found > MOST_PAIRS:
            return
        reached.append(index)


def _shadowed(entry: ReadableEntry, cover: ReadableEntry) -> Diagnostic:
    path = (*_LIST, entry.index, "addr")
    message = f"every address of {entry.label} is also in the earlier {cover.label}"
    if entry.granted <= cover.granted:
        return warn(
            path,
            "shadowed-entry",
            f"{message}, which grants at least the same permissions",
            "remove one of the two",
        )
    more = _join(sorted(entry.granted - cover.granted))
    message += f"; if the first match counts, which the M2 manual leaves open, it never grants {more}"
    return warn(path, "shadowed-entry", message, f"move it before entry {cover.index + 1}")


def _overlapping(entry: ReadableEntry, other: ReadableEntry) -> Diagnostic:
    path = (*_LIST, entry.index, "addr")
    one, two = entry.addresses, other.addresses
    shared = min(one.high, two.high) - max(one.low, two.low) + 1
    message = (
        f"{entry.label} and the earlier {other.label} share {shared:,} address{'' if shared == 1 else 'es'}"
    )
    if entry.role == other.role:
        remedy = "remove the earlier one: it has no effect" if two.within(one) else "merge them"
        return warn(path, "overlapping-entries", message, remedy)
    message += "; the M2 manual does not say whether the first match counts or all matches do"
    return warn(path, "overlapping-entries", message, "list each address with one role only")


def _find_wide_roles(management: Plain, entries: Sequence[ReadableEntry]) -> Iterator[Diagnostic]:
    """Roles with `enableInstall` or `enableRestart` that too many addresses have, over all entries."""
    listed = bool(get_items(management, "api", "allowList"))
    by_role: dict[str, list[AddressRange]] = {}
    for entry in entries:
        by_role.setdefault(entry.role, []).append(entry.addresses)
    for index, name, role in get_named_items(management, "roles"):
        granted = list_granted_permissions(role)
        danger = [permission for permission in STOPPING if permission in granted]
        if not danger:
            continue
        if listed:
            many = _describe_wide(by_role.get(name, []))
        else:
            many = (
                "every caller, because there is no allowList" if name == _get_default_role(management) else ""
            )
        if many:
            message = f'the role "{name}" has {_join(danger)} and is granted to {many}'
            remedy = "move these permissions to a separate role for one or two hosts"
            yield warn((*_ROLES, index, "permissions", danger[0]), "wide-role", message, remedy)


def _describe_wide(ranges: Sequence[AddressRange]) -> str:
    """The ranges for a message where they are too wide, else ""; the node's own addresses do not count."""
    outside = sorted({span for span in ranges if not _is_inside(span, _LOOPBACK)})
    public = [span for span in outside if not _is_inside(span, _PRIVATE)]
    for chosen, most, kind in ((outside, WIDE, ""), (public, WIDE_PUBLIC, "public ")):
        counts = [span.high - span.low + 1 for span in chosen]
        # Of IPv6 the networks count: the smallest one has 2**64 addresses.
        sizes = (
            count if span.version == _V4 else -(-count // _SUBNET)
            for span, count in zip(chosen, counts, strict=True)
        )
        if sum(sizes) <= most:
            continue
        if len(chosen) > 1:
            return f"{sum(counts):,} {kind}addresses in {len(chosen)} entries"
        return f"{chosen[0]}, {'every address' if chosen[0] == _EVERY else f'{counts[0]:,} {kind}addresses'}"
    return ""


def _is_inside(span: AddressRange, networks: Sequence[AddressRange]) -> bool:
    return any(span.within(network) for network in networks)


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
