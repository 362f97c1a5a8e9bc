"""JSON Patch (RFC 6902) on values that know where they came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.core.diff import diff
from reconciler.core.plain import parts
from reconciler.core.plain import pointer as pointer_of
from reconciler.core.secret import mask
from reconciler.desired.overlay import Grown, Origin, has, index_of, item_of

MOST_VALUES = 1_000_000
"""How many values a document may have once patches have copied parts of it."""

DEEPEST = 200
"""How many parts a path may have, and how many levels a document once a patch has copied parts of it."""

_LONGEST_SHOWN = 60


class BadPatch(ValueError):
    """A JSON Patch that does not fit; `place` is the pointer, within the patch, of what is wrong."""

    def __init__(self, place: str, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.place, self.code, self.message, self.remedy = place, code, message, remedy


def patched(target: Grown, patch: Grown) -> Grown:
    """A value after a JSON Patch (RFC 6902).

    Raises:
        BadPatch: an operation is none, has a path that is not there, or is a test that fails.
    """
    for index, operation in enumerate(patch.value):
        try:
            given = _given(operation)
            target = _OPERATIONS[operation["op"]](target, Grown(given, patch.origin.child(str(index))))
        except BadPatch as bad:
            raise BadPatch(f"/{index}{bad.place}", bad.code, bad.message, bad.remedy) from None
    return target


def _given(operation: Any) -> Mapping[str, Any]:
    """An operation that has the form of one."""
    form = 'an operation is such as {"op": "replace", "path": "/a/b", "value": 1}'
    if not isinstance(operation, Mapping):
        raise BadPatch("", "bad-patch", "an item of the patch is no operation", form)
    name = operation.get("op")
    if not isinstance(name, str) or name not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        place = "/op" if "op" in operation else ""
        raise BadPatch(
            place, "bad-patch", "`op` is no operation of JSON Patch", f"the operations are {known}"
        )
    for key in ("path", "from") if name in {"move", "copy"} else ("path",):
        path = operation.get(key)
        if not isinstance(path, str) or (path and not path.startswith("/")) or path.count("/") > DEEPEST:
            place = f"/{key}" if key in operation else ""
            raise BadPatch(place, "bad-patch", f"`{key}` is no JSON pointer", "write it like /a/b/0")
    if name in {"add", "replace", "test"} and "value" not in operation:
        raise BadPatch("", "bad-patch", f"`{name}` has no `value`", form)
    return operation


def _value(operation: Grown) -> Grown:
    return Grown(operation.value["value"], operation.origin.child("value"))


def _add(target: Grown, operation: Grown) -> Grown:
    return _put(target, operation.value["path"], _value(operation))


def _replace(target: Grown, operation: Grown) -> Grown:
    path = parts(operation.value["path"])
    _at(target, path, "path")
    new = _value(operation)
    return _edited(target, path, lambda held, part: _with(held, part, new)) if path else new


def _remove(target: Grown, operation: Grown) -> Grown:
    return _without(target, operation.value["path"], "path")


def _move(target: Grown, operation: Grown) -> Grown:
    source, goal = operation.value["from"], operation.value["path"]
    found = _at(target, parts(source), "from")
    if goal == source:
        return target
    if goal.startswith(f"{source}/"):
        raise BadPatch(
            "/path", "bad-patch", "a value cannot be moved into itself", "copy it, or move it elsewhere"
        )
    return _put(_without(target, source, "from"), goal, found)


def _copy(target: Grown, operation: Grown) -> Grown:
    new = _put(target, operation.value["path"], _at(target, parts(operation.value["from"]), "from"))
    count, levels = _size(new.value, {})
    if count > MOST_VALUES or levels > DEEPEST:
        message = f"after this copy the document has {count:,} values on {levels} levels"
        raise BadPatch("", "too-large", message, "copy less")
    return new


def _test(target: Grown, operation: Grown) -> Grown:
    found = _at(target, parts(operation.value["path"]), "path")
    wanted = operation.value["value"]
    if diff(found.value, wanted):
        where = operation.value["path"] or "the whole document"
        message = f"the test failed: {where} is {_shown(found.value)}, not {_shown(wanted)}"
        raise BadPatch("", "patch-test-failed", message, "correct the test, or what comes before it")
    return target


_OPERATIONS: Mapping[str, Callable[[Grown, Grown], Grown]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _put(target: Grown, path: str, new: Grown) -> Grown:
    """A value with another one added at a path."""

    def put(held: Grown, part: str) -> Grown:
        if isinstance(held.value, Mapping):
            return _with(held, part, new)
        if isinstance(held.value, list) and (part == "-" or index_of(part) <= len(held.value)):
            index = len(held.value) if part == "-" else index_of(part)
            origins = _origins(held)
            items = (*origins[:index], new.origin, *origins[index:])
            return _listed(held, [*held.value[:index], new.value, *held.value[index:]], items)
        raise _missing(path, "path")

    inner = parts(path)
    return _edited(target, inner, put) if inner else new


def _without(target: Grown, path: str, key: str) -> Grown:
    """A value without what stands at a path."""
    inner = parts(path)
    _at(target, inner, key)
    if not inner:
        raise BadPatch(f"/{key}", "bad-patch", "the whole document cannot be removed", "name a part of it")

    def cut(held: Grown, part: str) -> Grown:
        origin = held.origin
        if isinstance(held.value, Mapping):
            value = {name: item for name, item in held.value.items() if name != part}
            members = {name: item for name, item in origin.members.items() if name != part}
            return Grown(value, Origin(origin.document, origin.pointer, members))
        index, origins = index_of(part), _origins(held)
        value_list = [*held.value[:index], *held.value[index + 1 :]]
        return _listed(held, value_list, (*origins[:index], *origins[index + 1 :]))

    return _edited(target, inner, cut)


def _edited(target: Grown, path: tuple[str, ...], edit: Callable[[Grown, str], Grown]) -> Grown:
    """A copy of a value in which the one that holds the path's last part is edited."""
    held = [target]
    for depth, part in enumerate(path[:-1]):
        if not has(held[-1].value, part):
            raise _missing(pointer_of(path[: depth + 1]), "path")
        held.append(_child(held[-1], part))
    new = edit(held.pop(), path[-1])
    for part in reversed(path[:-1]):
        new = _with(held.pop(), part, new)
    return new


