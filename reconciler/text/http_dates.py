"""Dates in HTTP headers (RFC 9110, HTTP-date), as nodes send them and as they are answered; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Final

_LONGEST: Final = 64
"""Characters of a date at most: the parser of the standard library reads anything."""


@lru_cache(maxsize=4_096)  # nodes that were offered a revision at the same time send the same dates for long
def parse_http_date(text: str) -> datetime | None:
    """The moment in UTC; None if the text is no date. A weekday that does not fit the date is ignored."""
    # The product's own page has such a date: "Tue, 15 Oct 2022".
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def format_http_date(moment: datetime) -> str:
    """A moment as a header: `Tue, 11 Oct 2022 12:45:26 GMT`."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)
