"""The offsets of all values of a parsed file, as a tree that mirrors the value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
"""A part of a JSON pointer that is an array index."""


@dataclass(slots=True, eq=False)
class ValueOffsets:
    """The offsets of one value.

    Args:
        start: of the value's first character.
        key: of its name in an object, else the same as `start`.
        members: of an object, by name.
        items: of an array.
    """

    start: int
    key: int
    members: dict[str, ValueOffsets] | None = None
    items: list[ValueOffsets] | None = None

    def child(self, part: str) -> ValueOffsets | None:
        """The offsets of a member or an item; None if there is none."""
        if self.members is not None:
            return self.members.get(part)
        if self.items is None or not INDEX.fullmatch(part) or int(part) >= len(self.items):
            return None
        return self.items[int(part)]

    def nearest(self, parts: Iterable[str]) -> tuple[ValueOffsets, bool]:
        """The offsets of the value at a path and True, or of its nearest parent and False."""
        offsets = self
        for part in parts:
            child = offsets.child(part)
            if child is None:
                return offsets, False
            offsets = child
        return offsets, True
