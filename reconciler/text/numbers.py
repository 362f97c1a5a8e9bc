"""Numbers of JSON and YAML, read without loss; pure.

Whole numbers are exact integers of any size; a number with a fraction or an exponent is the nearest double,
as in the products' own parsers. A file must not contain a number whose nearest double, written again, is
another decimal number: a node that has exactly what it was sent would always look different.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Final

LONGEST: Final = 4_000
"""Maximum characters of a number; Python converts 4,300 digits at most."""

_ALWAYS_EXACT: Final = 16
"""Characters of a number without exponent that a double always represents: 15 digits and a point."""

EXACT: Final = 2**53
"""Whole numbers below this are exact as doubles."""

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,6})?")
_WHOLE: Final = re.compile(r"[-+]?[0-9]+")


class InvalidNumber(ValueError):
    """A text is not a number that this program can represent.

    Args:
        message: the reason, a sentence about the number as "it".
        remedy: what to write instead.
    """

    def __init__(self, message: str, remedy: str = "write a smaller number, or text in quotes") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def read_number(text: str) -> int | float:
    """The number in a file, exactly; the text is a decimal number of JSON or YAML.

    Raises:
        InvalidNumber: it is not a number, is too large or too long, or has digits that would be lost.
    """
    value = _read(text)
    is_exact = isinstance(value, int) or (len(text) <= _ALWAYS_EXACT and "e" not in text and "E" not in text)
    if not is_exact and _parse_decimal(text) != Decimal(repr(value)):
        raise InvalidNumber(
            f"it has more digits than a double can represent; the nearest is {value!r}",
            f"write {value!r}, or text in quotes",
        )
    return value


def read_whole_number(text: str) -> int:
    """The integer in a text of digits.

    Raises:
        InvalidNumber: it is longer than `LONGEST`.
    """
    if len(text) > LONGEST:
        raise InvalidNumber(f"it has {len(text):,} characters, more than {LONGEST:,}")
    return int(text)


def read_any_number(text: str) -> int | float:
    """The number in a node's answer: exact if it is whole, else the nearest double.

    Raises:
        InvalidNumber: it is not a number, or is too large or too long.
    """
    value = _read(text)
    if isinstance(value, float) and abs(value) >= EXACT:
        exact = _parse_decimal(text)
        return int(exact) if exact == exact.to_integral_value() else value
    return value


def normalise_whole(value: float) -> int | float:
    """A whole number as an integer: JSON has one kind of number, and nodes write 1 or 1.0."""
    if isinstance(value, int) or not value.is_integer():
        return value
    # A large double means the decimal number that it prints as: 1e23 is 10 to the 23rd.
    return int(value) if abs(value) < EXACT else int(Decimal(repr(value)))


def _read(text: str) -> int | float:
    if len(text) > LONGEST or _WHOLE.fullmatch(text):
        return read_whole_number(text)
    if not _NUMBER.fullmatch(text):
        raise InvalidNumber("it is not a decimal number")
    value = float(text)
    if not math.isfinite(value):
        raise InvalidNumber("it is too large")
    return value


def _parse_decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidNumber("it is not a decimal number") from None
