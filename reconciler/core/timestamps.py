"""Moments as text, in UTC: for programs ISO 8601 with milliseconds and Z, which sorts; for people without."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = ((2 * _MINUTE, "s", 1), (2 * _HOUR, "min", _MINUTE), (2 * _DAY, "h", _HOUR))

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present moment, with its time zone; passed in, so that the core needs none."""


def format_timestamp(moment: datetime) -> str:
    """A moment as text: `2026-11-21T03:44:55.120Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_minute(moment: datetime) -> str:
    """A moment for people, to the minute in UTC: `2026-11-21 03:44`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def format_second(moment: datetime) -> str:
    """A moment for people, to the second in UTC: `2026-11-21 03:44:55`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def parse_timestamp(text: str) -> datetime:
    """The moment that `format_timestamp` wrote."""
    return datetime.fromisoformat(text)


def format_age(seconds: float) -> str:
    """A time span for people, in one unit: `40 s`, `12 min`, `3 h`, `2 days`."""
    for limit, unit, size in _UNITS:
        if seconds < limit:
            return f"{max(seconds, 0) / size:.0f} {unit}"
    return f"{seconds / _DAY:.0f} days"
