"""Text and numbers of bytes for people: one line, bounded, that cannot steer a terminal."""

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

_UNFIT = re.compile(r"[\x00-\x20\x7f-\xa0\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+")
"""White space, control characters, marks that turn the direction of writing, invisible characters, half
characters: what could move a cursor, hide words, reorder them, or be refused by a database."""


_HALF = re.compile(r"[\ud800-\udfff]")


def one_line(text: str, longest: int) -> str:
    """Text from outside on one line of at most `longest` characters, without characters that are not seen.

    Args:
        text: of any length; what lies far behind the cut is not looked at.
        longest: characters of the result, the mark of a cut included.
    """
    line = _UNFIT.sub(" ", text[: 8 * longest]).strip()
    return line if len(line) <= longest and len(text) <= 8 * longest else f"{line[: longest - 1]}…"


def sentence(text: str) -> str:
    """A sentence that may quote a node, bounded, and fit for a database and a message.

    Control characters stay where it is short: each rendering makes them visible in its own way.
    """
    if len(text) <= LONGEST_SENTENCE:
        return text if text.isascii() else _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
    return one_line(text, LONGEST_SENTENCE)


def first_names(names: Sequence[str]) -> tuple[str, ...]:
    """The first names of a list from outside, each on one line, and behind them how many more there are.

    What it gave it takes again without a change.
    """
    if len(names) == MOST_NAMES + 1:
        return tuple(one_line(name, LONGEST_NAME) for name in names)
    kept = tuple(one_line(name, LONGEST_NAME) for name in names[:MOST_NAMES])
    more = len(names) - len(kept)
    return (*kept, f"and {more:,} more") if more else kept


def size(count: int) -> str:
    """A number of bytes for people: `26 KB`, `1.5 GB`."""
    value = float(count)
    for unit in ("bytes", "KB", "MB"):
        if value < 1024:  # noqa: PLR2004  (the step between units)
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"  # noqa: PLR2004
        value /= 1024
    return f"{value:.3g} GB"
