"""Bounds how much a schema can make its judge do; pure.

Each schema that applies to one value is evaluated once for each way that leads to it, and a few lines of
`anyOf` with references can have a billion ways. So the ways are counted before anything is judged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from reconciler.desired.schemas.keywords import Reach

MOST_WAYS: Final = 1_000
"""Highest number of schemas, each counted once for each way to it, that may apply to one value."""

_MOST_STATES: Final = 5_000

Edges = tuple[tuple[Reach, str, str], ...]
"""(reach, key, the schema there) of the schemas in a schema, each named by its place."""


class TooCostly(ValueError):
    """A schema could keep its judge busy without end.

    Args:
        place: the schema at which this shows.
    """

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


def check_cost(root: str, list_edges: Callable[[str], Edges]) -> None:
    """Follow a schema to all kinds of places that an instance can have.

    Args:
        root: the schema that is applied to the whole.
        list_edges: the schemas in one; those behind a reference are HERE.

    Raises:
        TooCostly: too many schemas may apply to one value, or one applies to itself without end.
    """
    seen: set[frozenset[tuple[str, int]]] = set()
    waiting: list[Counter[str]] = [Counter({root: 1})]
    while waiting:
        ways = _expand(waiting.pop(), list_edges)
        for following in _step(ways, list_edges):
            state = frozenset(following.items())
            if state not in seen:
                seen.add(state)
                waiting.append(following)
        if len(seen) > _MOST_STATES:
            raise TooCostly(root, f"its schemas meet in more than {_MOST_STATES:,} combinations")


def _expand(start: Counter[str], list_edges: Callable[[str], Edges]) -> dict[str, int]:
    """Every schema that applies to a value -> in how many ways, from those that do by themselves."""
    order = _sort_dependent(start, list_edges)
    ways: Counter[str] = Counter(start)
    for place in order:
        for reach, _, inner in list_edges(place):
            if reach is Reach.HERE:
                ways[inner] += ways[place]
        if ways[place] > MOST_WAYS:
            raise TooCostly(place, f"more than {MOST_WAYS:,} ways of the schema lead to it for one value")
    if sum(ways.values()) > MOST_WAYS:
        most = max(ways, key=lambda place: (ways[place], place))
        raise TooCostly(most, f"more than {MOST_WAYS:,} schemas apply to one value")
    return dict(ways)


def _sort_dependent(start: Mapping[str, int], list_edges: Callable[[str], Edges]) -> list[str]:
    """Schemas that apply to one value, each before those in it."""
    found: list[str] = []
    done: set[str] = set()
    for first in start:
        open_: list[tuple[str, list[str]]] = []
        on_way: set[str] = set()

        def enter(place: str, open_: list[tuple[str, list[str]]] = open_, on_way: set[str] = on_way) -> None:
            on_way.add(place)
            open_.append((place, [inner for reach, _, inner in list_edges(place) if reach is Reach.HERE]))

        if first not in done:
            enter(first)
        while open_:
            place, rest = open_[-1]
            if not rest:
                open_.pop()
                on_way.discard(place)
                done.add(place)
                found.append(place)
                continue
            inner = rest.pop()
            if inner in on_way:
                raise TooCostly(inner, "it applies to itself, for the same value, without end")
            if inner not in done:
                enter(inner)
    return found[::-1]


def _step(ways: Mapping[str, int], list_edges: Callable[[str], Edges]) -> list[Counter[str]]:
    """What applies to the members and items of a value: of each name, and of those without a name."""
    named: dict[tuple[Reach, str], Counter[str]] = defaultdict(Counter)
    general: dict[Reach, Counter[str]] = {Reach.KEY: Counter(), Reach.INDEX: Counter()}
    for place, count in ways.items():
        for reach, key, inner in list_edges(place):
            if reach in general:
                named[reach, key][inner] += count
            elif reach is Reach.MEMBERS:
                general[Reach.KEY][inner] += count
            elif reach is Reach.ITEMS:
                general[Reach.INDEX][inner] += count
    found = [counts + general[reach] for (reach, _), counts in named.items()]
    return [*found, *(counts for counts in general.values() if counts)]
