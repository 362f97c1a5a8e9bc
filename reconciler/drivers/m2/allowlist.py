"""The canonical order of an allowList: entries are sorted except where their order may matter; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.core.canonical import encode_canonical
from reconciler.core.secret import reveal
from reconciler.drivers.m2.address_range import AddressRange, get_address_range


def sort_entries(entries: list[Any]) -> list[Any]:
    """Entries sorted by address; those that overlap and differ in role keep their order.

    A repeated entry is left out where that has no effect. Takes n log n steps for n entries: a node may show
    any number of entries that all overlap.
    """
    result: list[Any] = []
    readable: list[_Entry] = []
    for entry in entries:
        addresses = get_address_range(entry)
        if addresses is None:
            # An invalid entry may mean anything to the node, so no entry moves across it.
            result += [*_sort_readable(readable), entry]
            readable = []
        else:
            role = encode_canonical(reveal(entry.get("role"))).decode()
            readable.append(_Entry(entry, addresses, role, encode_canonical(reveal(entry))))
    return result + _sort_readable(readable)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A valid entry.

    Args:
        value: the entry as it is in the list.
        role: its role as canonical JSON.
        key: the whole entry as canonical JSON; equal entries have equal keys.
    """

    value: Any
    addresses: AddressRange
    role: str
    key: bytes


def _sort_readable(entries: list[_Entry]) -> list[Any]:
    """Valid entries in their canonical order, without repetitions.

    The level of an entry is the length of the longest chain of earlier entries in which each overlaps the
    next and differs from it in role. Sorting by level keeps every order that may matter.
    """
    levels = _compute_levels(entries) if _order_matters(entries) else [0] * len(entries)
    rank = sorted(
        range(len(entries)), key=lambda index: (levels[index], entries[index].addresses, entries[index].key)
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
    for entry in sorted(entries, key=lambda entry: entry.addresses):
        version = entry.addresses.version
        start, end = (version, entry.addresses.low), (version, entry.addresses.high)
        if any(role != entry.role and furthest >= start for role, furthest in reach.items()):
            return True
        reach[entry.role] = max(end, reach.get(entry.role, end))
        if len(reach) > 2:  # noqa: PLR2004  (one of two differs from any role)
            del reach[min(reach, key=lambda role: reach[role])]
    return False


def _compute_levels(entries: list[_Entry]) -> list[int]:
    """The level of each entry, from 0; see `_sort_readable`."""
    ends = [
        ((own.version, own.low), (own.version, own.high + 1))
        for own in (entry.addresses for entry in entries)
    ]
    number = {edge: index for index, edge in enumerate(sorted({edge for pair in ends for edge in pair}))}
    tree = _LevelTree(len(number))
    levels = []
    for entry, (low, high) in zip(entries, ends, strict=True):
        first, last = number[low], number[high]
        level = tree.highest(first, last, entry.role) + 1
        tree.add(first, last, entry.role, level)
        levels.append(level)
    return levels


class _LevelTree:
    """A segment tree: the highest level of the intervals that overlap one and have another role.

    Each vertex stands for a run of elementary intervals. `_whole` has the best of the intervals that
    were added to exactly that run, `_within` the best of those that touch any part of it. The best two
    of different roles are kept: one of them is the best that differs from a given role.
    """

    def __init__(self, places: int) -> None:
        self._size = 1 << max(places - 1, 0).bit_length()
        self._whole: list[dict[str, int]] = [{} for _ in range(2 * self._size)]
        self._within: list[dict[str, int]] = [{} for _ in range(2 * self._size)]

    def highest(self, first: int, last: int, role: str) -> int:
        """The highest level of intervals that overlap [first, last) and have another role; -1 for none."""
        best = -1
        for vertex in self._runs(first, last):
            best = max(best, _get_best_of_others(self._within[vertex], role))
            above = vertex >> 1
            while above:
                best = max(best, _get_best_of_others(self._whole[above], role))
                above >>= 1
        return best

    def add(self, first: int, last: int, role: str, level: int) -> None:
        """Add the interval [first, last)."""
        for vertex in self._runs(first, last):
            _keep(self._whole[vertex], role, level)
            above = vertex
            while above:
                _keep(self._within[above], role, level)
                above >>= 1

    def _runs(self, first: int, last: int) -> Iterator[int]:
        """The smallest set of vertices that covers [first, last) exactly."""
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


def _get_best_of_others(best: Mapping[str, int], role: str) -> int:
    return max((level for known, level in best.items() if known != role), default=-1)


def _keep(best: dict[str, int], role: str, level: int) -> None:
    if level > best.get(role, -1):
        best[role] = level
        if len(best) > 2:  # noqa: PLR2004  (one of two differs from any role)
            del best[min(best, key=lambda known: best[known])]
