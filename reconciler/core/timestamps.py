"""Moments as text: ISO 8601 in UTC with milliseconds and Z, which sorts as it stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present moment, with its time zone; passed in, so that the core needs none."""


def stamp(moment: datetime) -> str:
    """A moment as text: `2026-11-21T03:44:55.120Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The moment that `stamp` wrote."""
    return datetime.fromisoformat(text)
