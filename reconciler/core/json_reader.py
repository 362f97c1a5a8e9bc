"""JSON from nodes and other programs, read within bounds and with exact whole numbers; pure.

The bounds are checked on the bytes before a parser sees them: a parser that has begun cannot be
stopped, and what it builds takes some hundred times the memory of its text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from reconciler.text.numbers import InvalidNumber, read_any_number, read_whole_number

DEEPEST: Final = 200
"""Levels of arrays and objects; every later walk over a value takes a few Python frames a level."""


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
    """A text is no JSON, or beyond its bounds; the message says why, to follow "it" or "the answer"."""


_MARKS: Final = re.compile(rb"[\[{\]}]")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?(?:"|\Z)', re.DOTALL)
"""Text in quotes, or an open quote to the end: else each of many open quotes would be tried to the end."""

_SHAPE: Final = bytes.maketrans(b"0123456789eE+-", b"0000000000ee++")
_LOSSY: Final = (b"0" * 16, b"0e0", b"0e+0")
"""Shapes of numbers that a parser which makes doubles may round: many digits, or an exponent."""

_ORJSON_DEEPEST: Final = 254
"""Levels that orjson writes; it raises a TypeError beyond."""


def read_json(body: bytes, limits: JsonLimits) -> Any:
    """The value in a text; of a name that an object has twice the last counts.

    Whole numbers are exact whatever their size, also those written with a fraction or an exponent;
    other numbers become the nearest double.

    Raises:
        JsonError: it is no JSON (NaN and Infinity are none), has half characters in its text, or is
            beyond a bound.
    """
    check_size(body, limits)
    if not _may_be_lossy(body):
        try:
            return _read_fast(body, limits)
        except orjson.JSONDecodeError:
            pass  # perhaps a byte order mark, another encoding, or half a character
    return _read_exactly(body, limits)


def check_size(body: bytes, limits: JsonLimits) -> None:
    """Nothing, where a text has no more bytes and values than it may have.

    Raises:
        JsonError: it has.
    """
    if len(body) > limits.size:
        raise JsonError(f"it has {len(body):,} bytes, more than {limits.size:,}")
    if body.count(b",") + body.count(b"[") + body.count(b"{") >= limits.values:
        _check_number_of_values(_STRING.sub(b"", body), limits)


def _may_be_lossy(body: bytes) -> bool:
    """Whether a number in a text may be rounded; a text in quotes that looks like one does not count."""
    for text in (body, _STRING.sub(b"", body)):
        shape = text.translate(_SHAPE)
        if not any(marks in shape for marks in _LOSSY):
            return False
    return True


def _check_number_of_values(bare: bytes, limits: JsonLimits) -> None:
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") >= limits.values:
        raise JsonError(f"it has more than {limits.values:,} values")


def _read_fast(body: bytes, limits: JsonLimits) -> Any:
    """What orjson makes of a text; it takes 1,024 levels at most, and its writer tells deep ones."""
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
            text, parse_int=read_whole_number, parse_float=read_any_number, parse_constant=_no_constant
        )
        json.dumps(value, ensure_ascii=False).encode()
    except JsonError:
        raise
    except InvalidNumber as error:
        raise JsonError(f"it has a number that cannot be used: {error}") from error
    except UnicodeEncodeError as error:
        raise JsonError("it has text that is not Unicode: one half of a character") from error
    except UnicodeDecodeError as error:
        raise JsonError("it is not text in UTF-8") from error
    except RecursionError:
        raise _too_deep(limits) from None
    except ValueError as error:
        raise JsonError("it is not JSON") from error  # the library's words help nobody at the node
    return value


def _too_deep(limits: JsonLimits) -> JsonError:
    return JsonError(f"it nests deeper than {limits.depth} levels")


def _no_constant(text: str) -> float:
    raise JsonError(f"it has {text}, which is not JSON")
