"""The known names that a person probably meant by an unknown one: what every `did you mean` is made by."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 200
"""Characters of a name up to which one is looked for."""


def find_similar(name: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.5) -> list[str]:
    """The known names most like `name`, the nearest first, judged without regard to case.

    It takes as long as all names are long: a caller with many unknown names asks for the first few alone.

    Args:
        name: as it was given.
        known: names that are there.
        most: how many are given at most.
        cutoff: from 0 to 1, how alike they have to be.
    """
    if len(name) > LONGEST:
        return []
    by_folded: dict[str, str] = {}
    for candidate in sorted(known):
        by_folded.setdefault(candidate.casefold(), candidate)
    return [
        by_folded[found] for found in get_close_matches(name.casefold(), by_folded, n=most, cutoff=cutoff)
    ]


def find_nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name most like `name`; empty where none is alike."""
    return next(iter(find_similar(name, known, most=1, cutoff=cutoff)), "")
