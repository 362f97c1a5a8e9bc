"""The arrays and objects that are open while JSON is read, and what they hold so far."""

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
"""How many arrays and objects may stand within each other."""

CLOSERS = {"{": "}", "[": "]"}


class ParserState(Enum):
    """What belongs at the place that is being read."""

    VALUE = "value"
    FIRST_ITEM = "a value, or the end of an empty array"
    FIRST_NAME = "a name, or the end of an empty object"
    NAME = "name"
    COLON = "colon"
    AFTER = "a comma, or the end of an array or object"
    DONE = "nothing"


@dataclass(slots=True)
class OpenContainer:
    """An array or object that is open; `name` is of the member being read, nothing where it has none."""

    opener: str
    place: ValueOffsets
    value: Any
    name: str | None = None
    name_start: int = 0

    @property
    def closer(self) -> str:
        """The bracket that ends it."""
        return CLOSERS[self.opener]


class ParserStack:
    """All that is known while reading: open frames, state, and where the last words stood."""

    def __init__(self, name: str, text: str) -> None:
        self.text = text
        self.complaints = ProblemList(name, text, self.pointer)
        self.lexer = Lexer(text, self.complaints)
        self.frames: list[OpenContainer] = []
        self.state = ParserState.VALUE
        self.value: Any = None
        self.place = ValueOffsets(0, 0)
        self.pairs: list[tuple[int, int]] = []
        """Offsets of the brackets that were closed, in the order of closing."""
        self.end = 0
        """Behind the last name or value."""
        self.text_end = -1
        """The same if that was text, else -1."""
        self.comma = 0
        self.told = False
        """Whether the mark that comes next may be wrong because of one already told."""
        self.loose = False
        """Whether the comma that comes next may be missing because of a problem already told."""
        self.finished = False

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

    def doubt(
        self, offset: int, code: str, message: str, remedy: str, *, related: Position | None = None
    ) -> None:
        """Tell of a broken structure; what is odd about brackets and names behind it is not told."""
        if not self.lexer.lost:
            self.complaints.add(offset, code, message, remedy, related=related)
        self.lexer.lost = True

    def put(self, token: Token) -> None:
        """A value begins here; text, numbers and words also end here."""
        if token.kind in CLOSERS:
            self._open(token)
            return
        self.attach(token.value, ValueOffsets(token.start, token.start))
        self.end = token.end
        self.text_end = token.end if token.kind == "string" else -1
        self.told, self.loose = False, token.broken
        self.state = ParserState.AFTER if self.frames else ParserState.DONE

    def attach(self, value: Any, place: ValueOffsets) -> None:
        """A value becomes part of the innermost frame, or is the whole text's."""
        if not self.frames:
            self.value, self.place = value, place
            return
        frame = self.frames[-1]
        if frame.place.items is not None:
            frame.value.append(value)
            frame.place.items.append(place)
        elif frame.place.members is not None and frame.name is not None:
            place.key = frame.name_start
            frame.value[frame.name] = value
            frame.place.members[frame.name] = place

    def named(self, token: Token) -> None:
        """A member's name stands here; a colon belongs behind it."""
        frame = self.frames[-1]
        name = str(token.value)
        self.state, self.end, self.told = ParserState.COLON, token.end, False
        self.text_end = token.end if token.kind == "string" else -1
        frame.name, frame.name_start = name, token.start
        members = frame.place.members
        if members is not None and name in members and not self.lexer.lost:
            first = self.complaints.lines.at(members[name].key)
            message = f"duplicate key {quote_text(name)} in this object, first at {first.line}:{first.column}"
            self.complaints.add(token.start, "duplicate-key", message, "keep one of the two", related=first)

    def close(self, token: Token) -> None:
        """The innermost frame ends here."""
        frame = self.frames.pop()
        self.pairs.append((frame.place.start, token.start))
        self.end, self.text_end, self.told = token.end, -1, False
        self.state = ParserState.AFTER if self.frames else ParserState.DONE

    def _open(self, token: Token) -> None:
        if len(self.frames) == DEEPEST:
            message = f"arrays and objects are nested more than {DEEPEST} levels deep"
            self.complaints.add(token.start, "too-deep", message, "reduce the nesting")
            self.finished = True
            return
        if token.kind == "{":
            frame = OpenContainer("{", ValueOffsets(token.start, token.start, members={}), {})
            self.state = ParserState.FIRST_NAME
        else:
            frame = OpenContainer("[", ValueOffsets(token.start, token.start, items=[]), [])
            self.state = ParserState.FIRST_ITEM
        self.attach(frame.value, frame.place)
        self.frames.append(frame)
        self.told = False
