"""JSON Patch (RFC 6902) on values that know where they came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.diff import diff_values
from reconciler.core.secret import Secret, find_secrets, mask
from reconciler.desired.merge_patch import TracedValue, ValueOrigin, get_member, has_member, parse_index
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.json_stack import DEEPEST
from reconciler.documents.yaml_parser import MOST_VALUES
from reconciler.secrets.redaction import hide_by_key
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import split_pointer

_LONGEST_SHOWN = 60
_MARKED = "\0secret"


class InvalidPatch(ValueError):
    """A JSON Patch that does not fit; the diagnostic's pointer leads, within the patch, to what is wrong."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def apply_json_patch(target: TracedValue, patch: TracedValue) -> TracedValue:
    """A value after a JSON Patch (RFC 6902).

    Raises:
        BadPatch: an operation is none, has a path that is not there, or is a test that fails.
    """
    draft = _Draft(target)
    for index, operation in enumerate(patch.value):
        try:
            given = _given(operation)
            _OPERATIONS[operation["op"]](draft, TracedValue(given, patch.origin.child(str(index))))
        except InvalidPatch as bad:
            within = f"/{index}{bad.diagnostic.pointer}"
            raise InvalidPatch(replace(bad.diagnostic, pointer=within)) from None
    return draft.whole


class _Draft:
    """A value that is being patched: what an operation changes is copied once, then changed in place.

    Without that, each operation on a long list would copy all of it.

    Args:
        whole: the value as it is now; the one that was given is never changed.
    """

    def __init__(self, whole: TracedValue) -> None:
        self.whole = whole
        self._own: dict[int, Any] = {}  # by id, with the object itself, so that no id is given anew
        self._count = 0
        self._sunk = 0

    def holder(self, path: tuple[str, ...]) -> TracedValue:
        """The object or array that holds the last part of a path, ours to change.

        Raises:
            BadPatch: there is none.
        """
        held = self.whole = self._owned(self.whole)
        for depth, part in enumerate(path[:-1]):
            if not has_member(held.value, part):
                raise _missing(pointer_of(path[: depth + 1]), "path")
            child = self._owned(_child(held, part))
            _set(held, part, child)
            held = child
        return held

    def share(self, value: Any, levels: int) -> None:
        """Note that a value of ours stands at a second place, `levels` deep: neither may be changed in place.

        Raises:
            BadPatch: with it the document is too large or too deep.
        """
        if not self._count:
            self._count = _size(self.whole.value, {})[0]
        count, deep = _size(value, {})
        self._count += count
        if self._count > MOST_VALUES or levels + deep > DEEPEST:
            message = f"after this copy the document has {self._count:,} values on {levels + deep} levels"
            raise InvalidPatch(Diagnostic(Severity.ERROR, "too-large", message, "copy less"))
        todo, seen = [value], set()
        while todo:
            item = todo.pop()
            if isinstance(item, Mapping | list) and id(item) not in seen:
                seen.add(id(item))
                self._own.pop(id(item), None)
                todo.extend(item.values() if isinstance(item, Mapping) else item)

    def sink(self, value: Any, levels: int) -> None:
        """Note that a value comes to stand `levels` deep, deeper than where it stood.

        A document is read to a depth that every later recursion over it can take. Each operation can put one
        such value at the bottom of another, so that a few of them would exceed it.

        Raises:
            BadPatch: with it the document is too deep, or the patch has moved too much.
        """
        count, deep = _size(value, {})
        self._sunk += count
        if levels + deep > DEEPEST:
            message = (
                f"after this operation the document has {levels + deep} levels; at most {DEEPEST} are allowed"
            )
            remedy = "put the value at a less deep place"
            raise InvalidPatch(Diagnostic(Severity.ERROR, "too-large", message, remedy))
        if self._sunk > MOST_VALUES:
            message = f"up to this operation the patch has moved {self._sunk:,} values"
            remedy = f"at most {MOST_VALUES:,} are allowed: move less"
            raise InvalidPatch(Diagnostic(Severity.ERROR, "too-large", message, remedy))

    def _owned(self, held: TracedValue) -> TracedValue:
        value, origin = held.value, held.origin
        if id(value) in self._own:
            return held
        if isinstance(value, Mapping):
            new = TracedValue(dict(value), ValueOrigin(origin.document, origin.pointer, dict(origin.members)))
        elif isinstance(value, list):
            items = [origin.child(str(index)) for index in range(len(value))]
            new = TracedValue(list(value), ValueOrigin(origin.document, origin.pointer, items=items))
        else:
            return held
        self._own[id(new.value)] = new.value
        return new


