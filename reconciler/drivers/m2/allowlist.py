"""The one order of an allowList: entries move where their order means nothing, and stay where it may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.core.endpoint import BadAddress
from reconciler.core.order import ordered
from reconciler.core.plain import encode
from reconciler.core.secret import reveal
from reconciler.drivers.m2.address import Span, span

_FIRST: Final = Span(0, 0, 0)


def span_of(entry: Any) -> Span | None:
    """The addresses an entry means; None where it cannot be read."""
    addr = entry.get("addr") if isinstance(entry, Mapping) else None
    try:
        return span(addr) if isinstance(addr, str) else None
    except BadAddress:
        return None


def in_order(entries: list[Any]) -> list[Any]:
    """Entries by address, but those that overlap and differ in role in the order they had.

    An entry that cannot be read may mean anything, so none moves across it. An entry that is there
    twice, with nothing between that its order could matter to, is there once.
    """
    spans = [span_of(entry) for entry in entries]
    keys = [encode(reveal(entry)) for entry in entries]
    rank = sorted(range(len(entries)), key=lambda index: (spans[index] or _FIRST, keys[index]))
    after: dict[str, list[str]] = {str(index): [] for index in rank}
    bound = False
    for earlier, later in _bound(entries, spans, rank):
        after[str(later)].append(str(earlier))
        bound = True
    order = [int(name) for name in ordered(after)] if bound else rank
    kept = [
        index
        for place, index in enumerate(order)
        if place == 0 or spans[index] is None or keys[order[place - 1]] != keys[index]
    ]
    return [entries[index] for index in kept]


def _bound(entries: list[Any], spans: list[Span | None], rank: list[int]) -> Iterator[tuple[int, int]]:
    """(earlier, later) of all pairs whose order can mean something, found in one sweep over addresses."""
    open_ones: list[tuple[int, Span]] = []
    for index in rank:
        here = spans[index]
        if here is None:
            others = (other for other in range(len(entries)) if other != index)
            yield from ((min(index, other), max(index, other)) for other in others)
            continue
        open_ones = [(other, there) for other, there in open_ones if there.overlaps(here)]
        for other, _ in open_ones:
            if entries[index].get("role") != entries[other].get("role"):
                yield min(index, other), max(index, other)
        open_ones.append((index, here))
