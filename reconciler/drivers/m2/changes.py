"""The differences in meaning between two settings, for a plan; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.diff import Change, diff_values
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import Path, get_value
from reconciler.secrets.redaction import NO_MASK, RedactionMask, Redactor
from reconciler.text.json_pointer import split_pointer

NAMED: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("env", "management", "roles"), "name"),
    (("env", "management", "api", "allowList"), "addr"),
    (("env", "management", "server", "connection"), "name"),
    (("hosting",), "name"),
)
"""Path of a list whose items have names -> the key of the name."""

_LISTS: Final = frozenset(path for path, _ in NAMED)


def find_changes(before: Content | None, after: Content, more: RedactionMask = NO_MASK) -> tuple[Change, ...]:
    """The changes from the meaning of `before` to that of `after`, in the order of their pointers.

    The items of the lists in `NAMED` are addressed by name, such as `/env/management/roles/admin`, where the
    names in each list are unique and common ones have the same order. What is a secret in one of the two, or
    in an earlier revision, is hidden on both sides, by place and by value.

    Args:
        before: what the node shows; None for no setting.
        after: what it should have.
        more: what is also hidden.
    """
    sides = [one for one in (before, after) if one is not None]
    redaction_mask = RedactionMask.of((more, *(one.redaction_mask for one in sides)))
    if before is None:
        return _redact_changes(diff_values({}, after.compared), redaction_mask)
    different = sorted(
        key
        for key in {*before.fingerprints, *after.fingerprints}
        if before.fingerprints.get(key) != after.fingerprints.get(key)
    )
    old, new = _select_keys(before.compared, different), _select_keys(after.compared, different)
    for path, key in NAMED:
        if path[0] in different:
            old, new = _index_by_name(old, new, path, key)
    return _redact_changes(diff_values(old, new), redaction_mask)


def _select_keys(value: Any, keys: list[str]) -> Any:
    return {key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else value


def _index_by_name(old: Any, new: Any, path: Path, key: str) -> tuple[Any, Any]:
    """Both with the list at a path as an object by name; unchanged where that would lose a difference."""
    before, after = _read_names(get_value(old, path), key), _read_names(get_value(new, path), key)
    if before is None or after is None:
        return old, new
    # By name, a changed order would be invisible; in an allowList it decides who has access.
    if [name for name in before if name in after] != [name for name in after if name in before]:
        return old, new
    return _replace_at(old, path, before), _replace_at(new, path, after)


def _read_names(items: Any, key: str) -> dict[str, Any] | None:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return None
    names = [item.get(key) for item in items]
    if not all(isinstance(name, str) for name in names):  # a node may show a name of any type
        return None
    found = dict(zip(names, items, strict=True))
    return found if len(found) == len(items) else None


def _replace_at(value: Any, path: Path, leaf: Any) -> Any:
    """A copy with another value at an existing path."""
    if not path:
        return leaf
    return {**value, path[0]: _replace_at(value[path[0]], path[1:], leaf)}


def _redact_changes(changes: tuple[Change, ...], redaction_mask: RedactionMask) -> tuple[Change, ...]:
    """The changes with what is hidden as `Secret`; in a pointer, a key that has such a text is masked."""
    names = Redactor(redaction_mask.texts)
    redacted = []
    for change in changes:
        path = _make_mask_path(change.pointer)
        pointer = names.values(change.pointer) if redaction_mask.texts else change.pointer
        old, new = redaction_mask.hide(change.old, path), redaction_mask.hide(change.new, path)
        redacted.append(replace(change, pointer=pointer, old=old, new=new))
    return tuple(redacted)


def _make_mask_path(pointer: str) -> tuple[str, ...]:
    """The path as a redaction mask has it: without indices, and without the names of items."""
    path: tuple[str, ...] = ()
    rest = list(split_pointer(pointer))
    while rest:
        path = (*path, rest.pop(0))
        if rest and path in _LISTS:
            rest.pop(0)
    return tuple(part for part in path if not part.isdigit())
