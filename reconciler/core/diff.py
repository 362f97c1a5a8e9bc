"""The difference of two plain values, as a sorted list of changes by JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.core.plain import pointer
from reconciler.core.secret import reveal


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


def diff(observed: Any, desired: Any) -> tuple[Change, ...]:
    """Changes that turn `observed` into `desired`, in the order of their pointers.

    Objects are compared key by key and arrays of equal length item by item; an array of another
    length is replaced whole, because products give array items no identity of their own.
    """
    return tuple(_walk(observed, desired, ()))


def _walk(old: Any, new: Any, path: tuple[str | int, ...]) -> Iterator[Change]:
    if old is new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield Change(pointer((*path, key)), Op.REMOVE, old=old[key])
            elif key not in old:
                yield Change(pointer((*path, key)), Op.ADD, new=new[key])
            else:
                yield from _walk(old[key], new[key], (*path, key))
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _walk(before, after, (*path, index))
    elif not _equal(reveal(old), reveal(new)):
        yield Change(pointer(path), Op.REPLACE, old=old, new=new)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _equal(old: Any, new: Any) -> bool:
    """Equality of leaves that, unlike Python's, tells `true` from `1`."""
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    return bool(old == new)
