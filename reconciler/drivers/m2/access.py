"""Who may call a node: from the caller's address through the allowList to roles and permissions; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from reconciler.core.endpoint import InvalidAddress, unmap_address
from reconciler.drivers.m2.address_range import LONGEST, AddressRange, parse_address_range
from reconciler.drivers.m2.choices import DEFAULTS, AllowListMatch, Choices

Plain: TypeAlias = Mapping[str, Any]

PERMISSIONS: Final = (
    "enableSetting",
    "enablePurge",
    "enableMetric",
    "enableGraph",
    "enableMonitoring",
    "enableInstall",
    "enableRestart",
    "enableGet",
    "enableCluster",
)
"""The nine permissions of a role, in the order of the product's own page."""

PERMISSION_DEFAULTS: Final[Mapping[str, bool]] = MappingProxyType(
    {name: name == "enableGet" for name in PERMISSIONS}
)
"""Permission -> its default (M2 manual, Roles)."""

PERMISSION_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "setting": "enableSetting",
        "command": "enablePurge",
        "metrics": "enableMetric",
        "graph": "enableGraph",
        "monitoring": "enableMonitoring",
        "get": "enableGet",
    }
)
"""First part of a path -> the permission that a call to it needs (M2 manual, API)."""

FACTORY_ROLES: Final[tuple[Plain, ...]] = (
    {
        "name": "admin",
        "permissions": {name: name not in {"enableInstall", "enableRestart"} for name in PERMISSIONS},
    },
    {
        "name": "user",
        "permissions": {
            "enableMetric": True,
            "enableGraph": True,
            "enableMonitoring": True,
            "enableGet": True,
        },
    },
)
"""The roles in the factory's `setting.json` (M2 manual, Roles)."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may do.

    Args:
        listed: whether an allowList entry matches the caller, or there is no list that could exclude it.
        roles: the names of the roles that count for the caller.
    """

    listed: bool
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()


def find_access(document: Plain | None, caller: str, choices: Choices = DEFAULTS) -> Access:
    """The access of a caller to a node that runs `document`.

    Args:
        document: a whole `setting.json`; None before the first.
        caller: an IP address.
        choices: the behaviour where the product's pages are silent.
    """
    return AccessTable(document).access(caller, choices)


class AccessTable:
    """The access part of a document, read once for many callers.

    Assumed: a node without a setting, or whose setting has no `roles`, has the factory's.

    Args:
        document: a whole `setting.json`; None before the first. It may come from a node and hold anything.
    """

    def __init__(self, document: Plain | None) -> None:
        management = _get_part(_get_part(document or {}, "env"), "management")
        api, roles = _get_part(management, "api"), management.get("roles")
        self._default = str(api.get("defaultRole", "admin"))
        self._roles = {
            str(role.get("name")): role for role in _list_objects(FACTORY_ROLES if roles is None else roles)
        }
        entries = _list_objects(api.get("allowList"))
        self._has_entries = bool(entries)
        self._entries: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for entry in entries:
            # Cut: a node may send an address of any length, and the cache of the parser would keep it.
            here = _parse_range(str(entry.get("addr"))[: LONGEST + 1])
            if here is not None:
                role = str(entry.get("role") or self._default)
                self._entries[here.version].append((here.low, here.high, role))
        self._roles_by_caller: dict[str, tuple[str, ...]] = {}

    @property
    def has_entries(self) -> bool:
        """Whether the allowList has entries."""
        return self._has_entries

    def access(self, caller: str, choices: Choices = DEFAULTS) -> Access:
        """The access of a caller, an IP address.

        An IPv4 caller on an IPv6 socket is an IPv4 caller.
        """
        if self._has_entries:
            roles = self._match_roles(caller)
            roles = roles if choices.match is AllowListMatch.UNION else roles[:1]
        else:
            roles = (self._default,) if choices.open_without_list else ()
        granted = (
            name
            for role in roles
            if role in self._roles
            for name in list_granted_permissions(self._roles[role])
        )
        return Access(listed=True, roles=roles, permissions=frozenset(granted)) if roles else Access(False)

    def granting(self, points: Sequence[tuple[int, int]], permission: str) -> Iterator[tuple[bool, bool]]:
        """For each address whether it has a permission: by the first entry that matches, and by any.

        Args:
            points: (IP version, number), in ascending order.
            permission: its name.
        """
        # One sweep over the addresses. A lookup of each one takes entries times addresses, and a node could
        # stop the run with a long list.
        grants = frozenset(
            name for name, role in self._roles.items() if permission in list_granted_permissions(role)
        )
        begins = sorted(
            ((version, low), (version, high), index, role)
            for version, entries in self._entries.items()
            for index, (low, high, role) in enumerate(entries)
        )
        open_entries: list[tuple[int, tuple[int, int], bool]] = []  # the first of the list on top
        grant_ends: list[tuple[int, int]] = []
        taken = 0
        for point in points:
            while taken < len(begins) and begins[taken][0] <= point:
                _, end, index, role = begins[taken]
                taken += 1
                heappush(open_entries, (index, end, role in grants))
                if role in grants:
                    heappush(grant_ends, end)
            while open_entries and open_entries[0][1] < point:
                heappop(open_entries)
            while grant_ends and grant_ends[0] < point:
                heappop(grant_ends)
            yield bool(open_entries) and open_entries[0][2], bool(grant_ends)

    def _match_roles(self, caller: str) -> tuple[str, ...]:
        """The roles of the entries that match the caller, in their order, each once."""
        if caller not in self._roles_by_caller:
            version, address = _parse_caller(caller)
            matching = [role for low, high, role in self._entries[version] if low <= address <= high]
            self._roles_by_caller[caller] = tuple(dict.fromkeys(matching))
        return self._roles_by_caller[caller]


def list_granted_permissions(role: Plain) -> frozenset[str]:
    """The permissions that a role gives, defaults included."""
    given = _get_part(role, "permissions")
    return frozenset(name for name, default in PERMISSION_DEFAULTS.items() if given.get(name, default))


def contains_caller(addr: str, caller: str) -> bool:
    """Whether an `addr` of the allowList matches the caller; an invalid one matches nobody.

    An IPv4 caller on an IPv6 socket is an IPv4 caller.
    """
    here = _parse_range(addr)
    version, address = _parse_caller(caller)
    return here is not None and here.version == version and here.low <= address <= here.high


@lru_cache(maxsize=4096)
def _parse_range(addr: str) -> AddressRange | None:
    try:
        return parse_address_range(addr)
    except InvalidAddress:
        return None


@lru_cache(maxsize=4096)
def _parse_caller(caller: str) -> tuple[int, int]:
    """An address as (IP version, number)."""
    address = unmap_address(ip_address(caller))
    return address.version, int(address)


def _get_part(value: Plain, key: str) -> Plain:
    part = value.get(key)
    return part if isinstance(part, Mapping) else {}


def _list_objects(value: Any) -> list[Plain]:
    """The objects of a list; empty where there is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
