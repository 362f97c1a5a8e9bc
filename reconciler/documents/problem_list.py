"""The problems of one file, up to a number that a person still reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.text_lines import LineIndex

MOST = 100
"""How many problems of one file are listed: a binary file would give one for nearly every byte."""

_DEEP = 40


class ProblemList:
    """The problems of one text, in the order in which they are found.

    Args:
        name: the file's path.
        text: the characters that offsets count.
        pointer: gives the JSON pointer of the place being read.
    """

    def __init__(self, name: str, text: str, pointer: Callable[[], str] = str) -> None:
        self.name = name
        self.text = text
        self.pointer = pointer
        self.problems: list[Diagnostic] = []

    @cached_property
    def lines(self) -> LineIndex:
        """The text's line numbers."""
        return LineIndex(self.name, self.text)

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return len(self.problems) > MOST

    def add(
        self, offset: int, code: str, message: str, remedy: str = "", *, related: Position | None = None
    ) -> None:
        """Add an error at an offset, with the second position that its message names.

        The one after the limit says that there are more.
        """
        if self.is_full:
            return
        further = () if related is None else (related,)
        if len(self.problems) == MOST:
            code, message, remedy = "too-many", f"the file has more than {MOST} problems", "fix these first"
            further = ()
        pointer = self.pointer()
        if pointer.count("/") > _DEEP:
            pointer = ""  # too long to read, and the position is enough
        position = self.lines.at(offset)
        self.problems.append(
            Diagnostic(
                Severity.ERROR, code, message, remedy, position=position, pointer=pointer, related=further
            )
        )

    def add_duplicate(self, offset: int, key: str, first: int) -> None:
        """Add the problem of a key that an object has twice; `first` is the offset of the first one."""
        position = self.lines.at(first)
        message = f"duplicate key {key}, first at {position.line}:{position.column}"
        self.add(offset, "duplicate-key", message, "keep one of the two", related=position)
