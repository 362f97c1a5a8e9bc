"""What a change of settings does to a running node, how risky that is, and how it is undone; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.canonical import encode
from reconciler.core.diff import Change, diff
from reconciler.core.plan import Effect, Inverse, Risk
from reconciler.core.secret import reveal
from reconciler.drivers.m2.access import FACTORY_ROLES, granted_by
from reconciler.drivers.m2.address import Span, any_overlap, not_within
from reconciler.drivers.m2.allowlist import span_of
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.fault import at, items, mapping, named

NEEDED: Final = "enableSetting"
"""The permission without which nobody can deliver another setting."""

_ACCESS: Final = ("/env/management/api/", "/env/management/roles")
_MEMBERSHIP: Final = (
    "/env/management/cluster/discover/port",
    "/env/management/cluster/discover/members",
    "/env/management/cluster/meta",
)
_EVERYONE: Final = (Span(4, 0, 2**32 - 1), Span(6, 0, 2**128 - 1))
_ORDER: Final = (Risk.LOW, Risk.MEDIUM, Risk.HIGH)


@dataclass(frozen=True, slots=True)
class Impact:
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


def impact(before: Content | None, after: Content, changes: tuple[Change, ...]) -> Impact:
    """What the change from one setting to another does; None stands for a node without a setting.

    Deleting a hosting destroys its cache, for good. Restart-only settings wait for a restart, which is
    for a person to make; all others apply without interruption.
    """
    if before is None:
        return Impact(Effect.HOT, Risk.LOW, "no setting is loaded that could be lost")
    restart = waits(before, after)
    lost = hostings_lost(before, after)
    dangers = list(_dangers(before, after, changes, lost))
    if restart:
        dangers.append((Risk.LOW, f"takes effect at the next restart only: {', '.join(restart)}"))
    if not dangers:
        dangers.append((Risk.LOW, "applies without interruption"))
    return Impact(
        Effect.RESTART if restart else Effect.HOT,
        max((risk for risk, _ in dangers), key=_ORDER.index),
        "; ".join(reason for _, reason in dangers),
        restart,
        lost,
    )


def moved(base: str, before: Content, after: Content) -> str:
    """Where a node that answers at `base` may answer after a change; empty where it stays.

    An address whose port is not the one that the setting says is translated on the way, and stays.
    """
    path = ("env", "management", "api", "port")
    old, new = at(before.canonical, path), at(after.canonical, path)
    front, _, port = base.rpartition(":")
    return f"{front}:{new}" if old != new and port == str(old) else ""


def waits(current: Content, asked: Content) -> tuple[str, ...]:
    """The restart-only fields, by the product's dotted names, that differ; all of them stand in `env`."""
    if current.prints.get("env") == asked.prints.get("env"):
        return ()
    pairs = ((name, lookup(current.canonical, name), lookup(asked.canonical, name)) for name in RESTART_ONLY)
    return tuple(name for name, old, new in pairs if diff(old, new))


def inverse(before: Content | None, lost: tuple[str, ...], shown: str, version: str) -> Inverse:
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


def hostings_lost(before: Content, after: Content) -> tuple[str, ...]:
    """The hostings that a change deletes, and with them their caches."""
    kept = {name for _, name, _ in named(after.document, "hosting")}
    return tuple(name for _, name, _ in named(before.document, "hosting") if name not in kept)


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
    old, new = (at(document, ("env", "management", "api", "port")) for document in (before, after))
    if old != new:
        yield Risk.HIGH, f"the node's API moves from port {old} to {new}"
    had, have = able(before), able(after)
    gone = not_within(had, have)
    if had and not any_overlap(had, have):
        yield Risk.HIGH, f"no address that holds {NEEDED} now keeps it"
    elif gone:
        yield Risk.MEDIUM, f"{', '.join(map(str, gone[:3]))} may no longer change settings"
    elif old == new:
        yield Risk.MEDIUM, "who may call the node's API changes"


def able(document: Any) -> tuple[Span, ...]:
    """The addresses that a setting lets change settings, entry by entry; order and overlap left aside.

    Without a list everybody counts as the default role; without roles there are the factory's.
    """
    api = mapping(document, "env", "management", "api")
    roles = at(document, ("env", "management", "roles"))
    powerful = {
        _name(role.get("name"))
        for _, role in items({"roles": FACTORY_ROLES if roles is None else roles}, "roles")
        if isinstance(role, Mapping) and NEEDED in granted_by(role)
    }
    default = api.get("defaultRole", "admin")
    entries = items(api, "allowList")
    if not entries:
        return _EVERYONE if _name(default) in powerful else ()
    spans = (
        span_of(entry) for _, entry in entries if _name(mapping(entry).get("role") or default) in powerful
    )
    return tuple(span for span in spans if span is not None)


def _name(value: Any) -> str | bytes:
    """A role's name as something that can be looked up; a node may show a name of any type."""
    return value if isinstance(value, str) else encode(reveal(value))
