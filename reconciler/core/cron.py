"""Cron expressions: their form as a pattern for schemas, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_BLANKS = r"[ \t]+"
_STRANGE = re.compile(r"[^!-~ \t]")


def _any_case(names: list[str]) -> str:
    return "|".join("".join(f"[{letter}{letter.lower()}]" for letter in name) for name in names)


def _field(number: str, *special: str) -> str:
    """A list of values, ranges and steps; `special` are terms that only one field has."""
    value = f"0*(?:{number})" if not number.startswith("(") else number
    term = f"(?:\\*|{value}(?:-{value})?)(?:/0*[1-9][0-9]*)?"
    terms = "|".join((term, *special))
    return f"(?:{terms})(?:,(?:{terms}))*"


_SIXTY = "[0-9]|[1-5][0-9]"
_WEEKDAY = f"(?:0*[0-7]|{_any_case(_DAYS)})"
_FIVE = (
    _field(_SIXTY),
    _field("[0-9]|1[0-9]|2[0-3]"),
    _field("[1-9]|[12][0-9]|3[01]", "[Ll][Ww]?(?:/0*[1-9][0-9]*)?"),
    _field(f"(?:0*(?:[1-9]|1[0-2])|{_any_case(_MONTHS)})"),
    _field(_WEEKDAY, f"{_WEEKDAY}#0*[1-5]", "0*[0-7][Ll]"),
)

SIX_FIELDS: Final = f"^[ \\t]*{_BLANKS.join((_field(_SIXTY), *_FIVE))}[ \\t]*$"
"""Six fields, seconds first."""

FIVE_OR_SIX_FIELDS: Final = f"^[ \\t]*(?:{_field(_SIXTY)}{_BLANKS})?{_BLANKS.join(_FIVE)}[ \\t]*$"
"""Five fields, or six with seconds first."""

BEYOND: Final = "the ranges of a cron expression ascend, and its day exists in its months"
"""What these patterns cannot express."""


NEVER: Final = "its day of the month does not exist in its months"
"""What is wrong with an expression whose fields are right one by one."""


def find_cron_error(text: str) -> str:
    """What is wrong with a cron expression of five or six fields; empty if it is valid."""
    # CronSim accepts digits of every script, which a reviewer may not be able to read.
    if _STRANGE.search(text):
        return "it has characters that are not allowed in a cron expression"
    try:
        CronSim(text, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return _find_field_error(text) or NEVER
    return ""


def find_either_day(text: str) -> tuple[str, str] | None:
    """The day of the month and the day of the week of an expression that names both; None for another one.

    Such an expression, as in Debian's cron, is for every day that matches one of the two.
    """
    day, _, weekday = text.upper().split()[-3:]
    return None if day.startswith("*") or weekday.startswith("*") else (day, weekday)


def find_weekday_of_month(day: str, weekday: str) -> str:
    """What to write for days such as `1-7` and `TUE`, meant as the first Tuesday; empty if unclear."""
    number = {"1-7": "#1", "8-14": "#2", "15-21": "#3", "22-28": "#4"}.get(day, "")
    return f"{weekday}{number}" if number and re.fullmatch(_WEEKDAY, weekday) else ""


def _find_field_error(text: str) -> str:
    """What is wrong with the first wrong field, in words; empty if the fields are right one by one."""
    values = text.upper().split()
    if len(values) == 1 and (fields := _NAMED.get(values[0])):
        return f"`{text.strip()}` is a name for `{fields}`; write that"
    if len(values) not in {5, 6}:
        return f"it has {len(values)} field{'s' if len(values) != 1 else ''}"
    for field, value in zip(_FIELDS[-len(values) :], values, strict=True):
        for term in value.split(","):
            if ascending := _find_ascending_ranges(field, term):
                return f"the {field.name} `{term}` goes backwards; write `{ascending}`"
        if not re.fullmatch(field.pattern, value):
            if value == "?":
                return f"`?` as {field.name} is not known here; write `*`"
            names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
            return f"`{value}` is no {field.name}; it is {field.lowest} to {field.highest}{names}"
    return ""


def _find_ascending_ranges(field: _Field, term: str) -> str:
    """What to write in place of a range that descends, such as `FRI-SUN`; empty for any other term."""
    found = re.fullmatch(r"([0-9]{1,9}|[A-Z]{3})-([0-9]{1,9}|[A-Z]{3})(/[0-9]{1,9})?", term)
    first, last = (field.parse(found[1]), field.parse(found[2])) if found else (None, None)
    if first is None or last is None or first <= last:
        return ""
    # Sunday is 0 and 7: a range that ends with it goes up to 7, and one that goes on begins with Monday.
    low = max(field.lowest, 1) if field.names is _DAYS else field.lowest
    parts = [(first, field.highest), *([(low, last)] if last >= low else [])]
    step = found[3] or "" if found else ""
    return ",".join(str(begin) if begin == end else f"{begin}-{end}{step}" for begin, end in parts)


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of an expression: its range, and the names that stand for numbers from the lowest on."""

    name: str
    lowest: int
    highest: int
    pattern: str
    names: Sequence[str] = ()

    def parse(self, value: str) -> int | None:
        """The number of a value; None if it is none of this field."""
        number = int(value) if value.isdigit() else None
        if value in self.names:
            number = self.names.index(value) + self.lowest
        return number if number is not None and self.lowest <= number <= self.highest else None


_NAMED: Final = {
    "@HOURLY": "0 * * * *",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@WEEKLY": "0 0 * * 0",
    "@MONTHLY": "0 0 1 * *",
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
}
"""What crontabs know by a name, and the parser does not."""

_FIELDS: Final = (
    _Field("second", 0, 59, _field(_SIXTY)),
    _Field("minute", 0, 59, _FIVE[0]),
    _Field("hour", 0, 23, _FIVE[1]),
    _Field("day of the month", 1, 31, _FIVE[2]),
    _Field("month", 1, 12, _FIVE[3], _MONTHS),
    _Field("day of the week", 0, 7, _FIVE[4], _DAYS),
)
