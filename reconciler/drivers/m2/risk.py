"""What a change of settings does to a running node, how risky that is, and how it is undone; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import Change, diff_values
from reconciler.core.plan import Effect, Inverse, Risk
from reconciler.core.secret import reveal
from reconciler.drivers.m2.access import FACTORY_ROLES, list_granted_permissions
from reconciler.drivers.m2.address_range import AddressRange, find_uncovered, has_overlap
from reconciler.drivers.m2.allowlist import get_address_range
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import get_items, get_named_items, get_object, get_value

NEEDED: Final = "enableSetting"
"""The permission without which nobody can deliver another setting."""

_ACCESS: Final = ("/env/management/api/", "/env/management/roles")
_MEMBERSHIP: Final = (
    "/env/management/cluster/discover/port",
    "/env/management/cluster/discover/members",
    "/env/management/cluster/meta",
)
_EVERYONE: Final = (AddressRange(4, 0, 2**32 - 1), AddressRange(6, 0, 2**128 - 1))
_ORDER: Final = (Risk.LOW, Risk.MEDIUM, Risk.HIGH)


@dataclass(frozen=True, slots=True)
class ChangeImpact:
    """What a change does.

    Args:
        reason: why the risk is what it is; several reasons are joined.
        restart: restart-only fields, by the product's dotted names, that differ.
        lost: hostings whose cache is destroyed.
    """

    effect: Effect
    risk: Risk
    reason: str
    restart: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def assess_impact(before: Content | None, after: Content, changes: tuple[Change, ...]) -> ChangeImpact:
    """What the change from one setting to another does; None stands for a node without a setting.

    Deleting a hosting destroys its cache, for good. Restart-only settings wait for a restart, which is
    for a person to make; all others apply without interruption.
    """
    if before is None:
        return ChangeImpact(Effect.HOT, Risk.LOW, "no setting is loaded that could be lost")
    restart = find_restart_fields(before, after)
    lost = find_lost_hostings(before, after)
    dangers = list(_dangers(before, after, changes, lost))
    if restart:
        dangers.append((Risk.LOW, f"takes effect at the next restart only: {', '.join(restart)}"))
    if not dangers:
        dangers.append((Risk.LOW, "applies without interruption"))
    return ChangeImpact(
        Effect.RESTART if restart else Effect.HOT,
        max((risk for risk, _ in dangers), key=_ORDER.index),
        "; ".join(reason for _, reason in dangers),
        restart,
        lost,
    )


def find_new_address(base: str, before: Content, after: Content) -> str:
    """Where a node that answers at `base` may answer after a change; empty where it stays.

    An address whose port is not the one that the setting says is translated on the way, and stays.
    """
    path = ("env", "management", "api", "port")
    old, new = get_value(before.canonical, path), get_value(after.canonical, path)
    front, _, port = base.rpartition(":")
    return f"{front}:{new}" if old != new and port == str(old) else ""


def find_restart_fields(current: Content, asked: Content) -> tuple[str, ...]:
    """The restart-only fields, by the product's dotted names, that differ; all of them stand in `env`."""
    if current.fingerprints.get("env") == asked.fingerprints.get("env"):
        return ()
    pairs = ((name, lookup(current.canonical, name), lookup(asked.canonical, name)) for name in RESTART_ONLY)
    return tuple(name for name, old, new in pairs if diff_values(old, new))


def make_inverse(before: Content | None, lost: tuple[str, ...], shown: str, version: str) -> Inverse:
    """How a delivery is undone: by delivering what was there, where that brings it back.

    Args:
        before: what was there.
        lost: hostings whose cache does not come back.
        shown: the fingerprint of what was there, as plans show it.
        version: its `meta.version`, as plans show it.
    """
    if lost:
        return Inverse(f"point of no return: the cache of {', '.join(lost)} does not come back")
    if before is None:
        return Inverse("point of no return: a node cannot be made to have no setting")
    named = f"version {version}" if version else "the setting that was there"
    return Inverse(f"deliver {named} again", "upload", {"fingerprint": shown})


def find_lost_hostings(before: Content, after: Content) -> tuple[str, ...]:
    """The hostings that a change deletes, and with them their caches."""
    kept = {name for _, name, _ in get_named_items(after.document, "hosting")}
    return tuple(name for _, name, _ in get_named_items(before.document, "hosting") if name not in kept)


def _dangers(
    before: Content, after: Content, changes: tuple[Change, ...], lost: tuple[str, ...]
) -> Iterator[tuple[Risk, str]]:
    touched = [change.pointer for change in changes]
    if lost:
        yield Risk.HIGH, f"the cache of {', '.join(lost)} is destroyed with its hosting"
    if any(place.startswith(_ACCESS) for place in touched):
        yield from _access(before.canonical, after.canonical)
    if any(place.startswith(_MEMBERSHIP) for place in touched):
        yield Risk.MEDIUM, "nodes with the old and the new cluster settings do not find each other meanwhile"


def _access(before: Any, after: Any) -> Iterator[tuple[Risk, str]]:
    """A change of who may call: high where the API moves, or where nobody keeps the power to repair."""
    old, new = (get_value(document, ("env", "management", "api", "port")) for document in (before, after))
    if old != new:
        yield Risk.HIGH, f"the node's API moves from port {old} to {new}"
    had, have = find_allowed_addresses(before), find_allowed_addresses(after)
    gone = find_uncovered(had, have)
    if had and not has_overlap(had, have):
        yield Risk.HIGH, f"no address that holds {NEEDED} now keeps it"
    elif gone:
        yield Risk.MEDIUM, f"{', '.join(map(str, gone[:3]))} may no longer change settings"
    elif old == new:
        yield Risk.MEDIUM, "who may call the node's API changes"


def find_allowed_addresses(document: Any) -> tuple[AddressRange, ...]:
    """The addresses that a setting lets change settings, entry by entry; order and overlap left aside.

    Without a list everybody counts as the default role; without roles there are the factory's.
    """
    api = get_object(document, "env", "management", "api")
    roles = get_value(document, ("env", "management", "roles"))
    powerful = {
        _name(role.get("name"))
        for _, role in get_items({"roles": FACTORY_ROLES if roles is None else roles}, "roles")
        if isinstance(role, Mapping) and NEEDED in list_granted_permissions(role)
    }
    default = api.get("defaultRole", "admin")
    entries = get_items(api, "allowList")
    if not entries:
        return _EVERYONE if _name(default) in powerful else ()
    spans = (
        get_address_range(entry)
        for _, entry in entries
        if _name(get_object(entry).get("role") or default) in powerful
    )
    return tuple(span for span in spans if span is not None)


def _name(value: Any) -> str | bytes:
    """A role's name as something that can be looked up; a node may show a name of any type."""
    return value if isinstance(value, str) else encode_canonical(reveal(value))
