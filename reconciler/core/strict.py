"""The ground of every model of the fleet file, and the forms that several of them share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema

_SPAN = re.compile(r"^(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,7})s)?$")
_UNITS = (86_400, 3_600, 60, 1)
_LONGEST = 366 * 86_400

_AMOUNT = r"^(\d{1,6}|\d{1,3}%)$"


class Strict(BaseModel):
    """A part of the fleet file: unknown keys are errors, because the file is ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


Amount = Annotated[
    str,
    StringConstraints(pattern=_AMOUNT),
    BeforeValidator(_as_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _AMOUNT},
                {"type": "integer", "minimum": 0, "maximum": 999_999},
            ]
        }
    ),
]
"""A number of nodes such as `3`, or a share of a cluster's nodes such as `25%`."""


def amount_of(amount: str, total: int) -> int:
    """How many of `total` nodes an amount is; a share is rounded down but is at least one."""
    if amount.endswith("%"):
        return max(1, total * int(amount[:-1]) // 100)
    return int(amount)


def seconds_of(text: str) -> float:
    """How long a span such as `90s`, `30m` or `1h30m` is, in seconds.

    Raises:
        ValueError: it has another form, or is longer than a year.
    """
    match = _SPAN.match(text.strip())
    if match is None or not text.strip():
        raise ValueError("a span has the form `90s`, `30m`, `1h30m` or `2d`, or is a number of seconds")
    seconds = sum(int(number) * unit for number, unit in zip(match.groups(), _UNITS, strict=True) if number)
    if seconds > _LONGEST:
        raise ValueError("a span is at most a year")
    return float(seconds)


def _as_seconds(value: Any) -> Any:
    if isinstance(value, str):
        return seconds_of(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value <= _LONGEST:
        raise ValueError("a span is at least 0 seconds and at most a year")
    return value


Span = Annotated[
    float,
    BeforeValidator(_as_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _LONGEST},
                {
                    "type": "string",
                    "pattern": r"^(?=.)([0-9]{1,4}d)?([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?$",
                },
            ]
        }
    ),
]
"""A length of time: seconds as a number, or text such as `90s`, `30m`, `1h30m`, `2d`."""