def _set(held: TracedValue, part: str, new: TracedValue) -> None:
    """Put a value in the place of one, or of none in an object, in place."""
    if isinstance(held.value, dict):
        held.value[part] = new.value
        _members(held)[part] = new.origin
    else:
        held.value[parse_index(part)] = new.value
        _items(held)[parse_index(part)] = new.origin


def _members(held: TracedValue) -> dict[str, ValueOrigin]:
    assert isinstance(held.origin.members, dict)
    return held.origin.members


def _items(held: TracedValue) -> list[ValueOrigin]:
    assert isinstance(held.origin.items, list)
    return held.origin.items


def _given(operation: Any) -> Mapping[str, Any]:
    """An operation that has the form of one."""
    form = 'an operation is such as {"op": "replace", "path": "/a/b", "value": 1}'
    if not isinstance(operation, Mapping):
        raise InvalidPatch(
            Diagnostic(Severity.ERROR, "bad-patch", "an item of the patch is not an operation", form)
        )
    name = operation.get("op")
    if not isinstance(name, str) or name not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        place = "/op" if "op" in operation else ""
        raise InvalidPatch(
            Diagnostic(
                Severity.ERROR,
                "bad-patch",
                "`op` is not a JSON Patch operation",
                f"the operations are {known}",
                pointer=place,
            )
        )
    for key in ("path", "from") if name in {"move", "copy"} else ("path",):
        path = operation.get(key)
        if not isinstance(path, str) or (path and not path.startswith("/")) or path.count("/") > DEEPEST:
            place = f"/{key}" if key in operation else ""
            raise InvalidPatch(
                Diagnostic(
                    Severity.ERROR,
                    "bad-patch",
                    f"`{key}` is not a JSON pointer",
                    "write it in the form /a/b/0",
                    pointer=place,
                )
            )
    if name in {"add", "replace", "test"} and "value" not in operation:
        raise InvalidPatch(Diagnostic(Severity.ERROR, "bad-patch", f"`{name}` has no `value`", form))
    return operation


def _value(operation: TracedValue) -> TracedValue:
    return TracedValue(operation.value["value"], operation.origin.child("value"))


def _add(draft: _Draft, operation: TracedValue) -> None:
    draft.sink(operation.value["value"], len(split_pointer(operation.value["path"])))
    _put(draft, operation.value["path"], _value(operation))


def _replace(draft: _Draft, operation: TracedValue) -> None:
    path = split_pointer(operation.value["path"])
    _at(draft.whole, path, "path")
    draft.sink(operation.value["value"], len(path))
    if path:
        _set(draft.holder(path), path[-1], _value(operation))
    else:
        draft.whole = _value(operation)


def _remove(draft: _Draft, operation: TracedValue) -> None:
    _cut(draft, operation.value["path"], "path")


def _move(draft: _Draft, operation: TracedValue) -> None:
    source, goal = operation.value["from"], operation.value["path"]
    found = _at(draft.whole, split_pointer(source), "from")
    if goal == source:
        return
    if goal.startswith(f"{source}/"):
        raise InvalidPatch(
            Diagnostic(
                Severity.ERROR,
                "bad-patch",
                "a value cannot be moved into itself",
                "copy it, or move it elsewhere",
                pointer="/path",
            )
        )
    levels = len(split_pointer(goal))
    if levels > len(split_pointer(source)):
        draft.sink(found.value, levels)
    _cut(draft, source, "from")
    _put(draft, goal, found)


