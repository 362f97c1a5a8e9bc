"""Patterns of JSON pointers, in which `*` stands for one part: `/hosting/*/stats`; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, Field

from reconciler.text.json_pointer import split_pointer

Pattern: TypeAlias = tuple[str, ...]
"""The unescaped parts of a pattern; `*` stands for any one part."""

ANY: Final = "*"

LONGEST: Final = 500
"""Highest number of characters of a pattern."""

_MOST_PARTS: Final = 32
_STRAY_TILDE = re.compile(r"~(?![01])")


def parse_pattern(text: str) -> Pattern:
    """The parts of a pattern; none for the empty text, which is the whole document.

    Raises:
        ValueError: it is not a JSON pointer (RFC 6901), or too long.
    """
    if text and not text.startswith("/"):
        raise ValueError(f"a JSON pointer begins with /, such as /{text.lstrip('#/.$')[:40]}")
    if _STRAY_TILDE.search(text):
        raise ValueError("in a JSON pointer ~ is written ~0 and / within a key ~1")
    if len(text) > LONGEST or text.count("/") > _MOST_PARTS:
        raise ValueError(f"a pattern has at most {_MOST_PARTS} parts and {LONGEST} characters")
    parts = split_pointer(text)
    if "**" in parts:
        raise ValueError("** is not known here: each * stands for one key, or for the items of one list")
    return parts


def _check_pattern(text: str) -> str:
    parse_pattern(text)
    return text


PatternText = Annotated[
    str,
    AfterValidator(_check_pattern),
    Field(
        json_schema_extra={"maxLength": LONGEST, "pattern": r"^$|^(?!.*/\*\*(/|$))(/([^/~]|~[01])*){1,32}$"}
    ),
]
"""A pattern as it is written."""


def find_matches(value: Any, pattern: Pattern) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(path, value) of everything in a plain value that a pattern matches; items of lists by `*` or index."""
    found: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    for part in pattern:
        found = [((*path, key), inner) for path, outer in found for key, inner in _select(outer, part)]
    yield from found


def _select(value: Any, part: str) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        if part == ANY:
            yield from value.items()
        elif part in value:
            yield part, value[part]
    elif isinstance(value, list):
        if part == ANY:
            yield from enumerate(value)
        elif re.fullmatch(r"0|[1-9][0-9]{0,8}", part) and int(part) < len(value):
            yield int(part), value[int(part)]
