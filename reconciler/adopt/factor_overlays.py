"""Splits settings into one common base and a patch for each; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.text.json_pointer import make_pointer

_ABSENT: Final = object()
_SEVERAL: Final = 2


def find_common_base(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A base from which the documents differ little, with keys in the order of their first use.

    It has the members that more than half of the documents with the same parent have. A value that is no
    object is the most frequent one, the first of them if there are several. A list is one value.
    """
    # More than half: a member of the base costs a removal in each document without it, and a member that is
    # not in the base costs an addition in each document with it.
    base: dict[str, Any] = {}
    for key in dict.fromkeys(key for document in documents for key in document):
        values = [document[key] for document in documents if key in document]
        if len(values) * 2 > len(documents):
            base[key] = _find_usual(values)
    return base


def _find_usual(values: Sequence[Any]) -> Any:
    objects = [value for value in values if isinstance(value, Mapping)]
    if len(objects) * 2 > len(values):
        return find_common_base(objects)
    others = [value for value in values if not isinstance(value, Mapping)]
    counted = Counter(encode_canonical(value) for value in others)
    most = max(counted.values())
    return next(value for value in others if counted[encode_canonical(value)] == most)


def make_patch(base: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any] | list[Any]:
    """The patch from `base` to `document`: a JSON Merge Patch, else a JSON Patch; empty if both are equal."""
    # In a merge patch (RFC 7396) null removes a member, so that it cannot give a member the value null.
    merge = _make_merge_patch(base, document)
    return list(list_patch_operations(base, document)) if merge is None else merge


def _make_merge_patch(base: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merge patch; None if no merge patch can express the difference."""
    patch: dict[str, Any] = dict.fromkeys(key for key in base if key not in document)
    for key, value in document.items():
        old = base.get(key, _ABSENT)
        if isinstance(value, Mapping):
            inner = _make_merge_patch(old if isinstance(old, Mapping) else {}, value)
            if inner is None:
                return None
            if inner or not isinstance(old, Mapping):
                patch[key] = inner
        elif old is _ABSENT or not is_same_json(old, value):
            if value is None:
                return None
            patch[key] = value
    return patch


def list_patch_operations(base: Any, document: Any, path: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """The JSON Patch from `base` to `document`; lists are replaced as a whole."""
    for op, place, value in find_fewest_changes(base, document, path):
        yield {"op": op, "path": make_pointer(place)} | ({} if op == "remove" else {"value": value})


Change = tuple[str, tuple[str, ...], Any]
"""`add`, `replace` or `remove`, a path, and the new value."""


def find_fewest_changes(base: Any, document: Any, path: tuple[str, ...] = ()) -> Iterator[Change]:
    """The fewest members to add, replace and remove; values that are equal as JSON are left alone."""
    if not (isinstance(base, Mapping) and isinstance(document, Mapping)):
        if not is_same_json(base, document):
            yield "replace", path, document
        return
    for key in base:
        if key not in document:
            yield "remove", (*path, key), None
    for key, value in document.items():
        if key in base:
            yield from find_fewest_changes(base[key], value, (*path, key))
        else:
            yield "add", (*path, key), value


def is_same_json(one: Any, other: Any) -> bool:
    """Whether two plain values are the same JSON; true and 1 are different, and so are 1 and 1.0."""
    # Not `==`: in Python True == 1, and so a changed switch would not be found.
    return one is other or encode_canonical(one) == encode_canonical(other)


def group_patches(patches: Mapping[str, Any]) -> list[tuple[Any, tuple[str, ...]]]:
    """(patch, names) of the patches that are not empty; first those with several names."""
    found: dict[bytes, list[str]] = {}
    for name, patch in patches.items():
        if patch:
            found.setdefault(encode_canonical(patch), []).append(name)
    groups = [(patches[names[0]], tuple(names)) for names in found.values()]
    return sorted(groups, key=lambda group: len(group[1]) < _SEVERAL)
