"""The base class of the fleet file's models, and the field types that several of them share."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
"""A number of an IPv4 address."""

IPV4: Final = f"(?:{BYTE}\\.){{3}}{BYTE}"
"""An IPv4 address."""

IPV6: Final = "[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*"
"""What looks like an IPv6 address; an exact pattern would be pages long."""

_SPAN = r"([0-9]{1,4}d)?([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?"
_UNITS = (86_400, 3_600, 60, 1)
_LONGEST = 366 * 86_400

_AMOUNT = r"^(0|[1-9][0-9]{0,5}|(0|[1-9][0-9]?|100)%)$"
_WAVE = r"^([1-9][0-9]{0,5}|([1-9][0-9]?|100)%)$"
_MOST_NODES = 999_999
_DAY = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"


class StrictModel(BaseModel):
    """A part of the fleet file: unknown keys are errors, because a mistyped key would have no effect."""

    # A command uses few of the models: each is built at its first use.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def drop_zero_fraction(value: Any) -> Any:
    """A number without a fraction as an integer: JSON has one kind of number, so that 1.0 is 1."""
    return int(value) if type(value) is float and value.is_integer() else value


def require_whole_number(value: Any) -> Any:
    """A whole number, for fields that take one fixed number; refuses `true`, which Python counts as 1."""
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")  # noqa: TRY004  (becomes a ValidationError)
    return drop_zero_fraction(value)


Whole = Annotated[int, Field(strict=True), BeforeValidator(drop_zero_fraction)]
"""A whole number, never true, false or text."""

Number = Annotated[float, Field(strict=True)]
"""A number, never true, false or text."""

Flag = Annotated[bool, Field(strict=True)]
"""True or false, never a number or text."""


def _require_iso_day(value: Any) -> Any:
    # Pydantic alone would also take a number, as seconds since 1970.
    if not isinstance(value, date) and not (isinstance(value, str) and re.fullmatch(_DAY, value)):
        raise PydanticCustomError("date_form", "write a day as 2026-12-24")
    return value


Day = Annotated[
    date,
    BeforeValidator(_require_iso_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": _DAY}),
]
"""A day as YYYY-MM-DD."""


def _read_amount(value: Any) -> str:
    """The text of a number of nodes or a percentage, which a file may have with or without quotes."""
    number = drop_zero_fraction(value)
    text = str(number) if type(number) is int else value
    if isinstance(text, str) and re.fullmatch(_AMOUNT, text):
        return text
    raise PydanticCustomError(
        "amount_form",
        "a number of nodes is a whole number from 0 to 999999, or a percentage from 0% to 100%",
        {"remedy": "write a whole number such as `3`, or a percentage such as `25%`"},
    )


def _refuse_zero(text: str) -> str:
    if re.fullmatch(_WAVE, text):
        return text
    raise PydanticCustomError(
        "wave_size",
        "a wave has at least one node",
        {"remedy": "write `1` or more, or at least `1%`; or leave the key out"},
    )


def _make_amount_form(pattern: str, least: int) -> dict[str, Any]:
    whole = {"type": "integer", "minimum": least, "maximum": _MOST_NODES}
    return {"anyOf": [{"type": "string", "pattern": pattern}, whole]}


Amount = Annotated[str, BeforeValidator(_read_amount), WithJsonSchema(_make_amount_form(_AMOUNT, 0))]
"""A number of nodes such as `3`, or a percentage of a cluster's nodes such as `25%`."""

WAVE_FORM: dict[str, Any] = _make_amount_form(_WAVE, 1)
"""The schema of a `WaveSize`."""

WaveSize = Annotated[
    str, BeforeValidator(_read_amount), AfterValidator(_refuse_zero), WithJsonSchema(WAVE_FORM)
]
"""An amount of at least one node, such as the size of a wave."""


def resolve_amount(amount: str, total: int) -> int:
    """How many of `total` nodes an amount is; a percentage is rounded down, but only `0%` is none."""
    # Rounded down, because it is a limit. At least one, or a small cluster could never be changed.
    if amount.endswith("%"):
        share = int(amount[:-1])
        return max(1, total * share // 100) if share else 0
    return int(amount)


def parse_duration(text: str) -> float:
    """The seconds of a duration such as `90s`, `30m` or `1h30m`.

    Raises:
        ValueError: it has another form, or is longer than 366 days.
    """
    match = re.fullmatch(_SPAN, text)
    if match is None or not text:
        raise ValueError("write a duration as `90s`, `30m`, `1h30m` or `2d`, or as a number of seconds")
    seconds = sum(int(part[:-1]) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
    if seconds > _LONGEST:
        raise ValueError("a duration is at most 366 days")
    return float(seconds)


def _duration_to_seconds(value: Any) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value <= _LONGEST:
        raise ValueError("a duration is at least 0 seconds and at most 366 days")
    return value


def _make_span_schema(lower_limit: str, some_text: str) -> WithJsonSchema:
    number = {"type": "number", lower_limit: 0, "maximum": _LONGEST}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": f"^(?={some_text}){_SPAN}$"}]})


Span = Annotated[Number, BeforeValidator(_duration_to_seconds), _make_span_schema("minimum", ".")]
"""A length of time: seconds as a number, or text such as `90s`, `30m`, `1h30m`, `2d`."""


_SIZE = r"^([1-9][0-9]{0,8})(KiB|MiB|GiB)?$"
_SIZE_UNITS = {None: 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _size_to_bytes(value: Any) -> Any:
    if isinstance(value, str):
        if (found := re.fullmatch(_SIZE, value)) is None:
            raise PydanticCustomError("size_form", "write a size as `64KiB`, `1MiB`, or as a number of bytes")
        return int(found[1]) * _SIZE_UNITS[found[2]]
    return value


Size = Annotated[
    Whole,
    BeforeValidator(_size_to_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _SIZE}]}),
]
"""A number of bytes, or text such as `64KiB` or `1MiB`."""


def _require_positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("the duration must be more than 0 seconds")
    return seconds


SomeTime = Annotated[
    Span, AfterValidator(_require_positive), _make_span_schema("exclusiveMinimum", ".*[1-9]")
]
"""A length of time above 0."""
