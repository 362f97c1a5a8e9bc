"""A list of what is wrong in one file, that stops growing before it stops being read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.lines import Lines

MOST = 100
"""How many problems of one file are listed."""

_DEEP = 40


class Complaints:
    """The problems of one text, in the order they are found.

    Args:
        name: the file's path.
        text: the characters that offsets count.
        pointer: gives the JSON pointer of the place being looked at.
    """

    def __init__(self, name: str, text: str, pointer: Callable[[], str] = str) -> None:
        self.name = name
        self.text = text
        self.pointer = pointer
        self.problems: list[Diagnostic] = []

    @cached_property
    def lines(self) -> Lines:
        """The text's line numbers."""
        return Lines(self.name, self.text)

    @property
    def full(self) -> bool:
        """Whether looking further is of no use."""
        return len(self.problems) > MOST

    def add(self, offset: int, code: str, message: str, remedy: str = "") -> None:
        """One more error at an offset; the one beyond the limit says that there are more."""
        if self.full:
            return
        if len(self.problems) == MOST:
            code, remedy = "too-many", "mend these first"
            message = f"the file has more than {MOST} problems"
        position, pointer = self.lines.at(offset), self.pointer()
        if pointer.count("/") > _DEEP:
            pointer = ""  # nobody reads it, and the position tells
        self.problems.append(
            Diagnostic(Severity.ERROR, code, message, remedy, position=position, pointer=pointer)
        )
