"""What differs between two settings in meaning, told so that a person can read it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.diff import Change, diff_values
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import Path, get_value
from reconciler.secrets.redaction import NO_VEIL, RedactionMask, Redactor
from reconciler.text.json_pointer import split_pointer

NAMED: Final[tuple[tuple[Path, str], ...]] = (
    (("env", "management", "roles"), "name"),
    (("env", "management", "api", "allowList"), "addr"),
    (("env", "management", "server", "connection"), "name"),
    (("hosting",), "name"),
)
"""Lists whose items have a name of their own: path -> the key that holds it."""

_LISTS: Final = frozenset(path for path, _ in NAMED)


def find_changes(before: Content | None, after: Content, more: RedactionMask = NO_VEIL) -> tuple[Change, ...]:
    """The changes that make `before` mean what `after` means, in the order of their pointers.

    Items of the lists in `NAMED` are told by name: `/env/management/roles/admin`, where each list has
    every name once and what both have is in one order. What either of the two, or an earlier revision, has
    as a secret is one on both sides, by its place and by its value.

    Args:
        before: what the node shows; None for no setting at all.
        after: what it is to have.
        more: what is hidden besides.
    """
    sides = [one for one in (before, after) if one is not None]
    redaction_mask = RedactionMask.of((more, *(one.redaction_mask for one in sides)))
    if before is None:
        return _veiled(diff_values({}, after.canonical), redaction_mask)
    apart = sorted(
        key
        for key in {*before.fingerprints, *after.fingerprints}
        if before.fingerprints.get(key) != after.fingerprints.get(key)
    )
    old, new = _part(before.canonical, apart), _part(after.canonical, apart)
    for path, key in NAMED:
        if path[0] in apart:
            old, new = _by_name(old, new, path, key)
    return _veiled(diff_values(old, new), redaction_mask)


def _part(value: Any, keys: list[str]) -> Any:
    return {key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else value


def _by_name(old: Any, new: Any, path: Path, key: str) -> tuple[Any, Any]:
    """Both with the list at a path as an object, where that loses nothing."""
    before, after = _named(get_value(old, path), key), _named(get_value(new, path), key)
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


def _veiled(changes: tuple[Change, ...], redaction_mask: RedactionMask) -> tuple[Change, ...]:
    """The changes with all that is hidden as secrets; a key that quotes one is masked in the place, too."""
    names = Redactor(redaction_mask.texts)
    return tuple(
        replace(
            change,
            pointer=names.values(change.pointer) if redaction_mask.texts else change.pointer,
            old=redaction_mask.hide(change.old, path),
            new=redaction_mask.hide(change.new, path),
        )
        for change in changes
        for path in (_place(change.pointer),)
    )


def _place(place: str) -> tuple[str, ...]:
    """The place of a change as a veil knows it: without indices, and without the names of items."""
    path: tuple[str, ...] = ()
    rest = list(split_pointer(place))
    while rest:
        path = (*path, rest.pop(0))
        if rest and path in _LISTS:
            rest.pop(0)
    return tuple(part for part in path if not part.isdigit())
