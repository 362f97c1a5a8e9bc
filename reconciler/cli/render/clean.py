"""Text from nodes and files made fit to show: no control characters, bounded, secrets masked."""

from __future__ import annotations

import json
import re
from typing import Any

from reconciler.core.secret import mask

_BLANKS = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    r"""One line of text that can neither steer a terminal nor reorder what is read.

    White space becomes single blanks; control characters, the marks that turn the direction of writing
    and lone surrogates become their escapes, such as `\x1b`.
    """
    return _CONTROLS.sub(_escaped, _BLANKS.sub(" ", text).strip())


def short(text: str, limit: int) -> str:
    """At most about `limit` characters of a text; what was cut is counted."""
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()} … ({len(text):,} characters)"


def shown(value: Any, *, limit: int = 300) -> str:
    """A plain value as one bounded line of JSON with its keys sorted and its secrets masked."""
    return short(clean(json.dumps(mask(value), ensure_ascii=False, sort_keys=True)), limit)


def plural(number: int, noun: str, many: str = "") -> str:
    """A number with its noun: `1 node`, `1,000 nodes`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004  (what one byte holds)
