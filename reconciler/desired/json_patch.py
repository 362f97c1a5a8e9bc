"""JSON Patch (RFC 6902) on values that know their origin."""

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
from reconciler.text.json_pointer import find_bad_escape, split_pointer
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.one_line import quote_text

_LONGEST_SHOWN = 60
_MARKED = "\0secret"


class InvalidPatch(ValueError):
    """A JSON Patch that does not fit; the diagnostic's pointer is within the patch."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def _make_error(code: str, message: str, remedy: str, pointer: str = "") -> InvalidPatch:
    return InvalidPatch(Diagnostic(Severity.ERROR, code, message, remedy, pointer=pointer))


def apply_json_patch(target: TracedValue, patch: TracedValue) -> TracedValue:
    """A value after a JSON Patch (RFC 6902).

    Raises:
        InvalidPatch: an operation is malformed, its path does not exist, or a test fails.
    """
    draft = _Draft(target)
    for index, operation in enumerate(patch.value):
        try:
            given = _check_operation(operation)
            _OPERATIONS[operation["op"]](draft, TracedValue(given, patch.origin.child(str(index))))
        except InvalidPatch as bad:
            within = f"/{index}{bad.diagnostic.pointer}"
            bad.diagnostic = replace(bad.diagnostic, pointer=within)
            raise
    return draft.whole


class _Draft:
    """A value that is being patched: what an operation changes is copied once, then changed in place.

    Otherwise each operation on a long list would copy all of it.

    Args:
        whole: the value as it is now; the original is never changed.
    """

    def __init__(self, whole: TracedValue) -> None:
        self.whole = whole
        self._copied: dict[int, Any] = {}  # by id, with the object, so that the id is not reused
        self._count = 0
        self._moved = 0

    def get_holder(self, path: tuple[str, ...]) -> TracedValue:
        """The object or array that holds the last part of a path, ours to change.

        Raises:
            InvalidPatch: it does not exist.
        """
        # Only what is on the path is copied: everything beside it stays shared with the original.
        held = self.whole = self._copy_once(self.whole)
        for depth, part in enumerate(path[:-1]):
            if not has_member(held.value, part):
                raise _make_missing_error(pointer_of(path[: depth + 1]), "path")
            child = self._copy_once(_get_child(held, part))
            _set_child(held, part, child)
            held = child
        return held

    def check_copy(self, value: Any, levels: int) -> None:
        """A value is now at a second place, `levels` deep: neither may be changed in place any more.

        Raises:
            InvalidPatch: with it the document is too large or too deep.
        """
        # Measured at the first copy: most patches have none, and a document may have a million values.
        if not self._count:
            self._count = _measure(self.whole.value, {})[0]
        count, deep = _measure(value, {})
        self._count += count
        if self._count > MOST_VALUES or levels + deep > DEEPEST:
            message = f"after this copy the document has {self._count:,} values on {levels + deep} levels"
            raise _make_error("too-large", message, "copy less")
        todo, seen = [value], set()
        while todo:
            item = todo.pop()
            if isinstance(item, Mapping | list) and id(item) not in seen:
                seen.add(id(item))
                self._copied.pop(id(item), None)
                todo.extend(item.values() if isinstance(item, Mapping) else item)

    def check_depth(self, value: Any, levels: int) -> None:
        """Check a value that is moved to `levels` deep, deeper than before.

        The parser limits the depth to what every later recursion can stand. Each operation can put one such
        value at the bottom of another, so a few operations would exceed the limit.

        Raises:
            InvalidPatch: with it the document is too deep, or the patch has moved too much.
        """
        count, deep = _measure(value, {})
        self._moved += count
        if levels + deep > DEEPEST:
            message = f"after this operation the document has {levels + deep} levels; at most {DEEPEST} are"
            raise _make_error("too-large", f"{message} allowed", "put the value at a less deep place")
        if self._moved > MOST_VALUES:
            message = f"up to this operation the patch has moved {self._moved:,} values"
            remedy = f"at most {MOST_VALUES:,} are allowed: move less"
            raise _make_error("too-large", message, remedy)

    def _copy_once(self, held: TracedValue) -> TracedValue:
        value, origin = held.value, held.origin
        if id(value) in self._copied:
            return held
        if isinstance(value, Mapping):
            new = TracedValue(dict(value), ValueOrigin(origin.document, origin.pointer, dict(origin.members)))
        elif isinstance(value, list):
            items = [origin.child(str(index)) for index in range(len(value))]
            new = TracedValue(list(value), ValueOrigin(origin.document, origin.pointer, items=items))
        else:
            return held
        self._copied[id(new.value)] = new.value
        return new


def _set_child(held: TracedValue, part: str, new: TracedValue) -> None:
    """Set a member or an existing item, in place."""
    if isinstance(held.value, dict):
        held.value[part] = new.value
        _get_member_origins(held)[part] = new.origin
    else:
        held.value[parse_index(part)] = new.value
        _get_item_origins(held)[parse_index(part)] = new.origin


def _get_member_origins(held: TracedValue) -> dict[str, ValueOrigin]:
    assert isinstance(held.origin.members, dict)
    return held.origin.members


def _get_item_origins(held: TracedValue) -> list[ValueOrigin]:
    assert isinstance(held.origin.items, list)
    return held.origin.items


def _check_operation(operation: Any) -> Mapping[str, Any]:
    """The operation, after a check of its form."""
    form = 'an operation is such as {"op": "replace", "path": "/a/b", "value": 1}'
    if not isinstance(operation, Mapping):
        raise _make_error("bad-patch", "an item of the patch is not an operation", form)
    name = operation.get("op")
    if not isinstance(name, str) or name not in _OPERATIONS:
        remedy = f"the operations are {', '.join(_OPERATIONS)}"
        place = "/op" if "op" in operation else ""
        raise _make_error("bad-patch", "`op` is not a JSON Patch operation", remedy, place)
    for key in ("path", "from") if name in {"move", "copy"} else ("path",):
        path = operation.get(key)
        place = f"/{key}" if key in operation else ""
        if not isinstance(path, str) or (path and not path.startswith("/")) or path.count("/") > DEEPEST:
            message = f"`{key}` is not a JSON pointer"
            raise _make_error("bad-patch", message, "write it in the form /a/b/0", place)
        if bad := find_bad_escape(path):
            message = f"`{key}` is not a JSON pointer: {quote_text(bad)} is no escape"
            raise _make_error("bad-patch", message, "write `~0` for `~`, and `~1` for `/` in a key", place)
    if name in {"add", "replace", "test"} and "value" not in operation:
        raise _make_error("bad-patch", f"`{name}` has no `value`", form)
    return operation


def _get_operand(operation: TracedValue) -> TracedValue:
    return TracedValue(operation.value["value"], operation.origin.child("value"))


def _apply_add(draft: _Draft, operation: TracedValue) -> None:
    draft.check_depth(operation.value["value"], len(split_pointer(operation.value["path"])))
    _insert_value(draft, operation.value["path"], _get_operand(operation))


def _apply_replace(draft: _Draft, operation: TracedValue) -> None:
    path = split_pointer(operation.value["path"])
    _get_value(draft.whole, path, "path")
    draft.check_depth(operation.value["value"], len(path))
    if path:
        _set_child(draft.get_holder(path), path[-1], _get_operand(operation))
    else:
        draft.whole = _get_operand(operation)


def _apply_remove(draft: _Draft, operation: TracedValue) -> None:
    _remove_value(draft, operation.value["path"], "path")


def _apply_move(draft: _Draft, operation: TracedValue) -> None:
    source, goal = operation.value["from"], operation.value["path"]
    found = _get_value(draft.whole, split_pointer(source), "from")
    if goal == source:
        return
    if goal.startswith(f"{source}/"):
        message = "a value cannot be moved into itself"
        raise _make_error("bad-patch", message, "copy it, or move it elsewhere", "/path")
    levels = len(split_pointer(goal))
    # Only then the depth can grow: other moves cost nothing, however many there are.
    if levels > len(split_pointer(source)):
        draft.check_depth(found.value, levels)
    _remove_value(draft, source, "from")
    _insert_value(draft, goal, found)


def _apply_copy(draft: _Draft, operation: TracedValue) -> None:
    found = _get_value(draft.whole, split_pointer(operation.value["from"]), "from")
    draft.check_copy(found.value, len(split_pointer(operation.value["path"])))
    _insert_value(draft, operation.value["path"], found)


def _apply_test(draft: _Draft, operation: TracedValue) -> None:
    found = _get_value(draft.whole, split_pointer(operation.value["path"]), "path")
    wanted = operation.value["value"]
    # A secret is compared by its reference only. If its value were compared, whoever may write a test could
    # guess it: whether a test failed is visible to everybody who sees the plan.
    if diff_values(_by_reference(found.value), _by_reference(wanted)):
        where = operation.value["path"] or "the whole document"
        message = f"the test failed: {where} is {_format_value(found.value)}, not {_format_value(wanted)}"
        remedy = "correct the test, or the operations before it"
        if any(find_secrets(found.value)) != any(find_secrets(wanted)):
            remedy = "a test compares the reference of a secret, not its value: write the same reference"
        raise _make_error("patch-test-failed", message, remedy)


def _by_reference(value: Any) -> Any:
    """A value with each secret replaced by its reference, in a form that no text of a file can have."""
    if isinstance(value, Secret):
        return {_MARKED: value.reference}
    if isinstance(value, Mapping):
        return {key: _by_reference(item) for key, item in value.items()}
    return [_by_reference(item) for item in value] if isinstance(value, list) else value


_OPERATIONS: Mapping[str, Callable[[_Draft, TracedValue], None]] = {
    "add": _apply_add,
    "remove": _apply_remove,
    "replace": _apply_replace,
    "move": _apply_move,
    "copy": _apply_copy,
    "test": _apply_test,
}


def _insert_value(draft: _Draft, path: str, new: TracedValue) -> None:
    """Add a value at a path."""
    inner = split_pointer(path)
    if not inner:
        draft.whole = new
        return
    held, part = draft.get_holder(inner), inner[-1]
    if isinstance(held.value, dict):
        _set_child(held, part, new)
    elif isinstance(held.value, list) and (part == "-" or parse_index(part) <= len(held.value)):
        index = len(held.value) if part == "-" else parse_index(part)
        held.value.insert(index, new.value)
        _get_item_origins(held).insert(index, new.origin)
    else:
        raise _make_missing_error(path, "path")


def _remove_value(draft: _Draft, path: str, key: str) -> None:
    """Remove the value at a path."""
    inner = split_pointer(path)
    _get_value(draft.whole, inner, key)
    if not inner:
        message = "the whole document cannot be removed"
        raise _make_error("bad-patch", message, "name a part of it", f"/{key}")
    held, part = draft.get_holder(inner), inner[-1]
    if isinstance(held.value, dict):
        del held.value[part]
        _get_member_origins(held).pop(part, None)
    else:
        del held.value[parse_index(part)]
        del _get_item_origins(held)[parse_index(part)]


def _get_value(target: TracedValue, path: tuple[str, ...], key: str) -> TracedValue:
    for depth, part in enumerate(path):
        if not has_member(target.value, part):
            raise _make_missing_error(pointer_of(path[: depth + 1]), key)
        target = _get_child(target, part)
    return target


def _make_missing_error(path: str, key: str) -> InvalidPatch:
    message = f"there is no value at {path}"
    return _make_error("patch-path", message, "correct the path, or `add` what is missing first", f"/{key}")


def _get_child(held: TracedValue, part: str) -> TracedValue:
    return TracedValue(get_member(held.value, part), held.origin.child(part))


def _measure(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a value contains, and how deep it is nested; each shared part is measured once."""
    if not isinstance(value, Mapping | list):
        return 1, 0
    if id(value) not in known:
        sizes = [_measure(item, known) for item in (value.values() if isinstance(value, Mapping) else value)]
        deepest = max((levels for _, levels in sizes), default=0)
        known[id(value)] = 1 + sum(count for count, _ in sizes), 1 + deepest
    return known[id(value)]


def _format_value(value: Any) -> str:
    text = json.dumps(mask(hide_by_key("", value)), ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
