"""Bounds how much a schema can make its judge do; pure.

Each schema that applies to one value is evaluated once for each way that leads to it, and a few lines of
`anyOf` with references can have a billion ways. So the ways are counted before anything is judged, and then
the work for each document: a running judge cannot be stopped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.desired.schemas.keywords import Reach

MOST_WAYS: Final = 1_000
"""Highest number of schemas, each counted once for each way to it, that may apply to one value."""

_MOST_STATES: Final = 5_000

_EXACT: Final = 12
"""Units that one comparison with a number takes."""

_CHARACTERS: Final = 10
"""Characters that a regular expression reads in a unit."""

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


@dataclass(slots=True)
class _State:
    """The schemas that apply to one value together, and the states of its members and items.

    Args:
        weight: the work of judging one such value, apart from what is in it.
        patterns: regular expressions among them, each of which reads a whole text.
        members: name -> of one member.
        other_members: of members with other names; None if nothing applies to them.
        items: index -> of one item.
        other_items: of items with other indexes; None if nothing applies to them.
    """

    weight: int
    patterns: int
    members: dict[str, _State] = field(default_factory=dict)
    other_members: _State | None = None
    items: dict[int, _State] = field(default_factory=dict)
    other_items: _State | None = None


class JudgeCost:
    """How much work it is to judge a document by a schema, counted without judging it.

    Args:
        root: the schema that is applied to the whole.
        list_edges: the schemas in one; those behind a reference are HERE.
        weigh: the own work of one schema, and its regular expressions.

    Raises:
        TooCostly: too many schemas may apply to one value, or one applies to itself without end.
    """

    def __init__(
        self, root: str, list_edges: Callable[[str], Edges], weigh: Callable[[str], tuple[int, int]]
    ) -> None:
        states: dict[frozenset[tuple[str, int]], _State] = {}
        waiting: list[tuple[_State, Mapping[str, int]]] = []

        def enter(start: Counter[str]) -> _State:
            key = frozenset(start.items())
            if key not in states:
                ways = _expand(start, list_edges)
                weights = [(weigh(place), count) for place, count in ways.items()]
                states[key] = _State(
                    sum(own * count for (own, _), count in weights),
                    sum(patterns * count for (_, patterns), count in weights),
                )
                waiting.append((states[key], ways))
            return states[key]

        self._start = enter(Counter({root: 1}))
        while waiting:
            state, ways = waiting.pop()
            for (reach, key), counts in _step(ways, list_edges).items():
                match reach:
                    case Reach.KEY:
                        state.members[key] = enter(counts)
                    case Reach.MEMBERS:
                        state.other_members = enter(counts)
                    case Reach.INDEX:
                        state.items[int(key)] = enter(counts)
                    case _:
                        state.other_items = enter(counts)
            if len(states) > _MOST_STATES:
                raise TooCostly(root, f"its schemas meet in more than {_MOST_STATES:,} combinations")

    def measure(self, value: Any, most: int) -> int:
        """The work of judging a value; counting ends above `most`."""
        total = 0
        waiting: list[tuple[Any, _State]] = [(value, self._start)]
        while waiting and total <= most:
            one, state = waiting.pop()
            total += state.weight
            if isinstance(one, str):
                total += state.patterns * len(one) // _CHARACTERS
            elif isinstance(one, dict):
                inner = ((item, state.members.get(key, state.other_members)) for key, item in one.items())
                waiting += [(item, each) for item, each in inner if each is not None]
            elif isinstance(one, list):
                pairs = ((item, state.items.get(at, state.other_items)) for at, item in enumerate(one))
                waiting += [(item, each) for item, each in pairs if each is not None]
        return total


def weigh_schema(schema: Any) -> tuple[int, int]:
    """The work of one schema for one value, apart from the schemas in it, and its regular expressions.

    A unit is what a simple keyword takes, some 300 ns. Texts of `enum` are looked up; everything else is
    compared one by one, and numbers by an exact comparison that takes ten times as long.
    """
    if not isinstance(schema, Mapping):
        return 1, 0
    listed = schema.get("enum", [])
    is_text = isinstance(listed, list) and all(isinstance(one, str) for one in listed)
    compared = [schema.get("const"), *([] if is_text or not isinstance(listed, list) else listed)]
    return 1 + _EXACT * (_count_values(compared) - 2), int("pattern" in schema)


def _count_values(value: Any) -> int:
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1
        waiting += one.values() if isinstance(one, Mapping) else one if isinstance(one, list) else ()
    return count


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


def _step(
    ways: Mapping[str, int], list_edges: Callable[[str], Edges]
) -> dict[tuple[Reach, str], Counter[str]]:
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
    found = {place: counts + general[place[0]] for place, counts in named.items()}
    others = {Reach.KEY: (Reach.MEMBERS, ""), Reach.INDEX: (Reach.ITEMS, "")}
    return found | {others[reach]: counts for reach, counts in general.items() if counts}
