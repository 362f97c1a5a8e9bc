"""The arrays and objects that are open while JSON is read, and their content so far."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from reconciler.diagnostic import Position
from reconciler.documents.json_tokens import Lexer, Token
from reconciler.documents.problem_list import ProblemList
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import quote_text

DEEPEST = 200
"""How deep arrays and objects may be nested: every later recursion over a document must reach this depth."""

CLOSERS = {"{": "}", "[": "]"}


class ParserState(Enum):
    """What is expected next."""

    VALUE = "value"
    FIRST_ITEM = "a value, or the end of an empty array"
    FIRST_NAME = "a name, or the end of an empty object"
    NAME = "name"
    COLON = "colon"
    AFTER = "a comma, or the end of an array or object"
    DONE = "nothing"


@dataclass(slots=True)
class OpenContainer:
    """An array or object that is open; `name` is of the member being read; None if it has none."""

    opener: str
    offsets: ValueOffsets
    value: Any
    name: str | None = None
    name_start: int = 0

    @property
    def closer(self) -> str:
        """The bracket that ends it."""
        return CLOSERS[self.opener]


class ParserStack:
    """All that is known while reading: open containers, state, and the offsets of the last tokens."""

    def __init__(self, name: str, text: str) -> None:
        self.text = text
        self.problem_list = ProblemList(name, text, self.pointer)
        self.lexer = Lexer(text, self.problem_list)
        self.frames: list[OpenContainer] = []
        self.state = ParserState.VALUE
        self.value: Any = None
        self.offsets = ValueOffsets(0, 0)
        self.pairs: list[tuple[int, int]] = []
        """Offsets of opening and closing brackets, in the order of closing."""
        self.end = 0
        """After the last name or value."""
        self.text_end = -1
        """The same if that was text, else -1."""
        self.comma = 0
        self.is_reported = False
        """Whether the next mark may be wrong because of a problem already reported."""
        self.is_comma_optional = False
        """Whether the next comma may be missing because of a problem already reported."""
        self.is_finished = False

    def pointer(self) -> str:
        """The JSON pointer of what is being read."""
        parts: list[str | int | None] = []
        last = len(self.frames) - 1
        for depth, frame in enumerate(self.frames):
            reading = depth < last or self.state in {
                ParserState.VALUE,
                ParserState.COLON,
                ParserState.FIRST_ITEM,
            }
            if not reading:
                break
            if frame.opener == "[":
                parts.append(len(frame.value) - (depth < last))
            else:
                parts.append(frame.name)
        return make_pointer(part for part in parts if part is not None)

    def report_structure(
        self, offset: int, code: str, message: str, remedy: str, *, related: Position | None = None
    ) -> None:
        """Report a broken structure; later problems with brackets and names are not reported."""
        if not self.lexer.is_bracket_count_lost:
            self.problem_list.add(offset, code, message, remedy, related=related)
        self.lexer.is_bracket_count_lost = True

    def put(self, token: Token) -> None:
        """A value starts here; texts, numbers and literals also end here."""
        if token.kind in CLOSERS:
            self._open(token)
            return
        self.attach(token.value, ValueOffsets(token.start, token.start))
        self.end = token.end
        self.text_end = token.end if token.kind == "string" else -1
        self.is_reported, self.is_comma_optional = False, token.is_broken
        self.state = ParserState.AFTER if self.frames else ParserState.DONE

    def attach(self, value: Any, offsets: ValueOffsets) -> None:
        """Put a value into the innermost container, or make it the value of the whole text."""
        if not self.frames:
            self.value, self.offsets = value, offsets
            return
        frame = self.frames[-1]
        if frame.offsets.items is not None:
            frame.value.append(value)
            frame.offsets.items.append(offsets)
        elif frame.offsets.members is not None and frame.name is not None:
            offsets.key = frame.name_start
            frame.value[frame.name] = value
            frame.offsets.members[frame.name] = offsets

    def open_member(self, token: Token) -> None:
        """A member's name is here; a colon must follow."""
        frame = self.frames[-1]
        name = str(token.value)
        self.state, self.end, self.is_reported = ParserState.COLON, token.end, False
        self.text_end = token.end if token.kind == "string" else -1
        frame.name, frame.name_start = name, token.start
        # Once brackets are lost, two equal names may belong to two objects.
        first = (frame.offsets.members or {}).get(name)
        if first is not None and not self.lexer.is_bracket_count_lost:
            self.problem_list.add_duplicate(token.start, f"{quote_text(name)} in this object", first.key)

    def take_comma(self, token: Token) -> None:
        """A comma is here: another member or item must follow."""
        self.comma, self.is_comma_optional = token.start, False
        self.state = ParserState.NAME if self.frames[-1].opener == "{" else ParserState.VALUE

    def close(self, token: Token) -> None:
        """The innermost container ends here."""
        frame = self.frames.pop()
        self.pairs.append((frame.offsets.start, token.start))
        self.end, self.text_end, self.is_reported = token.end, -1, False
        self.state = ParserState.AFTER if self.frames else ParserState.DONE

    def _open(self, token: Token) -> None:
        if len(self.frames) == DEEPEST:
            message = f"arrays and objects are nested more than {DEEPEST} levels deep"
            self.problem_list.add(token.start, "too-deep", message, "reduce the nesting")
            self.is_finished = True
            return
        if token.kind == "{":
            frame = OpenContainer("{", ValueOffsets(token.start, token.start, members={}), {})
            self.state = ParserState.FIRST_NAME
        else:
            frame = OpenContainer("[", ValueOffsets(token.start, token.start, items=[]), [])
            self.state = ParserState.FIRST_ITEM
        self.attach(frame.value, frame.offsets)
        self.frames.append(frame)
        self.is_reported = False
