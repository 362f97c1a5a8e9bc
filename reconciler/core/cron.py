"""Cron expressions: their form as a pattern for schemas, and what is wrong with one."""

from __future__ import annotations

import re
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


def find_cron_error(text: str) -> str:
    """What is wrong with a cron expression of five or six fields; empty if it is valid."""
    # CronSim accepts digits of every script, which a reviewer may not be able to read.
    if _STRANGE.search(text):
        return "it has characters that are not allowed in a cron expression"
    try:
        CronSim(text, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return str(error)
    return ""
