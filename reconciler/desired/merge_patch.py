"""Documents laid over each other by JSON Merge Patch, every value knowing where it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.diagnostic import Position
from reconciler.documents.document import Document
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import split_pointer

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_BEYOND = 10**12


@dataclass(frozen=True, slots=True, eq=False)
class ValueOrigin:
    """Where a value came from; what is not said of the values in it came from the same place.

    Args:
        pointer: of the value in `document`.
        members: of an object, those that came from elsewhere.
        items: of an array that was changed, all of them.
    """

    document: Document
    pointer: str = ""
    members: Mapping[str, ValueOrigin] = field(default_factory=dict)
    items: Sequence[ValueOrigin] | None = None

    def child(self, part: str) -> ValueOrigin:
        """Where a member or an item came from."""
        if self.items is not None:
            return self.items[int(part)] if _INDEX.fullmatch(part) and int(part) < len(self.items) else self
        return self.members.get(part) or ValueOrigin(self.document, self.pointer + pointer_of((part,)))


@dataclass(frozen=True, slots=True, eq=False)
class TracedValue:
    """A plain value and where everything in it came from; neither is ever changed."""

    value: Any
    origin: ValueOrigin

    def named(self, name: str) -> RenderedDocument:
        """The same as a document, under the name of its base."""
        return RenderedDocument(self.value, self.origin, name)


@dataclass(frozen=True, slots=True, eq=False)
class RenderedDocument(TracedValue):
    """A document that came from several files; implements `documents.document.Document`.

    Args:
        name: of the base.
    """

    name: str

    def position(self, pointer: str, *, key: bool = False) -> Position:
        """Where the value (or its key) at a JSON pointer came from, or else its nearest parent."""
        value, origin = self.value, self.origin
        for part in split_pointer(pointer):
            if not has_member(value, part):
                key = False
                break
            value, origin = get_member(value, part), origin.child(part)
        return origin.document.position(origin.pointer, key=key)


def apply_merge_patch(target: TracedValue, patch: TracedValue) -> TracedValue:
    """A value after a JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch.value, Mapping):
        return patch
    # What is no object counts as an empty one (RFC 7396), and then all that comes of it is the patch's.
    whole = isinstance(target.value, Mapping)
    value = dict(target.value) if whole else {}
    origin = target.origin if whole else patch.origin
    members = dict(origin.members) if whole else {}
    for key, item in patch.value.items():
        if item is None:
            value.pop(key, None)
            members.pop(key, None)
            continue
        old = TracedValue(value.get(key), origin.child(key))
        new = apply_merge_patch(old, TracedValue(item, patch.origin.child(key)))
        value[key], members[key] = new.value, new.origin
    return TracedValue(value, ValueOrigin(origin.document, origin.pointer, members))


def has_member(value: Any, part: str) -> bool:
    """Whether a value has a member, or an item, of this name."""
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and 0 <= parse_index(part) < len(value)


def get_member(value: Any, part: str) -> Any:
    """The member or item of this name, which is there."""
    return value[part] if isinstance(value, Mapping) else value[int(part)]


def parse_index(part: str) -> int:
    """An array's index; one beyond every array where the part is none."""
    return int(part) if _INDEX.fullmatch(part) else _BEYOND
