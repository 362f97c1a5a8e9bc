"""JSON Merge Patch (RFC 7396) on values that know their origin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.diagnostic import Position
from reconciler.documents.document import Document
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import split_pointer

# RFC 6901 has no leading zeros. Bounded, because int() refuses a text of more than 4,300 digits.
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_BEYOND = 10**12


@dataclass(frozen=True, slots=True, eq=False)
class ValueOrigin:
    """The origin of a value; inner values that are not listed came from the same place.

    Args:
        pointer: of the value in `document`.
        members: of an object, those with another origin.
        items: of an array that was changed, all of them.
    """

    document: Document
    pointer: str = ""
    members: Mapping[str, ValueOrigin] = field(default_factory=dict)
    items: Sequence[ValueOrigin] | None = None

    def child(self, part: str) -> ValueOrigin:
        """The origin of a member or an item."""
        if self.items is not None:
            return self.items[int(part)] if _INDEX.fullmatch(part) and int(part) < len(self.items) else self
        return self.members.get(part) or ValueOrigin(self.document, self.pointer + pointer_of((part,)))


@dataclass(frozen=True, slots=True, eq=False)
class TracedValue:
    """A plain value and the origin of everything in it; both immutable."""

    value: Any
    origin: ValueOrigin

    def named(self, name: str) -> RenderedDocument:
        """The value as a document with the name of its base."""
        return RenderedDocument(self.value, self.origin, name)


@dataclass(frozen=True, slots=True, eq=False)
class RenderedDocument(TracedValue):
    """A document made of several files; implements `documents.document.Document`.

    Args:
        name: of the base.
    """

    name: str

    def position(self, pointer: str, *, key: bool = False) -> Position:
        """The origin of the value (or its key) at a JSON pointer, or of its nearest parent."""
        origin, found = self._trace(pointer)
        return origin.document.position(origin.pointer, key=key and found)

    def read_word(self, pointer: str) -> str:
        """The number, or the text without quotes, at a JSON pointer as its file has it; empty if unclear."""
        origin, found = self._trace(pointer)
        return origin.document.read_word(origin.pointer) if found else ""

    def _trace(self, pointer: str) -> tuple[ValueOrigin, bool]:
        """The origin of the value at a JSON pointer, or of its nearest parent, and whether it is itself."""
        value, origin = self.value, self.origin
        for part in split_pointer(pointer):
            if not has_member(value, part):
                return origin, False
            value, origin = get_member(value, part), origin.child(part)
        return origin, True


def apply_merge_patch(target: TracedValue, patch: TracedValue) -> TracedValue:
    """A value after a JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch.value, Mapping):
        return patch
    # A target that is not an object counts as an empty one (RFC 7396); the result then comes from the patch.
    is_object = isinstance(target.value, Mapping)
    value = dict(target.value) if is_object else {}
    origin = target.origin if is_object else patch.origin
    members = dict(origin.members) if is_object else {}
    for key, item in patch.value.items():
        if item is None:
            value.pop(key, None)
            members.pop(key, None)
            continue
        old = TracedValue(value.get(key), origin.child(key))
        new = apply_merge_patch(old, TracedValue(item, patch.origin.child(key)))
        value[key], members[key] = new.value, new.origin
    return TracedValue(value, ValueOrigin(origin.document, origin.pointer, members))


def list_removals(target: Any, patch: Any, pointer: str = "") -> Iterator[tuple[str, Sequence[str] | None]]:
    """Each null of a merge patch: its pointer, and None if it removes a member, else the members present."""
    if not isinstance(patch, Mapping):
        return
    members = target if isinstance(target, Mapping) else {}
    for key, item in patch.items():
        place = pointer + pointer_of((key,))
        if item is None:
            yield place, None if key in members else tuple(members)
        elif isinstance(item, Mapping):
            yield from list_removals(members.get(key), item, place)


def has_member(value: Any, part: str) -> bool:
    """Whether a value has a member, or an item, of this name."""
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and 0 <= parse_index(part) < len(value)


def get_member(value: Any, part: str) -> Any:
    """The member or item of this name, which must exist."""
    return value[part] if isinstance(value, Mapping) else value[int(part)]


def parse_index(part: str) -> int:
    """An array index; one beyond every array if the part is not an index."""
    return int(part) if _INDEX.fullmatch(part) else _BEYOND