def _with(held: Grown, part: str, new: Grown) -> Grown:
    origin = held.origin
    if isinstance(held.value, Mapping):
        members = {**origin.members, part: new.origin}
        return Grown({**held.value, part: new.value}, Origin(origin.document, origin.pointer, members))
    index, value, items = index_of(part), list(held.value), list(_origins(held))
    value[index], items[index] = new.value, new.origin
    return _listed(held, value, tuple(items))


def _listed(held: Grown, value: list[Any], items: tuple[Origin, ...]) -> Grown:
    return Grown(value, Origin(held.origin.document, held.origin.pointer, items=items))


def _origins(held: Grown) -> tuple[Origin, ...]:
    return tuple(held.origin.child(str(index)) for index in range(len(held.value)))


def _at(target: Grown, path: tuple[str, ...], key: str) -> Grown:
    for depth, part in enumerate(path):
        if not has(target.value, part):
            raise _missing(pointer_of(path[: depth + 1]), key)
        target = _child(target, part)
    return target


def _missing(path: str, key: str) -> BadPatch:
    message = f"there is nothing at {path}"
    return BadPatch(f"/{key}", "patch-path", message, "correct the path, or `add` what is missing first")


def _child(held: Grown, part: str) -> Grown:
    return Grown(item_of(held.value, part), held.origin.child(part))


def _size(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values are in one and on how many levels, each shared part looked at once."""
    if not isinstance(value, Mapping | list):
        return 1, 1
    if id(value) not in known:
        sizes = [_size(item, known) for item in (value.values() if isinstance(value, Mapping) else value)]
        deepest = max((levels for _, levels in sizes), default=0)
        known[id(value)] = 1 + sum(count for count, _ in sizes), 1 + deepest
    return known[id(value)]


def _shown(value: Any) -> str:
    text = json.dumps(mask(value), ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
