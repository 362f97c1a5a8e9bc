"""The one order of an allowList: entries move where their order means nothing, and stay where it may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.core.canonical import encode_canonical
from reconciler.core.endpoint import InvalidAddress
from reconciler.core.secret import reveal
from reconciler.drivers.m2.address_range import AddressRange, parse_address_range


def get_address_range(entry: Any) -> AddressRange | None:
    """The addresses an entry means; None where it cannot be read."""
    addr = entry.get("addr") if isinstance(entry, Mapping) else None
    try:
        return parse_address_range(addr) if isinstance(addr, str) else None
    except InvalidAddress:
        return None


def sort_entries(entries: list[Any]) -> list[Any]:
    """Entries by address, but those that overlap and differ in role in the order they had.

    An entry that cannot be read may mean anything, so none moves across it. An entry that is there
    twice, with nothing between that its order could matter to, is there once.
    Takes n log n steps for n entries: a node may show any number, each overlapping all others.
    """
    result: list[Any] = []
    readable: list[_Entry] = []
    for entry in entries:
        span = get_address_range(entry)
        if span is None:
            result += [*_sorted(readable), entry]
            readable = []
        else:
            role = encode_canonical(reveal(entry.get("role"))).decode()
            readable.append(_Entry(entry, span, role, encode_canonical(reveal(entry))))
    return result + _sorted(readable)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry that can be read; `key` tells equal ones, `role` is canonical JSON."""

    value: Any
    span: AddressRange
    role: str
    key: bytes


def _sorted(entries: list[_Entry]) -> list[Any]:
    """Entries, all of which can be read, in their one order, each once where that means the same.

    An entry's level is the length of the longest chain of entries before it in which each overlaps the
    next and differs from it in role: sorting by level keeps all orders that mean something.
    """
    levels = _levels(entries) if _order_matters(entries) else [0] * len(entries)
    rank = sorted(
        range(len(entries)), key=lambda index: (levels[index], entries[index].span, entries[index].key)
    )
    kept = [
        index
        for place, index in enumerate(rank)
        if place == 0 or entries[rank[place - 1]].key != entries[index].key
    ]
    return [entries[index].value for index in kept]


def _order_matters(entries: list[_Entry]) -> bool:
    """Whether any two entries overlap and differ in role, found in one sweep over addresses."""
    reach: dict[str, tuple[int, int]] = {}  # the two roles that reach furthest -> (IP version, address)
    for entry in sorted(entries, key=lambda entry: entry.span):
        start, end = (entry.span.version, entry.span.low), (entry.span.version, entry.span.high)
        if any(role != entry.role and furthest >= start for role, furthest in reach.items()):
            return True
        reach[entry.role] = max(end, reach.get(entry.role, end))
        if len(reach) > 2:  # noqa: PLR2004  (one of two differs from any role)
            del reach[min(reach, key=lambda role: reach[role])]
    return False


def _levels(entries: list[_Entry]) -> list[int]:
    """The level of each entry, from 0; see `_sorted`."""
    edges = sorted(
        {(entry.span.version, edge) for entry in entries for edge in (entry.span.low, entry.span.high + 1)}
    )
    number = {edge: index for index, edge in enumerate(edges)}
    tree = _LevelTree(len(edges))
    levels = []
    for entry in entries:
        first, last = (
            number[entry.span.version, entry.span.low],
            number[entry.span.version, entry.span.high + 1],
        )
        level = tree.highest(first, last, entry.role) + 1
        tree.add(first, last, entry.role, level)
        levels.append(level)
    return levels


class _LevelTree:
    """The highest level among the intervals that overlap one and have another role; a segment tree.

    Each vertex stands for a run of elementary intervals. `_whole` has the best of the intervals that
    were added to exactly that run, `_within` the best of those that touch any part of it; the best two
    of different roles are enough to know the best that is not of a given role.
    """

    def __init__(self, places: int) -> None:
        self._size = 1 << max(places - 1, 0).bit_length()
        self._whole: list[dict[str, int]] = [{} for _ in range(2 * self._size)]
        self._within: list[dict[str, int]] = [{} for _ in range(2 * self._size)]

    def highest(self, first: int, last: int, role: str) -> int:
        """The highest level of intervals that overlap [first, last) and have another role; -1 for none."""
        best = -1
        for vertex in self._runs(first, last):
            best = max(best, _other(self._within[vertex], role))
            above = vertex >> 1
            while above:
                best = max(best, _other(self._whole[above], role))
                above >>= 1
        return best

    def add(self, first: int, last: int, role: str, level: int) -> None:
        """Remember an interval."""
        for vertex in self._runs(first, last):
            _keep(self._whole[vertex], role, level)
            above = vertex
            while above:
                _keep(self._within[above], role, level)
                above >>= 1

    def _runs(self, first: int, last: int) -> Iterator[int]:
        """The fewest vertices that make up [first, last)."""
        low, high = first + self._size, last + self._size
        while low < high:
            if low & 1:
                yield low
                low += 1
            if high & 1:
                high -= 1
                yield high
            low >>= 1
            high >>= 1


def _other(best: Mapping[str, int], role: str) -> int:
    return max((level for known, level in best.items() if known != role), default=-1)


def _keep(best: dict[str, int], role: str, level: int) -> None:
    if level > best.get(role, -1):
        best[role] = level
        if len(best) > 2:  # noqa: PLR2004  (one of two differs from any role)
            del best[min(best, key=lambda known: best[known])]
