"""What differs between two settings in meaning, told so that a person can read it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.diff import Change, diff
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.fault import Path, at
from reconciler.secrets.redact import hidden_by_key
from reconciler.text.json_pointer import parts

NAMED: Final[tuple[tuple[Path, str], ...]] = (
    (("env", "management", "roles"), "name"),
    (("env", "management", "api", "allowList"), "addr"),
    (("env", "management", "server", "connection"), "name"),
    (("hosting",), "name"),
)
"""Lists whose items have a name of their own: path -> the key that holds it."""


def differences(before: Content | None, after: Content) -> tuple[Change, ...]:
    """The changes that make `before` mean what `after` means, in the order of their pointers.

    Items of the lists in `NAMED` are told by name: `/env/management/roles/admin`, where each list has
    every name once and what both have is in one order. Values under keys that sound secret are masked
    even where the product's pages do not know them. None stands for no setting at all.
    """
    if before is None:
        return tuple(_shielded(change) for change in diff({}, after.canonical))
    apart = sorted(
        key for key in {*before.prints, *after.prints} if before.prints.get(key) != after.prints.get(key)
    )
    old, new = _part(before.canonical, apart), _part(after.canonical, apart)
    for path, key in NAMED:
        if path[0] in apart:
            old, new = _by_name(old, new, path, key)
    return tuple(_shielded(change) for change in diff(old, new))


def _part(value: Any, keys: list[str]) -> Any:
    return {key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else value


def _by_name(old: Any, new: Any, path: Path, key: str) -> tuple[Any, Any]:
    """Both with the list at a path as an object, where that loses nothing."""
    before, after = _named(at(old, path), key), _named(at(new, path), key)
    if before is None or after is None:
        return old, new
    if [name for name in before if name in after] != [name for name in after if name in before]:
        return old, new
    return _with(old, path, before), _with(new, path, after)


def _named(items: Any, key: str) -> dict[str, Any] | None:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return None
    names = [item.get(key) for item in items]
    if not all(isinstance(name, str) for name in names):  # a node may show a name of any type
        return None
    found = dict(zip(names, items, strict=True))
    return found if len(found) == len(items) else None


def _with(value: Any, path: Path, leaf: Any) -> Any:
    """A copy with another value at a path that is there."""
    if not path:
        return leaf
    return {**value, path[0]: _with(value[path[0]], path[1:], leaf)}


def _shielded(change: Change) -> Change:
    name = parts(change.pointer)[-1] if change.pointer else ""
    old, new = hidden_by_key(name, change.old), hidden_by_key(name, change.new)
    return change if old is change.old and new is change.new else replace(change, old=old, new=new)
