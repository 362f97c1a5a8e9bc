"""The files that match a pattern: `*` within one folder, `**` across folders, no hidden files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

_WILD = frozenset("*?[")


def is_pattern(text: str) -> bool:
    """Whether a path has wildcards."""
    return not _WILD.isdisjoint(text)


def match_names(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that match a pattern, in their order."""
    wanted = [part for part in pattern.split("/") if part not in {"", "."}]
    return [name for name in names if _fits(name.split("/"), wanted)]


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path matches, by the set of all places of the pattern that may come next."""
    # A set instead of backtracking: `**/**/**/…` would take exponential time, and anyone may write one.
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
    """The places, and those after each `**` that matches no folder."""
    reached = set(places)
    for place in range(len(wanted)):
        if place in reached and wanted[place] == "**":
            reached.add(place + 1)
    return reached
