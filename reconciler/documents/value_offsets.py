"""Where every value of a parsed file stands, as a tree of offsets that mirrors the value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
"""What a part of a JSON pointer is where it means an item of an array."""


@dataclass(slots=True, eq=False)
class ValueOffsets:
    """The offsets of one value.

    Args:
        start: of the value's first character.
        key: of the name it stands under in an object, else the same as `start`.
        members: of an object, by name.
        items: of an array.
    """

    start: int
    key: int
    members: dict[str, ValueOffsets] | None = None
    items: list[ValueOffsets] | None = None

    def child(self, part: str) -> ValueOffsets | None:
        """The place of a member or an item, or nothing where there is none."""
        if self.members is not None:
            return self.members.get(part)
        if self.items is None or not INDEX.fullmatch(part) or int(part) >= len(self.items):
            return None
        return self.items[int(part)]

    def nearest(self, parts: Iterable[str]) -> tuple[ValueOffsets, bool]:
        """The place of the value at a path and True, or its nearest parent's and False."""
        place = self
        for part in parts:
            child = place.child(part)
            if child is None:
                return place, False
            place = child
        return place, True
