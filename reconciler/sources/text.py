"""Text that comes from outside, made fit for one line of a message."""

from __future__ import annotations

LONGEST = 200


def line(text: str, *, longest: int = LONGEST) -> str:
    """The first line of a text that says something, without control characters, cut to `longest`.

    A commit's title or a server's words must not move the cursor of the terminal that shows them.
    """
    first = next((part for part in text.splitlines() if part.strip()), "").strip()
    visible = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in first)
    return visible if len(visible) <= longest else visible[: longest - 1] + "…"


def name(raw: bytes) -> str:
    r"""A file name as text; bytes that are not UTF-8 become `\xNN`, so that no two names fall together."""
    return raw.decode("utf-8", "backslashreplace")


def shown(path: str) -> str:
    """A file name for a message: control characters escaped, in quotes."""
    return "'" + "".join(char if char.isprintable() else repr(char)[1:-1] for char in path[:LONGEST]) + "'"
