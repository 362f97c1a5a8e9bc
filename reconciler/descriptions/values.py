"""Values and numbers for display: on one line, shortened, secrets masked."""

from __future__ import annotations

import json
from typing import Any, Final

from reconciler.core.secret import mask
from reconciler.text.one_line import clean_line

LONGEST_VALUE: Final = 300
"""Characters of a value that are shown, unless all of it is asked for."""


def shorten_text(text: str, limit: int) -> str:
    """About `limit` characters of a text, with its full length if it was cut."""
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()} … ({len(text):,} characters)"


def format_value(value: Any, *, limit: int | None = LONGEST_VALUE) -> str:
    """A plain value as one line of JSON with sorted keys and masked secrets; `limit` None cuts nothing."""
    text = clean_line(json.dumps(mask(value), ensure_ascii=False, sort_keys=True))
    return text if limit is None else shorten_text(text, limit)


def format_count(number: int, noun: str, many: str = "") -> str:
    """A number with its noun: `1 node`, `1,000 nodes`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"
