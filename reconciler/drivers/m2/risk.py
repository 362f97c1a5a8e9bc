"""Effect and risk of a change of settings, and how it is undone; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.diff import Change, Op, diff_values
from reconciler.core.plan import Effect, Inverse, Risk
from reconciler.core.secret import reveal
from reconciler.drivers.m2.address_range import find_uncovered, has_overlap
from reconciler.drivers.m2.caller_permissions import SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.cloud_origins import list_moving_origins
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import get_named_items, get_value

_ACCESS: Final = ("/env/management/api/", "/env/management/roles")
_MEMBERSHIP: Final = (
    "/env/management/cluster/discover/port",
    "/env/management/cluster/discover/members",
    "/env/management/cluster/meta",
)
_RESTART_POINTERS: Final = tuple(f"/{name.replace('.', '/')}" for name in RESTART_ONLY)
_ORDER: Final = (Risk.LOW, Risk.MEDIUM, Risk.HIGH)


@dataclass(frozen=True, slots=True)
class ChangeImpact:
    """Effect and risk of a change.

    Args:
        reason: of the risk; several are joined.
        restart: restart-only fields, by the product's dotted names, that differ.
        lost: hostings whose cache is destroyed.
    """

    effect: Effect
    risk: Risk
    reason: str
    restart: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def assess_impact(before: Content | None, after: Content, changes: tuple[Change, ...]) -> ChangeImpact:
    """The impact of a change from one setting to another (M2 manual, Hosting and Restart).

    Args:
        before: what the node has; None for a node without a setting.
        after: what it should have.
        changes: between the two.
    """
    if before is None:
        return ChangeImpact(Effect.HOT, Risk.LOW, "no previous setting is lost")
    # The cache of a deleted hosting is the only loss that no later delivery restores.
    restart = find_restart_fields(before, after)
    lost = find_lost_hostings(before, after)
    pointers = [change.pointer for change in changes]
    risks: list[tuple[Risk, str]] = []
    if lost:
        risks.append((Risk.HIGH, f"deletes {', '.join(lost)} with its cache"))
    if any(pointer.startswith(_ACCESS) for pointer in pointers):
        risks += _assess_access(before.canonical, after.canonical)
    if any(pointer.startswith(_MEMBERSHIP) for pointer in pointers):
        reason = "until all nodes have changed, nodes with old and with new settings do not find each other"
        risks.append((Risk.MEDIUM, reason))
    if restart:
        risks.append((Risk.LOW, f"takes effect only at the next restart: {', '.join(restart)}"))
    if not risks:
        risks.append((Risk.LOW, "no interruption"))
    return ChangeImpact(
        Effect.RESTART if restart else Effect.HOT,
        max((risk for risk, _ in risks), key=_ORDER.index),
        "; ".join(reason for _, reason in risks),
        restart,
        lost,
    )


def find_new_address(base: str, before: Content, after: Content) -> str:
    """The URL at which a node may answer after a change, instead of `base`; empty where it stays."""
    path = ("env", "management", "api", "port")
    old, new = get_value(before.canonical, path), get_value(after.canonical, path)
    front, _, port = base.rpartition(":")
    # A port that is not the one in the setting is translated on the way: a new `api.port` does not change it.
    return f"{front}:{new}" if old != new and port == str(old) else ""


def find_restart_fields(current: Content, asked: Content) -> tuple[str, ...]:
    """The restart-only fields, by the product's dotted names, that differ."""
    if current.fingerprints.get("env") == asked.fingerprints.get("env"):
        return ()  # all restart-only fields are in `env`
    pairs = ((name, lookup(current.canonical, name), lookup(asked.canonical, name)) for name in RESTART_ONLY)
    return tuple(name for name, old, new in pairs if diff_values(old, new))


