"""JSON pointers (RFC 6901): made from the parts of a path, taken apart, and followed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

_BAD_ESCAPE: Final = re.compile(r"~(?![01]).?", re.DOTALL)


def make_pointer(parts: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path: `("a", 0, "b/c")` gives `/a/0/b~1c`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def format_pointer(json_pointer: str) -> str:
    """A JSON pointer for people: `/a/0/b~1c` gives `/a/0/b/c`, which is not a JSON pointer any more."""
    return "".join(f"/{part}" for part in split_pointer(json_pointer))


def find_bad_escape(json_pointer: str) -> str:
    """The first `~` that no 0 or 1 follows, with the character after it (RFC 6901); empty for none."""
    found = _BAD_ESCAPE.search(json_pointer)
    return found.group() if found else ""


def split_pointer(json_pointer: str) -> tuple[str, ...]:
    """The unescaped parts of a JSON pointer; array indices stay text."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in json_pointer.split("/")[1:])


def resolve_pointer(value: Any, json_pointer: str) -> Any:
    """The value at a place that exists.

    Args:
        value: of a document.
        json_pointer: of a place in it.
    """
    for part in split_pointer(json_pointer):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