def _copy(draft: _Draft, operation: TracedValue) -> None:
    found = _at(draft.whole, split_pointer(operation.value["from"]), "from")
    draft.share(found.value, len(split_pointer(operation.value["path"])))
    _put(draft, operation.value["path"], found)


def _test(draft: _Draft, operation: TracedValue) -> None:
    found = _at(draft.whole, split_pointer(operation.value["path"]), "path")
    wanted = operation.value["value"]
    # A secret is known by its reference alone: were its value compared, whoever may write a test could try
    # guesses against it, because a plan that fails is seen.
    if diff_values(_by_reference(found.value), _by_reference(wanted)):
        where = operation.value["path"] or "the whole document"
        message = f"the test failed: {where} is {_shown(found.value)}, not {_shown(wanted)}"
        remedy = "correct the test, or the operations before it"
        if _has_secret(found.value) != _has_secret(wanted):
            remedy = "a test compares the reference of a secret, not its value: write the same reference"
        raise InvalidPatch(Diagnostic(Severity.ERROR, "patch-test-failed", message, remedy))


def _has_secret(value: Any) -> bool:
    return any(True for _ in find_secrets(value))


def _by_reference(value: Any) -> Any:
    """A value in which each secret is its reference, which no text of a file equals."""
    if isinstance(value, Secret):
        return {_MARKED: value.reference}
    if isinstance(value, Mapping):
        return {key: _by_reference(item) for key, item in value.items()}
    return [_by_reference(item) for item in value] if isinstance(value, list) else value


_OPERATIONS: Mapping[str, Callable[[_Draft, TracedValue], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _put(draft: _Draft, path: str, new: TracedValue) -> None:
    """Add a value at a path."""
    inner = split_pointer(path)
    if not inner:
        draft.whole = new
        return
    held, part = draft.holder(inner), inner[-1]
    if isinstance(held.value, dict):
        _set(held, part, new)
    elif isinstance(held.value, list) and (part == "-" or parse_index(part) <= len(held.value)):
        index = len(held.value) if part == "-" else parse_index(part)
        held.value.insert(index, new.value)
        _items(held).insert(index, new.origin)
    else:
        raise _missing(path, "path")


def _cut(draft: _Draft, path: str, key: str) -> None:
    """Take away what stands at a path."""
    inner = split_pointer(path)
    _at(draft.whole, inner, key)
    if not inner:
        raise InvalidPatch(
            Diagnostic(
                Severity.ERROR,
                "bad-patch",
                "the whole document cannot be removed",
                "name a part of it",
                pointer=f"/{key}",
            )
        )
    held, part = draft.holder(inner), inner[-1]
    if isinstance(held.value, dict):
        del held.value[part]
        _members(held).pop(part, None)
    else:
        del held.value[parse_index(part)]
        del _items(held)[parse_index(part)]


def _at(target: TracedValue, path: tuple[str, ...], key: str) -> TracedValue:
    for depth, part in enumerate(path):
        if not has_member(target.value, part):
            raise _missing(pointer_of(path[: depth + 1]), key)
        target = _child(target, part)
    return target


def _missing(path: str, key: str) -> InvalidPatch:
    message = f"there is no value at {path}"
    return InvalidPatch(
        Diagnostic(
            Severity.ERROR,
            "patch-path",
            message,
            "correct the path, or `add` what is missing first",
            pointer=f"/{key}",
        )
    )


def _child(held: TracedValue, part: str) -> TracedValue:
    return TracedValue(get_member(held.value, part), held.origin.child(part))


def _size(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values are in one, and how many objects and arrays are in each other at most.

    Each shared part is looked at once.
    """
    if not isinstance(value, Mapping | list):
        return 1, 0
    if id(value) not in known:
        sizes = [_size(item, known) for item in (value.values() if isinstance(value, Mapping) else value)]
        deepest = max((levels for _, levels in sizes), default=0)
        known[id(value)] = 1 + sum(count for count, _ in sizes), 1 + deepest
    return known[id(value)]


def _shown(value: Any) -> str:
    text = json.dumps(mask(hide_by_key("", value)), ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
