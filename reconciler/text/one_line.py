"""Text from outside, made safe for terminals, logs and databases: one line, bounded, no control characters.

All functions remove or escape the same set of characters, `UNSEEN`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

LONGEST_SENTENCE: Final = 2_000
"""Maximum characters of a sentence that may quote a node: a reason, a finding, an answer."""

MOST_NAMES: Final = 10
"""Maximum names that are kept of a list from outside."""

LONGEST_NAME: Final = 200
"""Maximum characters of one such name."""

SHORT_ID: Final = 12
"""Characters of a commit id or digest that are shown; the stamp on a node has as many."""

MOST_QUOTED: Final = 40
"""Maximum characters that a message quotes of a file."""

UNSEEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""A control character, mark of writing direction, invisible character or lone surrogate: these move a cursor,
hide or reorder words, or are refused by a database."""

_UNFIT = re.compile(rf"(?:{UNSEEN.pattern}|[\x20\xa0])+")
_BLANKS = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")
_HALF = re.compile(r"[\ud800-\udfff]")


def make_one_line(text: str, longest: int) -> str:
    """Text of any length on one line of at most `longest` characters, with invisible ones as blanks."""
    # Only the beginning: a node may answer with megabytes. Eight times the length, because blanks collapse.
    line = _UNFIT.sub(" ", text[: 8 * longest]).strip()
    return line if len(line) <= longest and len(text) <= 8 * longest else f"{line[: longest - 1]}…"


def take_first_line(text: str, *, longest: int = LONGEST_NAME) -> str:
    """The first line with text, cut to `longest`; invisible characters become the replacement character."""
    first = next((part for part in text.splitlines() if part.strip()), "").strip()
    visible = UNSEEN.sub("\N{REPLACEMENT CHARACTER}", first)
    return visible if len(visible) <= longest else visible[: longest - 1] + "…"


def clean_line(text: str) -> str:
    r"""Text of any length on one line: single blanks, invisible characters as escapes (`\x1b`)."""
    return escape_unseen(_BLANKS.sub(" ", text).strip())


def escape_unseen(text: str) -> str:
    r"""Text in which each invisible character is its escape, such as `\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return UNSEEN.sub(lambda found: ascii(found.group())[1:-1], text)


def quote_text(text: str, *, most: int = MOST_QUOTED) -> str:
    """Text of a file for a message: in backquotes, on one line, cut to `most` characters."""
    flat = UNSEEN.sub(" ", text[: most + 1])
    if len(flat) > most:
        flat = f"{flat[: most - 1]}…"
    return f"`{flat}`" if "`" not in flat else f'"{flat}"'


def quote_path(path: str) -> str:
    """A file name for a message: in quotes, bounded, with invisible characters as escapes."""
    return f"'{escape_unseen(path[:LONGEST_NAME])}'"


def decode_name(raw: bytes) -> str:
    r"""A file name as text; bytes that are not UTF-8 become `\xNN`, so that two names stay different."""
    return raw.decode("utf-8", "backslashreplace")


def bound_sentence(text: str) -> str:
    """A sentence that may quote a node, bounded, for a database and a message.

    A short sentence keeps its control characters: each renderer escapes them in its own way.
    """
    if len(text) <= LONGEST_SENTENCE:
        return text if text.isascii() else _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
    return make_one_line(text, LONGEST_SENTENCE)


def list_first_names(names: Sequence[str]) -> tuple[str, ...]:
    """The first names of a list from outside, each on one line, and then how many more there are."""
    if len(names) == MOST_NAMES + 1:  # may be a result of this function, which must not change again
        return tuple(make_one_line(name, LONGEST_NAME) for name in names)
    kept = tuple(make_one_line(name, LONGEST_NAME) for name in names[:MOST_NAMES])
    more = len(names) - len(kept)
    return (*kept, f"and {more:,} more") if more else kept


def join_some(names: Sequence[str], most: int) -> str:
    """The first names of a list for a sentence, and how many more there are: `a, b and 3 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def format_size(count: int) -> str:
    """A size in bytes, such as `26 KB` or `1.5 GB`; steps of 1024."""
    value = float(count)
    for unit in ("bytes", "KB", "MB"):
        if value < 1024:  # noqa: PLR2004  (the step between units)
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"  # noqa: PLR2004
        value /= 1024
    return f"{value:.3g} GB"