def find_fields_not_running(running: Content, asked: Content) -> tuple[str, ...]:
    """What a node was asked to use and does not run, whatever the manual says of the field.

    Restart-only fields come first, by the product's dotted names; others follow, as JSON pointers. A value
    that only runs is left out: nodes add some by themselves. `meta` says nothing of what is in effect.
    """
    if all(
        running.fingerprints.get(key) == asked.fingerprints.get(key) for key in _list_keys(running, asked)
    ):
        return ()
    moving = list_moving_origins(asked.canonical)
    others = (
        change.pointer
        for change in find_changes(running, asked)
        if change.op is not Op.REMOVE
        and not change.pointer.startswith(("/meta", *moving))
        and not _may_wait(change.pointer)
    )
    return (*find_restart_fields(running, asked), *others)


def _list_keys(running: Content, asked: Content) -> set[str]:
    return {*running.fingerprints, *asked.fingerprints} - {"meta"}


def has_immediate_change(current: Content, asked: Content) -> bool:
    """Whether two settings differ in a field that takes effect without a restart; `meta` does not count."""
    # The fingerprints decide for most settings; the walk over `env` remains.
    differing = [
        key
        for key in {*current.fingerprints, *asked.fingerprints}
        if current.fingerprints.get(key) != asked.fingerprints.get(key)
    ]
    # It is not documented which version a node shows while a part of its setting waits for a restart.
    if any(key not in {"env", "meta"} for key in differing):
        return True
    if "env" not in differing:
        return False
    changes = diff_values({"env": current.compared["env"]}, {"env": asked.compared["env"]})
    # A change of a place above such a field may be of that field alone.
    return not all(_may_wait(change.pointer) for change in changes)


def _may_wait(pointer: str) -> bool:
    return any(
        pointer == place or pointer.startswith(f"{place}/") or place.startswith(f"{pointer}/")
        for place in _RESTART_POINTERS
    )


def make_inverse(
    before: Content | None, lost: tuple[str, ...], shown: str, version: str, action: str = "upload"
) -> Inverse:
    """How a delivery is undone: by delivering the previous setting, where that restores everything.

    Args:
        before: the previous setting; None where the node had none.
        lost: hostings whose cache cannot be restored.
        shown: fingerprint of the previous setting, as plans show it.
        version: `meta.version` of the previous setting, as plans show it.
        action: of the step that delivers it.
    """
    if lost:
        return Inverse(f"point of no return: the cache of {', '.join(lost)} cannot be restored")
    if before is None:
        return Inverse("point of no return: a setting cannot be removed from a node")
    named = f"the setting of version `{version}`" if version else "the previous setting"
    return Inverse(f"deliver {named} again", action, {"fingerprint": shown})


def find_lost_hostings(before: Content, after: Content) -> tuple[str, ...]:
    """Names of the hostings that a change deletes, with their caches."""
    if before.fingerprints.get("hosting") == after.fingerprints.get("hosting"):
        return ()
    kept = {name for _, name, _ in get_named_items(after.document, "hosting")}
    return tuple(name for _, name, _ in get_named_items(before.document, "hosting") if name not in kept)


def _assess_access(before: Any, after: Any) -> Iterator[tuple[Risk, str]]:
    """Risks of a change of access: high where the API moves, or where no address keeps its permission."""
    old, new = (get_value(document, ("env", "management", "api", "port")) for document in (before, after))
    if old != new:
        yield Risk.HIGH, f"the node's API moves from port {old} to {new}"
    # Names of roles may be secrets, which look equal as long as they are masked.
    had, have = (AccessTable(reveal(one)).find_allowed(SETTING_PERMISSION) for one in (before, after))
    gone = find_uncovered(had, have)
    if had and not has_overlap(had, have):
        yield Risk.HIGH, f"every address that has {SETTING_PERMISSION} loses it"
    elif gone:
        yield Risk.MEDIUM, f"{', '.join(map(str, gone[:3]))} loses {SETTING_PERMISSION}"
    elif old == new:
        yield Risk.MEDIUM, "allowList or roles change"
