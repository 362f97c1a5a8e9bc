"""Lints of who may call a node: roles, and allowList entries that overlap or are too wide.

M2's pages do not say whether the first entry that names a caller counts or all of them do (see
`choices.Match`), so what depends on that is doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, TypeAlias

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.access import FACTORY_ROLES, list_granted_permissions
from reconciler.drivers.m2.address_range import AddressRange
from reconciler.drivers.m2.allowlist import get_address_range
from reconciler.drivers.m2.setting.check import MANAGEMENT
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_named_items, get_object
from reconciler.text.json_pointer import make_pointer

DANGEROUS: Final = ("enableSetting", "enablePurge", "enableInstall", "enableRestart")
"""The permissions that change a node or empty its cache; whoever has the first can give itself the rest."""

STOPPING: Final = ("enableInstall", "enableRestart")
"""Those of them that take the node out of service."""

WIDE: Final = 256
"""Addresses of one entry, or of all entries of a role, that are not yet many: a /24."""

WIDE_PUBLIC: Final = 16
"""The same of addresses that anybody on the internet may have: a /28."""

CODES: Final = frozenset({"unused-role", "shadowed-entry", "overlapping-entries", "wide-entry", "wide-role"})

MOST_PAIRS: Final = 100_000
"""Pairs of overlapping entries that are looked at."""

Plain: TypeAlias = Mapping[str, Any]

_LIST: Final[Path] = (*MANAGEMENT, "api", "allowList")
_ROLES: Final[Path] = (*MANAGEMENT, "roles")
_SUBNET: Final = 2**64
_V4: Final = 4


def _spans(*networks: str) -> tuple[AddressRange, ...]:
    made = (ip_network(network) for network in networks)
    return tuple(
        AddressRange(net.version, int(net.network_address), int(net.broadcast_address)) for net in made
    )


(_EVERY,) = _spans("0.0.0.0/0")
_LOOPBACK: Final = _spans("127.0.0.0/8", "::1/128")
_PRIVATE: Final = _spans(
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)


@dataclass(frozen=True, slots=True)
class ReadableEntry:
    """An allowList entry whose addresses can be read, with what its role gives."""

    index: int
    span: AddressRange
    role: str
    granted: frozenset[str]

    @property
    def said(self) -> str:
        """The entry in a message."""
        return f'entry {self.index + 1} ({self.span}, role "{self.role}")'


def lint_access(management: Plain) -> Iterator[Diagnostic]:
    """All lints of this kind in an `env.management`."""
    entries = _entries(management)
    yield from _unused(management)
    yield from _overlaps(entries)
    for entry in entries:
        yield from _wide(entry)
    yield from _stopping(management, entries)


def _entries(management: Plain) -> list[ReadableEntry]:
    said = management.get("roles")
    roles = {
        name: role for _, name, role in get_named_items({"": FACTORY_ROLES if said is None else said}, "")
    }
    default = _default(management)
    found = []
    for index, entry in get_items(management, "api", "allowList"):
        span, role = get_address_range(entry), get_object(entry).get("role") or default
        if span is not None and isinstance(role, str):
            found.append(
                ReadableEntry(
                    index, span, role, list_granted_permissions(roles[role]) if role in roles else frozenset()
                )
            )
    return found


def _default(management: Plain) -> str:
    role = get_object(management, "api").get("defaultRole", "admin")
    return role if isinstance(role, str) else ""


def _unused(management: Plain) -> Iterator[Diagnostic]:
    """Roles of a file with an allowList that neither an entry nor `defaultRole` names."""
    entries = get_items(management, "api", "allowList")
    if not entries:
        return
    used = {str(get_object(entry).get("role") or "") for _, entry in entries}
    if "" in used or "defaultRole" in get_object(management, "api"):
        used.add(_default(management))
    for index, name, _ in get_named_items(management, "roles"):
        if name not in used:
            said = f'no entry of the allowList has the role "{name}", so nobody ever has it'
            yield _warning((*_ROLES, index, "name"), "unused-role", said, "use it in an entry, or remove it")


def _overlaps(entries: Sequence[ReadableEntry]) -> Iterator[Diagnostic]:
    """Entries that share addresses with an earlier one; of several earlier ones the first that matters."""
    earlier: dict[int, list[int]] = {}
    for one, other in _pairs(entries):
        earlier.setdefault(max(one, other), []).append(min(one, other))
    for later in sorted(earlier):
        entry, others = entries[later], [entries[index] for index in sorted(earlier[later])]
        cover = next((other for other in others if entry.span.within(other.span)), None)
        if cover is not None:
            yield _shadowed(entry, cover)
            continue
        doubtful = next((other for other in others if not _exception(other, entry)), None)
        if doubtful is not None:
            yield _overlapping(entry, doubtful)


def _pairs(entries: Sequence[ReadableEntry]) -> Iterator[tuple[int, int]]:
    """Places of pairs of entries that share an address, found in one sweep over the addresses.

    Where there are more than `MOST_PAIRS`, the others are left out: a list of many entries that all overlap
    has as many pairs as the square of their number, and nobody reads as many warnings.
    """
    reached: list[int] = []
    found = 0
    for place in sorted(range(len(entries)), key=lambda place: entries[place].span):
        here = entries[place].span
        reached = [other for other in reached if entries[other].span.overlaps(here)]
        yield from ((other, place) for other in reached)
        found += len(reached)
        if found > MOST_PAIRS:
            return
        reached.append(place)


def _exception(narrow: ReadableEntry, wide: ReadableEntry) -> bool:
    """Whether an earlier entry gives some addresses of a later one more: the same under every reading."""
    return narrow.role != wide.role and narrow.span.within(wide.span) and wide.granted <= narrow.granted


def _shadowed(entry: ReadableEntry, cover: ReadableEntry) -> Diagnostic:
    path = (*_LIST, entry.index, "addr")
    if entry.granted <= cover.granted:
        said = f"every address of {entry.said} is in the earlier {cover.said}, which gives at least as much"
        return _warning(path, "shadowed-entry", said, "remove one of the two")
    more = _joined(sorted(entry.granted - cover.granted))
    said = (
        f"every address of {entry.said} is in the earlier {cover.said}: where the first match counts, "
        f"which M2's pages leave open, it never gives {more}"
    )
    return _warning(path, "shadowed-entry", said, f"put it before entry {cover.index + 1}")


def _overlapping(entry: ReadableEntry, other: ReadableEntry) -> Diagnostic:
    path = (*_LIST, entry.index, "addr")
    shared = min(entry.span.high, other.span.high) - max(entry.span.low, other.span.low) + 1
    said = f"{entry.said} and the earlier {other.said} share {shared:,} address{'' if shared == 1 else 'es'}"
    if entry.role == other.role:
        remedy = (
            "the earlier one adds nothing: remove it" if other.span.within(entry.span) else "make them one"
        )
        return _warning(path, "overlapping-entries", said, remedy)
    said += "; M2's pages do not say whether the first match counts there, or all"
    remedy = "let no address stand in two entries with different roles"
    return _warning(path, "overlapping-entries", said, remedy)


def _wide(entry: ReadableEntry) -> Iterator[Diagnostic]:
    danger = [name for name in DANGEROUS if name in entry.granted]
    if danger and (many := _many([entry.span])):
        said = f'the role "{entry.role}" opens {_joined(danger)} to {many}'
        remedy = "name the hosts that need it, or give this network a role without it"
        yield _warning((*_LIST, entry.index, "addr"), "wide-entry", said, remedy)


def _stopping(management: Plain, entries: Sequence[ReadableEntry]) -> Iterator[Diagnostic]:
    """Roles with `enableInstall` or `enableRestart` that many addresses have, in one entry or in several."""
    listed = bool(get_items(management, "api", "allowList"))
    by_role: dict[str, list[AddressRange]] = {}
    for entry in entries:
        by_role.setdefault(entry.role, []).append(entry.span)
    for index, name, role in get_named_items(management, "roles"):
        granted = list_granted_permissions(role)
        danger = [permission for permission in STOPPING if permission in granted]
        if not danger:
            continue
        if listed:
            many = _many(by_role.get(name, []))
        else:
            many = "whoever calls, for there is no allowList" if name == _default(management) else ""
        if many:
            said = f'the role "{name}" has {_joined(danger)} and is given to {many}'
            remedy = "keep these for a role of their own that one or two hosts have"
            yield _warning((*_ROLES, index, "permissions", danger[0]), "wide-role", said, remedy)


def _many(spans: Sequence[AddressRange]) -> str:
    """How many addresses these are, where they are many; those of the node itself do not count."""
    outside = sorted({span for span in spans if not _inside(span, _LOOPBACK)})
    public = [span for span in outside if not _inside(span, _PRIVATE)]
    for chosen, most, kind in ((outside, WIDE, ""), (public, WIDE_PUBLIC, "public ")):
        if sum(map(_size, chosen)) > most:
            return _said(chosen, kind)
    return ""


def _said(spans: Sequence[AddressRange], kind: str) -> str:
    count = sum(span.high - span.low + 1 for span in spans)
    if len(spans) > 1:
        return f"{count:,} {kind}addresses in {len(spans)} entries"
    return f"{spans[0]}, {'every address' if spans[0] == _EVERY else f'{count:,} {kind}addresses'}"


def _size(span: AddressRange) -> int:
    """Its addresses; of IPv6, whose smallest network has 2**64, its networks."""
    count = span.high - span.low + 1
    return count if span.version == _V4 else -(-count // _SUBNET)


def _inside(span: AddressRange, networks: Sequence[AddressRange]) -> bool:
    return any(span.within(network) for network in networks)


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _warning(path: Path, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(Severity.WARNING, code, message, remedy, pointer=make_pointer(path))
