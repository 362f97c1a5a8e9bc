"""Who may call a node: from the caller's address over the allowList to roles and permissions."""

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
"""What a role has where it does not say: nothing but `enableGet`."""

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
"""First part of a path -> the permission that a call to it needs."""

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
"""The roles that the first `setting.json` of a new node brings."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may do.

    Args:
        listed: whether any allowList entry, or the lack of a list, lets the caller in at all.
        roles: the names of the roles that count for it.
    """

    listed: bool
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()


def find_access(document: Plain | None, caller: str, choices: Choices = DEFAULTS) -> Access:
    """The permissions that a caller holds on a node that runs `document`.

    Assumed: a node without a setting, or whose setting has no `roles`, has the factory's.

    Args:
        document: a whole `setting.json`; None before the first.
        caller: an IP address.
        choices: the rules where the product's pages are silent.
    """
    return AccessTable(document).access(caller, choices)


class AccessTable:
    """What a document says of access, read once to be asked about many callers.

    Args:
        document: a whole `setting.json`; None before the first. A node may show anything in it.
    """

    def __init__(self, document: Plain | None) -> None:
        management = _part(_part(document or {}, "env"), "management")
        api, said = _part(management, "api"), management.get("roles")
        default = str(api.get("defaultRole", "admin"))
        roles = _objects(FACTORY_ROLES if said is None else said)
        self._default = default
        self._roles = {str(role.get("name")): role for role in roles}
        entries = _objects(api.get("allowList"))
        self._any_entry = bool(entries)
        self._entries: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for entry in entries:
            here = _span(str(entry.get("addr"))[: LONGEST + 1])
            if here is not None:
                role = str(entry.get("role") or default)
                self._entries[here.version].append((here.low, here.high, role))
        self._found: dict[str, tuple[str, ...]] = {}

    @property
    def has_entries(self) -> bool:
        """Whether there is a list that says anything."""
        return self._any_entry

    def access(self, caller: str, choices: Choices = DEFAULTS) -> Access:
        """The permissions that a caller, an IP address, holds under a way of reading the list.

        An IPv4 caller on an IPv6 socket is an IPv4 caller.
        """
        if self._any_entry:
            roles = self._matching(caller)
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
        """For each address whether it holds a permission: by the first entry that names it, and by any.

        One sweep over the addresses: asked one by one, as many addresses as there are entries would take the
        square of their number, which is a node's to choose.

        Args:
            points: IP version and number, in ascending order.
            permission: its name.
        """
        able = [name for name, role in self._roles.items() if permission in list_granted_permissions(role)]
        grants, begins = frozenset(able), self._by_begin()
        ahead: list[
            tuple[int, tuple[int, int], bool]
        ] = []  # entries that have begun, the first of the list first
        ends: list[tuple[int, int]] = []  # where entries that grant end
        taken = 0
        for point in points:
            while taken < len(begins) and begins[taken][0] <= point:
                _, end, place, role = begins[taken]
                taken += 1
                heappush(ahead, (place, end, role in grants))
                if role in grants:
                    heappush(ends, end)
            while ahead and ahead[0][1] < point:
                heappop(ahead)
            while ends and ends[0] < point:
                heappop(ends)
            yield bool(ahead) and ahead[0][2], bool(ends)

    def _by_begin(self) -> list[tuple[tuple[int, int], tuple[int, int], int, str]]:
        """(begin, end, place in the list, role) of each entry, by where it begins."""
        return sorted(
            ((version, low), (version, high), place, role)
            for version, entries in self._entries.items()
            for place, (low, high, role) in enumerate(entries)
        )

    def _matching(self, caller: str) -> tuple[str, ...]:
        """The roles of the entries that name the caller, in their order, each once."""
        if caller not in self._found:
            version, address = _numbered(caller)
            named = [role for low, high, role in self._entries[version] if low <= address <= high]
            self._found[caller] = tuple(dict.fromkeys(named))
        return self._found[caller]


def list_granted_permissions(role: Plain) -> frozenset[str]:
    """The permissions that a role gives, defaults included."""
    said = _part(role, "permissions")
    return frozenset(name for name, default in PERMISSION_DEFAULTS.items() if said.get(name, default))


def contains_caller(addr: str, caller: str) -> bool:
    """Whether an `addr` of the allowList names the caller; what is no address form names nobody.

    An IPv4 caller on an IPv6 socket is an IPv4 caller.
    """
    here = _span(addr)
    version, address = _numbered(caller)
    return here is not None and here.version == version and here.low <= address <= here.high


@lru_cache(maxsize=4096)
def _span(addr: str) -> AddressRange | None:
    try:
        return parse_address_range(addr)
    except InvalidAddress:
        return None


@lru_cache(maxsize=4096)
def _numbered(caller: str) -> tuple[int, int]:
    """An address as IP version and number."""
    address = ip_address(caller)
    address = unmap_address(address)
    return address.version, int(address)


def _part(value: Plain, key: str) -> Plain:
    part = value.get(key)
    return part if isinstance(part, Mapping) else {}


def _objects(value: Any) -> list[Plain]:
    """The objects of a list; a node may show anything in its place."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
