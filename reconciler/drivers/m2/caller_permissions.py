"""Who may call a node: from the caller's address through the allowList to roles and permissions; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from reconciler.core.endpoint import unmap_address
from reconciler.drivers.m2.address_range import EVERYONE, AddressRange, get_address_range
from reconciler.drivers.m2.choices import DEFAULTS, AllowListMatch, Choices
from reconciler.drivers.m2.setting.diagnostics import get_items, get_object
from reconciler.drivers.m2.setting.models import FACTORY_ROLES, Permissions

Plain: TypeAlias = Mapping[str, Any]

SETTING_PERMISSION: Final = "enableSetting"
"""The permission to read and to deliver a setting (M2 manual, Roles)."""

GET_PERMISSION: Final = "enableGet"
"""The permission to read what is in effect, which shows what waits for a restart."""

PERMISSION_DEFAULTS: Final[Mapping[str, bool]] = MappingProxyType(
    {str(field.alias): field.default for field in Permissions.model_fields.values()}
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


def find_access(document: Any, caller: str, choices: Choices = DEFAULTS) -> Access:
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

    def __init__(self, document: Any) -> None:
        management = get_object(document, "env", "management")
        api, roles = get_object(management, "api"), management.get("roles")
        self._default = str(api.get("defaultRole", "admin"))
        self._roles = {
            str(role.get("name")): role
            for role in (FACTORY_ROLES if roles is None else roles if isinstance(roles, list | tuple) else ())
            if isinstance(role, Mapping)
        }
        entries = get_items(api, "allowList")
        # A list with nothing but invalid entries is still a list: it does not open the node to everybody.
        self.has_entries = bool(entries)
        self._entries = [
            (addresses, str(get_object(entry).get("role") or self._default))
            for _, entry in entries
            if (addresses := get_address_range(entry)) is not None
        ]
        self._roles_by_caller: dict[str, tuple[str, ...]] = {}

    @property
    def ranges(self) -> tuple[AddressRange, ...]:
        """The addresses of each valid entry, in the order of the list."""
        return tuple(addresses for addresses, _ in self._entries)

    def find_allowed(self, permission: str) -> tuple[AddressRange, ...]:
        """The addresses of all entries that have a permission, without regard to order and overlap.

        Without a list every address has the default role.
        """
        granting = self._find_granting_roles(permission)
        if not self.has_entries:
            return EVERYONE if self._default in granting else ()
        return tuple(addresses for addresses, role in self._entries if role in granting)

    def access(self, caller: str, choices: Choices = DEFAULTS) -> Access:
        """The access of a caller, an IP address.

        An IPv4 caller on an IPv6 socket is an IPv4 caller.
        """
        if self.has_entries:
            if caller not in self._roles_by_caller:
                address = unmap_address(ip_address(caller))
                here = AddressRange(address.version, int(address), int(address))
                matching = [role for addresses, role in self._entries if here.within(addresses)]
                self._roles_by_caller[caller] = tuple(dict.fromkeys(matching))
            roles = self._roles_by_caller[caller]
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
        grants = self._find_granting_roles(permission)
        begins = sorted(
            ((addresses.version, addresses.low), (addresses.version, addresses.high), index, role)
            for index, (addresses, role) in enumerate(self._entries)
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

    def _find_granting_roles(self, permission: str) -> frozenset[str]:
        return frozenset(
            name for name, role in self._roles.items() if permission in list_granted_permissions(role)
        )


def list_granted_permissions(role: Plain) -> frozenset[str]:
    """The permissions that a role gives, defaults included."""
    given = get_object(role, "permissions")
    return frozenset(name for name, default in PERMISSION_DEFAULTS.items() if given.get(name, default))
