"""The known name that a person probably meant by an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 200
"""Characters of a name up to which one is looked for."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name`, judged without regard to case; empty where none is alike.

    It takes as long as all names are long: a caller with many unknown names asks for the first few alone.
    """
    if len(name) > LONGEST:
        return ""
    by_folded: dict[str, str] = {}
    for candidate in sorted(known):
        by_folded.setdefault(candidate.casefold(), candidate)
    found = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""
