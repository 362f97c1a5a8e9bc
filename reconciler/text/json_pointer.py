"""JSON pointers (RFC 6901): made from the parts of a path, and taken apart."""

from __future__ import annotations

from collections.abc import Iterable


def make_pointer(parts: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path: `("a", 0, "b/c")` gives `/a/0/b~1c`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def format_pointer(json_pointer: str) -> str:
    """A JSON pointer for people: `/a/0/b~1c` gives `/a/0/b/c`, which is not a JSON pointer any more."""
    return "".join(f"/{part}" for part in split_pointer(json_pointer))


def split_pointer(json_pointer: str) -> tuple[str, ...]:
    """The unescaped parts of a JSON pointer; array indices stay text."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in json_pointer.split("/")[1:])
