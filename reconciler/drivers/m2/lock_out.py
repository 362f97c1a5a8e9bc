"""What the management hosts may do on a node before and after a change; pure.

M2's pages leave open how a node reads its allowList. So everything here is decided under each possible way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.secret import reveal
from reconciler.drivers.m2.address_range import AddressRange
from reconciler.drivers.m2.caller_permissions import SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import get_object

_ACCESS_KEYS: Final = ("api", "roles")
RULES: Final = tuple(
    Choices(match=match, open_without_list=open_) for match in AllowListMatch for open_ in (True, False)
)
"""Every way in which a node may read its allowList."""


@dataclass(frozen=True, slots=True)
class Callers:
    """The hosts that manage a node.

    Args:
        addresses: as the node sees them: those of the fleet file, or else this host's own.
        before: the access part of the node's setting; None where it has no setting yet.
        rules: the ways of reading an allowList under which one of the hosts can deliver now; empty where
            the node sees all of them at unknown addresses.
    """

    addresses: tuple[str, ...]
    before: Any
    rules: tuple[Choices, ...]

    def losing(self, after: Any, permission: str) -> tuple[str, ...]:
        """The hosts that have a permission now and may not have it after the change."""
        before, then = AccessTable(self.before), AccessTable(after)
        return tuple(
            caller
            for caller in self.addresses
            if any(
                _may(before, caller, rule, permission) and not _may(then, caller, rule, permission)
                for rule in self.rules
            )
        )


def find_callers(before: Content | None, named: tuple[str, ...], caller: str) -> Callers:
    """The management hosts of a node.

    Args:
        before: the setting that the node has loaded.
        named: the addresses in the fleet file; they replace the caller's.
        caller: the address from which this host called the node; empty where it is unknown.
    """
    addresses = named or ((caller,) if caller else ())
    access = extract_access(before) if before is not None else None
    table = AccessTable(access)

    def can_deliver(rule: Choices) -> bool:
        return any(_may(table, address, rule, SETTING_PERMISSION) for address in addresses)

    # The node has just been read, which needs the same permission as a delivery. So it does not read its list
    # in a way under which none of the hosts has it.
    return Callers(addresses, access, tuple(rule for rule in RULES if can_deliver(rule)))


def has_certain_access(after: Any) -> bool:
    """Whether some address may deliver, whichever way a node reads its list.

    Without a list, every address counts as having the default role.
    """
    table = AccessTable(after)
    if not table.ranges:
        return bool(table.find_allowed(SETTING_PERMISSION))
    grants = table.granting(_list_edges(table), SETTING_PERMISSION)
    return any(by_first and by_any for by_first, by_any in grants)


def find_addresses_losing_access(before: Any, after: Any) -> tuple[str, ...]:
    """Addresses that may deliver now and possibly not after the change, among the edges of all entries."""
    old, new = AccessTable(before), AccessTable(after)
    edges = sorted({*_list_edges(old), *_list_edges(new)})
    ways = [
        zip(_list_grants(old, rule, edges), _list_grants(new, rule, edges), strict=True) for rule in RULES
    ]
    return tuple(
        str(AddressRange(version, number, number))
        for (version, number), held in zip(edges, zip(*ways, strict=True), strict=True)
        if any(now and not then for now, then in held)
    )


def _list_grants(table: AccessTable, rule: Choices, edges: Sequence[tuple[int, int]]) -> Iterator[bool]:
    """Whether each of these addresses may deliver, under one way of reading the list."""
    if not table.has_entries:
        # Without a list every address gets the same answer: any will do.
        same = _may(table, "0.0.0.0", rule, SETTING_PERMISSION)  # noqa: S104  (looked up, not bound)
        return (same for _ in edges)
    union = rule.match is AllowListMatch.UNION
    return (by_any if union else by_first for by_first, by_any in table.granting(edges, SETTING_PERMISSION))


def _list_edges(table: AccessTable) -> list[tuple[int, int]]:
    """(IP version, number) of the addresses at and beside the ends of each entry, in ascending order."""
    # All addresses between two edges have the same permissions, so the edges stand for all. The addresses
    # beside an entry are needed too: where narrower entries replace a wide one, access is lost between these.
    found = {
        (one.version, number)
        for one in table.ranges
        for number in (one.low - 1, one.low, one.high, one.high + 1)
        if 0 <= number < 2 ** (32 if one.version == 4 else 128)  # noqa: PLR2004
    }
    return sorted(found)


def has_same_access(before: Content, after: Content) -> bool:
    """Whether the access parts of two settings are equal, so that nobody can lose anything."""
    old = get_object(before.canonical, "env", "management")
    new = get_object(after.canonical, "env", "management")
    return all(old.get(key) == new.get(key) for key in _ACCESS_KEYS)


def extract_access(content: Content) -> Any:
    """The access part of a setting, as a setting, with secrets in clear."""
    management = get_object(content.canonical, "env", "management")
    part = {key: management[key] for key in _ACCESS_KEYS if key in management}
    return {"env": {"management": reveal(part)}}


def _may(table: AccessTable, caller: str, rule: Choices, permission: str) -> bool:
    return permission in table.access(caller, rule).permissions
