"""The difference of two plain values, as a sorted list of changes by JSON pointer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from reconciler.core.secret import Secret, find_secrets, make_secret, reveal
from reconciler.text.json_pointer import make_pointer
from reconciler.text.json_values import is_array, is_object
from reconciler.text.numbers import normalise_whole

MOST_CHANGES: Final = 1_000
"""Changes of one step that are kept separately."""

MOST_CHARACTERS: Final = 256 * 1024
"""Characters of all values that a step keeps: the journal and the plan's digest contain them."""

LEVELS: Final = 20
"""Levels of a pointer by which too many changes are grouped."""

SMALL: Final = 1_000
"""Characters of a value that is kept in any case."""


class Op(StrEnum):
    """What happens at a pointer."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Change:
    """One place where observed and desired differ; `old` and `new` may hold secrets."""

    pointer: str
    op: Op
    old: Any = None
    new: Any = None


def diff_values(observed: Any, desired: Any) -> tuple[Change, ...]:
    """Changes that turn `observed` into `desired`, in the order of their pointers.

    Objects are compared key by key, and arrays of equal length item by item; an array of another length is
    replaced as a whole, because items have no identity. If one side of a change is secret, so is the other.
    """
    found: list[Change] = []
    _collect_changes(observed, desired, (), found)
    return tuple(found)


def limit_changes(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Changes as they are stored and shown: bounded in number and size, whatever a node showed.

    If there are more than `MOST_CHANGES`, those below one place become one change of that place. Values
    beyond `MOST_CHARACTERS`, counted from the first change, are replaced by a sentence. Applied twice, it
    changes nothing more. Risk and guards use all changes; this is only for display.
    """
    if len(changes) * 2 * SMALL <= MOST_CHARACTERS and all(map(_is_small, changes)):
        return tuple(changes)  # almost every step: the walk below changes nothing then
    grouped = changes if len(changes) <= MOST_CHANGES else _group_by_place(changes)
    left = MOST_CHARACTERS
    kept: list[Change] = []
    for change in grouped:
        weight = _weight(change.old, left) + _weight(change.new, left)
        fits = weight <= left
        kept.append(change if fits else replace(change, old=_summary(change.old), new=_summary(change.new)))
        left -= weight if fits else 0
    return tuple(kept)


def _is_small(change: Change) -> bool:
    """Whether both values are leaves that are kept in any case."""
    return _is_small_leaf(change.old) and _is_small_leaf(change.new)


def _is_small_leaf(value: Any) -> bool:
    kind = type(value)
    return value is None or kind is bool or kind is float or (kind is str and len(value) < SMALL - 2)


def _group_by_place(changes: Sequence[Change]) -> list[Change]:
    """The changes grouped by place, at the deepest level that leaves few enough groups."""
    paths = [change.pointer.split("/")[:LEVELS] for change in changes]
    for level in range(max(map(len, paths)), 0, -1):
        groups: dict[str, list[Change]] = {}
        for change, path in zip(changes, paths, strict=True):
            groups.setdefault("/".join(path[:level]), []).append(change)
        if len(groups) <= MOST_CHANGES:
            break
    return [
        found[0]
        if len(found) == 1
        else Change(place, Op.REPLACE, old=f"({len(found):,} values)", new=f"({len(found):,} other values)")
        for place, found in groups.items()
    ]


def _weight(value: Any, most: int) -> int:
    """About how many characters a value has as JSON; stops counting above `most`."""
    # Without recursion, and only as far as needed: a node chooses the size and depth of its answer.
    total, todo = 0, [value]
    while todo and total <= most:
        item = todo.pop()
        if isinstance(item, str):
            total += len(item)
        elif is_object(item):
            total += sum(len(str(key)) for key in item)
            todo.extend(item.values())
        elif is_array(item):
            todo.extend(item)
        elif isinstance(item, Secret):
            todo.append(item.value)
        elif isinstance(item, int):
            total += item.bit_length() // 3
        total += 2
    return total


def _summary(value: Any) -> Any:
    """A sentence in place of a value that is too large; small values stay."""
    if _weight(value, SMALL) <= SMALL:
        return value
    if is_object(value) or is_array(value):
        return f"(too large to show: {len(value):,} items)"
    return "(too large to show)"


def _collect_changes(old: Any, new: Any, path: tuple[str | int, ...], found: list[Change]) -> None:
    if old is new or (type(old) is str and type(new) is str and old == new):  # most leaves
        return
    if is_object(old) and is_object(new):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                found.append(Change(make_pointer((*path, key)), Op.REMOVE, old=old[key]))
            elif key not in old:
                found.append(Change(make_pointer((*path, key)), Op.ADD, new=new[key]))
            else:
                _collect_changes(old[key], new[key], (*path, key), found)
    elif is_array(old) and is_array(new) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            _collect_changes(before, after, (*path, index), found)
    elif not _equal(reveal(old), reveal(new)):
        change = Change(make_pointer(path), Op.REPLACE, old=_hide_like(old, new), new=_hide_like(new, old))
        found.append(change)


def _hide_like(value: Any, other: Any) -> Any:
    """A value with all secret that is at a place where the other value has a secret."""
    # Without indices: in a list that was reordered, the secret may now be at another index.
    places: set[tuple[str | int, ...]] = {
        tuple(part for part in path if isinstance(part, str)) for path, _ in find_secrets(other)
    }
    return _hide(value, (), places) if places else value


def _hide(value: Any, path: tuple[str | int, ...], places: set[tuple[str | int, ...]]) -> Any:
    if path in places:
        # None is no secret: it shows only that nothing was there.
        return value if value is None else make_secret(value)
    if is_object(value):
        return {key: _hide(item, (*path, key), places) for key, item in value.items()}
    return [_hide(item, path, places) for item in value] if is_array(value) else value


def _equal(old: Any, new: Any) -> bool:
    """Equality of leaves; unlike in Python, `true` is not `1`, and `1e23` is exactly ten to the 23rd."""
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    if isinstance(old, float) or isinstance(new, float):
        return bool(_whole(old) == _whole(new))
    return bool(old == new)


def _whole(value: Any) -> Any:
    return normalise_whole(value) if isinstance(value, float) else value
