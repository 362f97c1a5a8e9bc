"""Durations as Go's `time.ParseDuration` reads them: `1.5h`, `500ms`, `1m30s`; pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_UNIT: Final = "|".join(sorted(_UNITS, key=len, reverse=True))
_NUMBER: Final = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_PART: Final = re.compile(rf"({_NUMBER})({_UNIT})")
PATTERN: Final = rf"^(?:{_NUMBER}(?:{_UNIT})){{1,8}}$"
"""What a duration looks like; at most eight parts, so that no text takes long to read."""

LONGEST: Final = 24 * 3600 * 10**9
"""Nanoseconds of the longest duration that a setting of a cluster may have."""

_WHOLE: Final = re.compile(PATTERN)


def parse_go_duration(text: str) -> int:
    """The nanoseconds of a duration; parts of a nanosecond are dropped, as Go does.

    Raises:
        ValueError: it has another form, a sign, or is 0 or longer than a day.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("write a duration as Go does: `500ms`, `5s`, `1m30s` or `1.5h`")
    found = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in _PART.findall(text))
    if not 0 < found <= LONGEST:
        raise ValueError("a duration must be more than 0 and at most 24h")
    return found


def format_go_duration(nanoseconds: int) -> str:
    """A duration in the notation of Go, in the largest unit that gives a whole number."""
    unit = next(one for one in ("h", "m", "s", "ms", "µs", "ns") if nanoseconds % _UNITS[one] == 0)
    return f"{nanoseconds // _UNITS[unit]}{unit}"


def _check(text: str) -> str:
    try:
        parse_go_duration(text)
    except ValueError as error:
        raise PydanticCustomError("go_duration", "{why}", {"why": str(error)}) from None
    return text


GoDuration = Annotated[
    str, AfterValidator(_check), Field(max_length=64, json_schema_extra={"pattern": PATTERN})
]
"""A duration in the notation of Go, kept as it was written."""
