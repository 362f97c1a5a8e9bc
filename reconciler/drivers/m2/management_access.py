"""What the management hosts may do on a node before and after a change, however it reads its list; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.secret import reveal
from reconciler.drivers.m2.access import AccessTable
from reconciler.drivers.m2.address_range import AddressRange
from reconciler.drivers.m2.allowlist import get_address_range
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.m2.risk import NEEDED, find_allowed_addresses
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import get_items, get_object

READ_MORE: Final = "enableGet"
"""The permission with which a node tells what is in effect apart from what waits for a restart."""

_SAID: Final = ("api", "roles")
_RULES: Final = tuple(
    Choices(match=match, open_without_list=open_) for match in AllowListMatch for open_ in (True, False)
)
"""Every way in which a node may read its allowList: the pages do not say which."""


@dataclass(frozen=True, slots=True)
class Callers:
    """The hosts that manage a node.

    Args:
        addresses: as the node sees them: what the fleet file says, or else this host's own.
        before: what the node's setting says of access; None where it has none loaded yet.
        rules: the ways of reading an allowList under which one of the hosts could deliver just now; none
            where the node sees all of them at addresses that are not known here.
    """

    addresses: tuple[str, ...]
    before: Any
    rules: tuple[Choices, ...]

    def losing(self, after: Any, permission: str) -> tuple[str, ...]:
        """Those of the hosts that hold a permission now and would no longer be sure of it."""
        before, then = _table(self.before), _table(after)
        return tuple(
            caller
            for caller in self.addresses
            if any(
                _may(before, caller, rule, permission) and not _may(then, caller, rule, permission)
                for rule in self.rules
            )
        )


def find_callers(before: Content | None, named: tuple[str, ...], caller: str) -> Callers:
    """The management hosts of a node, seen from the setting that it shows.

    A way of reading the allowList under which none of them could have delivered is ruled out, because
    the node has just been read.

    Args:
        before: what the node has loaded.
        named: the addresses in the fleet file; they take the place of the caller's.
        caller: the address from which this host called the node; empty where it is not known.
    """
    addresses = named or ((caller,) if caller else ())
    said = extract_access(before) if before is not None else None
    table = _table(said)
    rules = (rule for rule in _RULES if any(_may(table, address, rule, NEEDED) for address in addresses))
    return Callers(addresses, said, tuple(rules))


def has_certain_access(after: Any) -> bool:
    """Whether some address is sure that it may deliver, however a node reads the order of its list.

    A setting without a list is taken to let everybody in, as the default role.
    """
    if not _spans(after):
        return bool(find_allowed_addresses(after))
    return any(first and any_ for first, any_ in _table(after).granting(_edges(after), NEEDED))


def find_addresses_losing_access(before: Any, after: Any) -> tuple[str, ...]:
    """Addresses that may deliver now and would no longer be sure of it, of the edges of all entries.

    For hosts that a node sees at addresses which are not known here: it may be any of them.
    """
    edges = sorted({*_edges(before), *_edges(after)})
    ways = [
        zip(_held(_table(before), rule, edges), _held(_table(after), rule, edges), strict=True)
        for rule in _RULES
    ]
    return tuple(
        str(AddressRange(version, number, number))
        for (version, number), held in zip(edges, zip(*ways, strict=True), strict=True)
        if any(now and not then for now, then in held)
    )


def _held(table: AccessTable, rule: Choices, edges: Sequence[tuple[int, int]]) -> Iterator[bool]:
    """Whether each of these addresses may deliver, under one way of reading the list."""
    if not table.has_entries:
        # Without a list all addresses are alike.
        alike = _may(table, "0.0.0.0", rule, NEEDED)  # noqa: S104  (an address to ask about, not to bind)
        return (alike for _ in edges)
    union = rule.match is AllowListMatch.UNION
    return (any_ if union else first for first, any_ in table.granting(edges, NEEDED))


def _spans(document: Any) -> list[AddressRange]:
    entries = get_items(get_object(document, "env", "management", "api"), "allowList")
    return [found for found in (get_address_range(entry) for _, entry in entries) if found is not None]


def _edges(document: Any) -> list[tuple[int, int]]:
    """The first and the last address of each entry, and those beside it: between them nothing changes.

    Those beside it matter as much: where an entry gives way to narrower ones, what is lost lies between
    them, and begins where none of the old edges is. Gives IP version and number, in ascending order.
    """
    found = {
        (one.version, number)
        for one in _spans(document)
        for number in (one.low - 1, one.low, one.high, one.high + 1)
        if 0 <= number < 2 ** (32 if one.version == 4 else 128)  # noqa: PLR2004
    }
    return sorted(found)


def has_same_access(before: Content, after: Content) -> bool:
    """Whether two settings say the same of access, so that nobody can lose anything."""
    old = get_object(before.canonical, "env", "management")
    new = get_object(after.canonical, "env", "management")
    return all(old.get(key) == new.get(key) for key in _SAID)


def extract_access(content: Content) -> Any:
    """What a setting says of access, with what was given as a secret in clear."""
    management = get_object(content.canonical, "env", "management")
    return {"env": {"management": reveal({key: management[key] for key in _SAID if key in management})}}


def _table(document: Any) -> AccessTable:
    return AccessTable(document if isinstance(document, Mapping) else None)


def _may(table: AccessTable, caller: str, rule: Choices, permission: str) -> bool:
    return permission in table.access(caller, rule).permissions
