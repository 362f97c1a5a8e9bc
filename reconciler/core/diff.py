"""The difference of two plain values, as a sorted list of changes by JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.core.numbers import whole
from reconciler.core.plain import pointer
from reconciler.core.secret import hidden, reveal, secrets


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
    length is replaced whole, because products give array items no identity of their own. What stands
    at the place of a secret is a secret too, as is what stood there before.
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
        yield Change(pointer(path), Op.REPLACE, old=_like(old, new), new=_like(new, old))


def _like(value: Any, other: Any) -> Any:
    """A value in which all is secret that stands where the other has secrets, whatever their index."""
    places = {_named(path) for path, _ in secrets(other)}
    return _shielded(value, (), places) if places else value


def _shielded(value: Any, path: tuple[str | int, ...], places: set[tuple[str | int, ...]]) -> Any:
    if path in places:
        return value if value is None else hidden(value)
    if isinstance(value, Mapping):
        return {key: _shielded(item, (*path, key), places) for key, item in value.items()}
    return [_shielded(item, path, places) for item in value] if _is_list(value) else value


def _named(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return tuple(part for part in path if isinstance(part, str))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _equal(old: Any, new: Any) -> bool:
    """Equality of leaves that, unlike Python's, tells `true` from `1`; `1e23` is ten to the 23rd."""
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    if isinstance(old, float) or isinstance(new, float):
        return bool(_whole(old) == _whole(new))
    return bool(old == new)


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, float) else value
