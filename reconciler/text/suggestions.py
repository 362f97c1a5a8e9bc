"""Known names that are similar to an unknown one, for every `did you mean`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

LONGEST = 200
"""Maximum characters of a name for which a similar one is looked for."""


def find_similar(name: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.66) -> list[str]:
    """The known names most similar to `name`, the nearest first; case is ignored.

    Args:
        name: the unknown name.
        known: names to choose from.
        most: maximum number of names to give.
        cutoff: required similarity, from 0 to 1.
    """
    # Time grows with the total length of all names: callers with many unknown names ask for a few only.
    if len(name) > LONGEST:
        return []
    by_folded: dict[str, str] = {}
    for candidate in sorted(known):
        by_folded.setdefault(candidate.casefold(), candidate)
    return [
        by_folded[found] for found in get_close_matches(name.casefold(), by_folded, n=most, cutoff=cutoff)
    ]


def find_nearest(name: str, known: Iterable[str], *, cutoff: float = 0.7) -> str:
    """The known name most similar to `name`; empty if none is similar."""
    return next(iter(find_similar(name, known, most=1, cutoff=cutoff)), "")


def join_choices(names: Sequence[str]) -> str:
    """`a`, `a or b`, or `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
