"""Text from outside for people: one line, bounded, that cannot steer a terminal; and numbers of bytes.

Every cleaning of text that a node, a file or a server wrote rests on one set of characters, `UNSEEN`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

LONGEST_SENTENCE: Final = 2_000
"""Characters of a sentence that may quote a node: a reason, a finding, an answer."""

MOST_NAMES: Final = 10
"""Names of a list from outside that are kept one by one."""

LONGEST_NAME: Final = 200
"""Characters of one such name."""

SHORT_ID: Final = 12
"""Characters that people are shown of a commit's id or a digest; a stamp on a node has as many."""

MOST_QUOTED: Final = 40
"""Characters of a piece of a file that a message quotes."""

UNSEEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""One control character, mark that turns the direction of writing, invisible character or half character:
what could move a cursor, hide words, reorder them, or be refused by a database."""

_UNFIT = re.compile(rf"(?:{UNSEEN.pattern}|[\x20\xa0])+")
_BLANKS = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")
_HALF = re.compile(r"[\ud800-\udfff]")


def make_one_line(text: str, longest: int) -> str:
    """Text from outside on one line of at most `longest` characters, without characters that are not seen.

    Args:
        text: of any length; what lies far behind the cut is not looked at.
        longest: characters of the result, the mark of a cut included.
    """
    line = _UNFIT.sub(" ", text[: 8 * longest]).strip()
    return line if len(line) <= longest and len(text) <= 8 * longest else f"{line[: longest - 1]}…"


def take_first_line(text: str, *, longest: int = LONGEST_NAME) -> str:
    """The first line of a text that says something, cut to `longest`; what is not seen becomes a mark."""
    first = next((part for part in text.splitlines() if part.strip()), "").strip()
    visible = UNSEEN.sub("\N{REPLACEMENT CHARACTER}", first)
    return visible if len(visible) <= longest else visible[: longest - 1] + "…"


def clean_line(text: str) -> str:
    r"""One line of text, of any length, in which nothing is hidden.

    White space becomes single blanks; what is not seen becomes its escape, such as `\x1b`.
    """
    return escape_unseen(_BLANKS.sub(" ", text).strip())


def escape_unseen(text: str) -> str:
    r"""Text in which each character that is not seen is its escape, such as `\x1b`."""
    return text if text.isascii() and text.isprintable() else UNSEEN.sub(_escape, text)


def quote_text(text: str, *, most: int = MOST_QUOTED) -> str:
    """A piece of a file for a message: in backquotes, on one line, cut where it is long."""
    flat = UNSEEN.sub(" ", text[: most + 1])
    if len(flat) > most:
        flat = f"{flat[: most - 1]}…"
    return f"`{flat}`" if "`" not in flat else f'"{flat}"'


def quote_path(path: str) -> str:
    """A file name for a message: in quotes, bounded, and what is not seen as its escape."""
    return f"'{escape_unseen(path[:LONGEST_NAME])}'"


def decode_name(raw: bytes) -> str:
    r"""A file name as text; bytes that are not UTF-8 become `\xNN`, so that no two names fall together."""
    return raw.decode("utf-8", "backslashreplace")


def _escape(found: re.Match[str]) -> str:
    return ascii(found.group())[1:-1]


def bound_sentence(text: str) -> str:
    """A sentence that may quote a node, bounded, and fit for a database and a message.

    Control characters stay where it is short: each rendering makes them visible in its own way.
    """
    if len(text) <= LONGEST_SENTENCE:
        return text if text.isascii() else _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
    return make_one_line(text, LONGEST_SENTENCE)


def list_first_names(names: Sequence[str]) -> tuple[str, ...]:
    """The first names of a list from outside, each on one line, and behind them how many more there are.

    What it gave it takes again without a change.
    """
    if len(names) == MOST_NAMES + 1:
        return tuple(make_one_line(name, LONGEST_NAME) for name in names)
    kept = tuple(make_one_line(name, LONGEST_NAME) for name in names[:MOST_NAMES])
    more = len(names) - len(kept)
    return (*kept, f"and {more:,} more") if more else kept


def join_some(names: Sequence[str], most: int) -> str:
    """The first names of a list for a sentence, and how many more there are: `a, b and 3 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def format_size(count: int) -> str:
    """A number of bytes for people: `26 KB`, `1.5 GB`."""
    value = float(count)
    for unit in ("bytes", "KB", "MB"):
        if value < 1024:  # noqa: PLR2004  (the step between units)
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"  # noqa: PLR2004
        value /= 1024
    return f"{value:.3g} GB"
