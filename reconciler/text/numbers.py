"""Numbers of JSON and YAML as people and nodes write them, read so that nothing is lost; pure.

Two programs that read `100000000000000000000` must mean the same number, or a node that holds exactly
what it was sent looks different for ever. So whole numbers are exact integers of any size, and a number
with a fraction or an exponent is the nearest double, which is what the products' own readers make of it.
Where the nearest double, written again, is another decimal number than the text, a file must not have it.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Final

LONGEST: Final = 4_000
"""Characters of a number; Python itself reads and writes 4,300 digits at most."""

_SURE: Final = 16
"""Characters of a number without exponent that a double always holds: 15 digits and a point."""

EXACT: Final = 2**53
"""Whole numbers below this are exact as doubles."""

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,6})?")
_WHOLE: Final = re.compile(r"[-+]?[0-9]+")


class InvalidNumber(ValueError):
    """A text is no number that this program holds.

    Args:
        message: why, to follow the number.
        remedy: what to write instead.
    """

    def __init__(self, message: str, remedy: str = "write a smaller number, or text in quotes") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def read_number(text: str) -> int | float:
    """The number that a file has, exactly.

    Args:
        text: as JSON or YAML's decimal forms write it.

    Raises:
        BadNumber: it is none, is too large or too long, or has digits that would be lost.
    """
    value = _read(text)
    sure = isinstance(value, int) or (len(text) <= _SURE and "e" not in text and "E" not in text)
    if not sure and _decimal(text) != Decimal(repr(value)):
        raise InvalidNumber(
            f"it has more digits than a number can hold; the nearest is {value!r}",
            f"write {value!r}, or text in quotes",
        )
    return value


def read_whole_number(text: str) -> int:
    """The integer in a text of digits.

    Raises:
        BadNumber: it is longer than `LONGEST`.
    """
    if len(text) > LONGEST:
        raise InvalidNumber(f"it has {len(text):,} characters, more than {LONGEST:,}")
    return int(text)


def read_any_number(text: str) -> int | float:
    """The number that a node writes: exact where it is whole, else the nearest double.

    Raises:
        BadNumber: it is too large or too long.
    """
    value = _read(text)
    if isinstance(value, float) and abs(value) >= EXACT:
        exact = _decimal(text)
        return int(exact) if exact == exact.to_integral_value() else value
    return value


def normalise_whole(value: float) -> int | float:
    """A number as an integer where it is one, as JSON knows one kind of number and nodes write either.

    A large double stands for the decimal number that it is written as: `1e23` for 10 to the 23rd.
    """
    if isinstance(value, int) or not value.is_integer():
        return value
    return int(value) if abs(value) < EXACT else int(Decimal(repr(value)))


def _read(text: str) -> int | float:
    if len(text) > LONGEST:
        raise InvalidNumber(f"it has {len(text):,} characters, more than {LONGEST:,}")
    if _WHOLE.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise InvalidNumber("it is not a decimal number")
    value = float(text)
    if not math.isfinite(value):
        raise InvalidNumber("it is too large")
    return value


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidNumber("it is not a decimal number") from None
