"""RESP2, the protocol of Redis: commands as bytes, and replies as their bytes arrive, within bounds; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from reconciler.ports.transport import OtherProtocol
from reconciler.text.one_line import make_one_line

_MOST_ELEMENTS: Final = 4_096
"""Elements of all replies of one exchange, arrays within arrays included."""

_MOST_DEPTH: Final = 8
_LONGEST_BULK: Final = 1024 * 1024
_LONGEST_LINE: Final = 64 * 1024
_LONGEST_ERROR: Final = 300
_QUOTED: Final = 24
_NUMBER: Final = re.compile(rb"-?[0-9]{1,19}")
_LENGTH: Final = re.compile(rb"-1|[0-9]{1,10}")

_LAST_WORDS: Final = ("DENIED", "ERR max number of clients", "ERR Protocol error")
"""Beginnings of errors after which Redis closes the connection, however many commands it got."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error that Redis answers.

    Args:
        text: on one line; it begins with a code in capitals, such as `NOAUTH`, and may quote arguments.
    """

    text: str

    @property
    def code(self) -> str:
        """Its code."""
        return self.text.partition(" ")[0]


class StatusReply(NamedTuple):
    """A simple text, such as `OK`."""

    text: str


RedisReply: TypeAlias = "ErrorReply | StatusReply | bytes | int | list[RedisReply] | None"
"""One reply; bytes are a bulk string."""


def encode_commands(*commands: tuple[str, ...]) -> bytes:
    """Commands in the form in which clients send them, one after another."""
    # A variable of the environment may have bytes that are not UTF-8.
    words = [[word.encode("utf-8", "surrogateescape") for word in command] for command in commands]
    return b"".join(
        b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)
        for command in words
    )


def read_commands(request: bytes) -> Iterator[tuple[bytes, ...]]:
    """The commands of a request, as Redis would read them.

    Raises:
        OtherProtocol: it is not exactly a sequence of complete commands.
    """
    # By the same reader as replies: a request is a sequence of arrays of bulk strings.
    reader = ReplyReader(_MOST_ELEMENTS)
    if reader.feed(request) or not reader.is_between_replies:
        raise OtherProtocol("is not a sequence of complete commands")
    for command in reader.replies:
        if not isinstance(command, list) or not command:
            raise OtherProtocol("has something else than a command")
        words = tuple(word for word in command if isinstance(word, bytes))
        if len(words) != len(command):
            raise OtherProtocol("has a command whose words are not all strings")
        yield words


class ReplyReader:
    """Reads the replies to some commands; each byte is looked at once, whatever its parts.

    Args:
        count: replies that are expected.

    Attributes:
        replies: those that are complete; fewer than expected if Redis refuses the connection with the first.
    """

    def __init__(self, count: int) -> None:
        self.replies: list[RedisReply] = []
        self._count = count
        self._buffer = bytearray()
        self._start = 0  # of what is not read yet
        self._scanned = 0  # up to where no line end was found
        self._elements = 0
        self._open: list[tuple[list[RedisReply], int]] = []  # arrays, and how many elements each expects

    @property
    def is_between_replies(self) -> bool:
        """Whether nothing of an incomplete reply is there."""
        return not self._open and self._start == len(self._buffer)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; whether nothing more is expected.

        Raises:
            OtherProtocol: they are not RESP2, or exceed a bound.
        """
        self._buffer += data
        while not self._is_over() and self._read_one():
            pass
        if not self._is_over():
            return False
        if self._start < len(self._buffer) and len(self.replies) >= self._count:
            raise OtherProtocol("has more replies than were asked for")
        return True

    def _is_over(self) -> bool:
        if len(self.replies) >= self._count:
            return True
        last = self.replies[-1] if self.replies else None
        return isinstance(last, ErrorReply) and last.text.startswith(_LAST_WORDS)

    def _read_one(self) -> bool:
        """Read one element; False if it is not complete."""
        if self._start == len(self._buffer):
            return False
        kind = bytes(self._buffer[self._start : self._start + 1])
        if kind not in {b"+", b"-", b":", b"$", b"*"}:
            begin = bytes(self._buffer[self._start : self._start + _QUOTED]).decode("latin-1")
            first = begin.splitlines()[0] if begin.splitlines() else ""
            shown = (
                f'beginning "{make_one_line(first, 60)}"'
                if first.isprintable() and first
                else "but binary data"
            )
            raise OtherProtocol(f"is not that of a Redis, {shown}")
        end = self._buffer.find(b"\r\n", max(self._scanned, self._start))
        if end < 0:
            self._scanned = max(len(self._buffer) - 1, self._start)
            if len(self._buffer) - self._start > _LONGEST_LINE:
                raise OtherProtocol(f"has a line of more than {_LONGEST_LINE} bytes")
            return False
        line = bytes(self._buffer[self._start + 1 : end])
        if kind == b"$":
            return self._read_bulk(line, end + 2)
        self._start = end + 2
        if kind == b"*":
            self._open_array(_read_number(line, _LENGTH))
        elif kind == b":":
            self._add(_read_number(line, _NUMBER))
        else:
            text = make_one_line(line.decode("utf-8", "replace"), _LONGEST_ERROR)
            self._add(ErrorReply(text) if kind == b"-" else StatusReply(text))
        return True

    def _read_bulk(self, line: bytes, begin: int) -> bool:
        length = _read_number(line, _LENGTH)
        if length > _LONGEST_BULK:
            raise OtherProtocol(f"has a string of more than {_LONGEST_BULK} bytes")
        if length < 0:
            self._start = begin
            self._add(None)
            return True
        end = begin + length
        if len(self._buffer) < end + 2:
            return False
        if self._buffer[end : end + 2] != b"\r\n":
            raise OtherProtocol("has a string of another length than it says")
        self._start = end + 2
        self._add(bytes(self._buffer[begin:end]))
        return True

    def _open_array(self, count: int) -> None:
        if count > _MOST_ELEMENTS:
            raise OtherProtocol(f"has an array of more than {_MOST_ELEMENTS} elements")
        if count < 0:
            self._add(None)
        elif count == 0:
            self._add([])
        elif len(self._open) >= _MOST_DEPTH:
            raise OtherProtocol(f"has more than {_MOST_DEPTH} arrays within each other")
        else:
            self._open.append(([], count))

    def _add(self, reply: RedisReply) -> None:
        while True:
            self._elements += 1
            if self._elements > _MOST_ELEMENTS:
                raise OtherProtocol(f"has more than {_MOST_ELEMENTS} elements")
            if not self._open:
                self.replies.append(reply)
                return
            elements, count = self._open[-1]
            elements.append(reply)
            if len(elements) < count:
                return
            self._open.pop()
            reply = elements


def _read_number(line: bytes, form: re.Pattern[bytes]) -> int:
    if not form.fullmatch(line):
        raise OtherProtocol("has a number that is none")
    return int(line)
