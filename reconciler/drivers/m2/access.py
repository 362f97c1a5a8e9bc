"""Who may call a node: from the caller's address over the allowList to roles and permissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from reconciler.core.endpoint import BadAddress
from reconciler.drivers.m2.address import Span, span
from reconciler.drivers.m2.choices import DEFAULTS, Choices, Match

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


def access(document: Plain | None, caller: str, choices: Choices = DEFAULTS) -> Access:
    """The permissions that a caller holds on a node that runs `document`.

    Assumed: a node without a setting, or whose setting has no `roles`, has the factory's.

    Args:
        document: a whole `setting.json`; None before the first.
        caller: an IP address.
        choices: the rules where the product's pages are silent.
    """
    management = _part(_part(document or {}, "env"), "management")
    roles = _matching(_part(management, "api"), caller, choices)
    if not roles:
        return Access(listed=False)
    said = management.get("roles")
    known = {str(role.get("name")): role for role in _objects(FACTORY_ROLES if said is None else said)}
    granted = (name for role in roles if role in known for name in granted_by(known[role]))
    return Access(listed=True, roles=roles, permissions=frozenset(granted))


def granted_by(role: Plain) -> frozenset[str]:
    """The permissions that a role gives, defaults included."""
    said = _part(role, "permissions")
    return frozenset(name for name, default in PERMISSION_DEFAULTS.items() if said.get(name, default))


def _matching(api: Plain, caller: str, choices: Choices) -> tuple[str, ...]:
    """The roles of the entries that name the caller, without repetition; none for a stranger."""
    default = str(api.get("defaultRole", "admin"))
    entries = _objects(api.get("allowList"))
    if not entries:
        return (default,) if choices.open_without_list else ()
    found = [
        str(entry.get("role") or default) for entry in entries if contains(str(entry.get("addr")), caller)
    ]
    return tuple(dict.fromkeys(found if choices.match is Match.UNION else found[:1]))


def contains(addr: str, caller: str) -> bool:
    """Whether an `addr` of the allowList names the caller; what is no address form names nobody.

    An IPv4 caller on an IPv6 socket is an IPv4 caller.
    """
    here = _span(addr)
    version, address = _numbered(caller)
    return here is not None and here.version == version and here.low <= address <= here.high


@lru_cache(maxsize=4096)
def _span(addr: str) -> Span | None:
    try:
        return span(addr)
    except BadAddress:
        return None


@lru_cache(maxsize=4096)
def _numbered(caller: str) -> tuple[int, int]:
    """An address as IP version and number."""
    address = ip_address(caller)
    address = getattr(address, "ipv4_mapped", None) or address
    return address.version, int(address)


def _part(value: Plain, key: str) -> Plain:
    part = value.get(key)
    return part if isinstance(part, Mapping) else {}


def _objects(value: Any) -> list[Plain]:
    """The objects of a list; a node may show anything in its place."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
