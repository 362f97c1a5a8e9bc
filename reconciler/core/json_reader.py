"""Reads JSON from nodes and other programs, within limits and with exact whole numbers; pure.

The limits are checked on the bytes before a parser sees them: a running parser cannot be stopped, and its
result takes about a hundred times the memory of its text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from reconciler.text.numbers import InvalidNumber, read_any_number, read_whole_number

DEEPEST: Final = 200
"""Levels of arrays and objects: a recursive function over a value takes a few Python frames for each."""


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """Bounds on one text.

    Args:
        size: bytes at most.
        values: values at most, members' names not counted.
        depth: levels of arrays and objects at most.
    """

    size: int
    values: int
    depth: int = DEEPEST


class JsonError(ValueError):
    """A text is not JSON, or exceeds a limit; the message says why, to follow "it" or "the answer"."""


_MARKS: Final = re.compile(rb"[\[{\]}]")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?(?:"|\Z)', re.DOTALL)
"""Text in quotes, or from an open quote to the end: otherwise many open quotes would take quadratic time."""

_SHAPE: Final = bytes.maketrans(b"0123456789eE+-", b"0000000000ee++")
_LOSSY: Final = (b"0" * 16, b"0e0", b"0e+0")
"""Shapes of numbers that a parser to doubles may round: many digits, or an exponent."""

_ORJSON_DEEPEST: Final = 254
"""Levels that orjson writes; it raises a TypeError beyond."""


def read_json(body: bytes, limits: JsonLimits) -> Any:
    """The value in a text; of a name that an object has twice, the last one counts.

    Whole numbers are exact whatever their size, also if written with a fraction or an exponent; other numbers
    become the nearest double.

    Raises:
        JsonError: it is not JSON (nor are NaN and Infinity), has half characters, or exceeds a limit.
    """
    check_size(body, limits)
    if not _may_be_lossy(body):
        try:
            return _read_fast(body, limits)
        except orjson.JSONDecodeError:
            pass  # perhaps a byte order mark, another encoding, or half a character
    return _read_exactly(body, limits)


def check_size(body: bytes, limits: JsonLimits) -> None:
    """Check that a text has no more bytes and values than it may have.

    Raises:
        JsonError: it has more.
    """
    if len(body) > limits.size:
        raise JsonError(f"it has {len(body):,} bytes, more than {limits.size:,}")
    # Texts in quotes may have these characters too; removing them takes time, so only if it can matter.
    if _count_values(body) >= limits.values and _count_values(_STRING.sub(b"", body)) >= limits.values:
        raise JsonError(f"it has more than {limits.values:,} values")


def _may_be_lossy(body: bytes) -> bool:
    """Whether a number in a text may be rounded; a text in quotes that looks like one does not count."""
    for text in (body, _STRING.sub(b"", body)):
        shape = text.translate(_SHAPE)
        if not any(marks in shape for marks in _LOSSY):
            return False
    return True


def _count_values(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _read_fast(body: bytes, limits: JsonLimits) -> Any:
    """The value in a text, by orjson."""
    # orjson reads up to 1,024 levels and has no option for fewer. Its writer refuses more than 254, so
    # wrapping the value makes it check the limit, much faster than Python could.
    value = orjson.loads(body)
    wrapped = value
    for _ in range(_ORJSON_DEEPEST - limits.depth):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except TypeError:
        raise _too_deep(limits) from None
    return value


def _read_exactly(body: bytes, limits: JsonLimits) -> Any:
    level = 0
    for mark in _MARKS.finditer(_STRING.sub(b"", body)):
        level += 1 if mark[0] in b"[{" else -1
        if level > limits.depth:
            raise _too_deep(limits)
    try:
        text = body.decode(json.detect_encoding(body)).removeprefix("\ufeff")
        value = json.loads(
            text, parse_int=read_whole_number, parse_float=read_any_number, parse_constant=_refuse_constant
        )
        # Fails for half characters, which json.loads accepts and no later writer can encode.
        json.dumps(value, ensure_ascii=False).encode()
    except JsonError:
        raise
    except InvalidNumber as error:
        raise JsonError(f"it has a number that cannot be used: {error}") from error
    except UnicodeEncodeError as error:
        raise JsonError("it has text that is not Unicode: half of a character") from error
    except UnicodeDecodeError as error:
        raise JsonError("it is not text in UTF-8") from error
    except RecursionError:
        raise _too_deep(limits) from None
    except ValueError as error:
        raise JsonError("it is not JSON") from error  # the library's message would not help an operator
    return value


def _too_deep(limits: JsonLimits) -> JsonError:
    return JsonError(f"it nests deeper than {limits.depth} levels")


def _refuse_constant(text: str) -> float:
    raise JsonError(f"it has {text}, which is not JSON")
