"""Text with line numbers: decodes a file's bytes, and turns offsets into lines and columns."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from reconciler.diagnostic import Diagnostic, Position, Severity

BYTE_ORDER_MARK = "\ufeff"
# With more, the file is in another encoding: a problem for each byte would help nobody.
_MOST_BAD_BYTES = 20
LINE_END = re.compile(r"\r\n|\r|\n")
_INDENTATION = re.compile(r"[ \t]*")
_BAD_BYTES = re.compile("[\udc80-\udcff]+")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


def find_line_end(text: str, offset: int) -> int:
    """Where the line of an offset ends, before what ends it."""
    found = LINE_END.search(text, offset)
    return found.start() if found else len(text)


class LineIndex:
    """Turns offsets of one text into positions; a line ends with LF, CR LF or CR."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text
        self._starts = [0, *(found.end() for found in LINE_END.finditer(text))]
        if text.startswith(BYTE_ORDER_MARK):  # editors do not count it as a column
            self._starts[0] = 1

    def at(self, offset: int) -> Position:
        """The position of the character at `offset`; columns count characters from 1."""
        line = max(1, bisect_right(self._starts, offset))
        return Position(self.name, line, max(0, offset - self._starts[line - 1]) + 1)

    def indentation(self, offset: int) -> tuple[int, bool]:
        """How many blanks start the line of an offset, and whether nothing else is before the offset."""
        start = self._starts[max(1, bisect_right(self._starts, offset)) - 1]
        found = _INDENTATION.match(self._text, start)
        end = found.end() if found else start
        return end - start, offset <= end


@dataclass(slots=True)
class DecodedText:
    """A file's characters; `problems` has the bytes that are not UTF-8.

    Each bad byte is one space in `content`, so that the rest can still be checked.
    """

    content: str
    problems: list[Diagnostic] = field(default_factory=list)
    is_unreadable: bool = False
    """Whether checking the rest would only report nonsense."""


def decode_text(name: str, data: bytes) -> DecodedText:
    """The text of a UTF-8 file, with a problem for every run of other bytes."""
    try:
        return DecodedText(data.decode())
    except UnicodeDecodeError:
        pass
    if data.startswith(_WIDE_MARKS):
        return DecodedText("", [_not_utf8(Position(name, 1, 1), "the file is UTF-16")], is_unreadable=True)
    rough = data.decode(errors="surrogateescape")
    runs = list(_BAD_BYTES.finditer(rough))
    count = sum(len(run[0]) for run in runs)
    if count > _MOST_BAD_BYTES:
        message = f"{count} bytes of the file are not valid UTF-8; this is the first"
        return DecodedText("", [_bad_byte(name, rough, runs[0], message)], is_unreadable=True)
    problems = [_bad_byte(name, rough, run) for run in runs]
    return DecodedText(_BAD_BYTES.sub(lambda run: " " * len(run[0]), rough), problems)


def _bad_byte(name: str, rough: str, run: re.Match[str], message: str = "") -> Diagnostic:
    offset = len(rough[: run.start()].encode(errors="surrogateescape"))
    byte = ord(run[0][0]) - 0xDC00
    message = message or f"byte 0x{byte:02x} is not valid UTF-8"
    return _not_utf8(LineIndex(name, rough).at(run.start()), f"{message} (byte {offset + 1} of the file)")


def _not_utf8(position: Position, message: str) -> Diagnostic:
    return Diagnostic(Severity.ERROR, "not-utf8", message, "save the file as UTF-8", position=position)
