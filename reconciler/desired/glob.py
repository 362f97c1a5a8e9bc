"""Which files a pattern means: `*` stays within one folder, `**` does not, hidden files are named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

_WILD = frozenset("*?[")


def is_pattern(text: str) -> bool:
    """Whether a path means more than the file of its name."""
    return not _WILD.isdisjoint(text)


def match_names(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that fit a pattern, in their order."""
    wanted = [part for part in pattern.split("/") if part not in {"", "."}]
    return [name for name in names if _fits(name.split("/"), wanted)]


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path fits, by the set of all places of the pattern that may come next."""
    places = _with_empty({0}, wanted)
    for part in parts:
        following = set()
        for place in places - {len(wanted)}:
            if wanted[place] == "**":
                following |= set() if part.startswith(".") else {place}
            elif fnmatchcase(part, wanted[place]) and (
                not part.startswith(".") or wanted[place].startswith(".")
            ):
                following.add(place + 1)
        places = _with_empty(following, wanted)
    return len(wanted) in places


def _with_empty(places: set[int], wanted: Sequence[str]) -> set[int]:
    """The places, and those behind each `**` that stands for no folder."""
    reached = set(places)
    for place in range(len(wanted)):
        if place in reached and wanted[place] == "**":
            reached.add(place + 1)
    return reached
