"""Names of many nodes in a sentence, and sentences about one node made true for many; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeVar

from reconciler.text.one_line import clean_line

EACH_NODE: Final = "each node"
"""Stands for the name of the node in a sentence that is true for several."""

IN_COMMAND: Final = "NODE"
"""Stands for it in a command or another quoted text: nobody may type "each node"."""

ANY_ADDRESS: Final = "ADDRESS"
"""Stands for the host and port of the node, in a URL or alone."""

_AUTHORITY: Final = re.compile(
    r"\b(https?://)[^\s/\"'()]+|(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}|\[[\da-fA-F:.]+\]):\d{1,5}\b"
)

_T = TypeVar("_T")
_RUN = 4
_PIECES = 6
_NUMBER = re.compile(r"([0-9]{1,18})")
_WORD = re.compile(r"[\w.@-]+")
_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)


def format_node_names(nodes: Sequence[str], *, noun: str = "nodes", full: bool = False) -> str:
    """Node names in a short form, with ranges for consecutive numbers.

    Args:
        nodes: at least one.
        noun: what they are, if they are no nodes.
        full: name every one.
    """
    names = [clean_line(node) for node in nodes]
    if len(nodes) == 1:
        return names[0]
    pieces = names if full else list(_find_ranges(names))
    most = len(pieces) if full else _PIECES
    rest = " …" if len(pieces) > most else ""
    return f"{', '.join(pieces[:most])}{rest} ({len(nodes):,} {noun})"


def make_natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """The sort key by which n2 comes before n10."""
    parts = _NUMBER.split(name)
    return tuple((int(part) if index % 2 else 0, part) for index, part in enumerate(parts))


def generalise_sentence(text: str, node: str, each: str = EACH_NODE) -> str:
    """A sentence about one node as a sentence about each: its name is replaced by `each`.

    Within backquotes it is replaced by `NODE`. A name of digits alone counts there and at the beginning only:
    elsewhere it may be a figure.
    """
    if not node or node not in text:
        return clean_line(text)

    # Whole words only, and a full stop at the end is no part of a name: `edge-1` must not match in `edge-10`.
    def replace(word: re.Match[str]) -> str:
        name = word.group().rstrip(".")
        if name != node:
            return word.group()
        is_quoted = text.count("`", 0, word.start()) % 2 == 1
        if name.isdigit() and word.start() and not is_quoted:
            return word.group()
        return f"{IN_COMMAND if is_quoted else each}{word.group()[len(name) :]}"

    return clean_line(_WORD.sub(replace, text))


def generalise_urls(text: str) -> str:
    """A sentence without the hosts and ports of URLs and addresses, so that it is the same for many nodes."""
    return _AUTHORITY.sub(lambda found: f"{found[1] or ''}{ANY_ADDRESS}", text)


def merge_urls(texts: Sequence[str]) -> str:
    """One sentence for several that are equal but for hosts and ports: what all have in common stays."""
    found = [[match[0] for match in _AUTHORITY.finditer(text)] for text in texts]
    common = [set(each) for each in zip(*found, strict=True)]
    places = iter(common)

    def choose(match: re.Match[str]) -> str:
        return match[0] if len(next(places)) == 1 else f"{match[1] or ''}{ANY_ADDRESS}"

    return _AUTHORITY.sub(choose, texts[0])


def group_by_key(items: Iterable[_T], key: Callable[[_T], Hashable]) -> list[tuple[_T, ...]]:
    """Items with the same key together; the groups are in the order of their first items."""
    found: dict[Hashable, list[_T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return [tuple(group) for group in found.values()]


def _find_ranges(nodes: Sequence[str]) -> Iterator[str]:
    start = 0
    breaks = [index + 1 for index, (one, two) in enumerate(pairwise(nodes)) if not _is_next_name(one, two)]
    for end in [*breaks, len(nodes)]:
        if end - start >= _RUN:
            yield f"{nodes[start]} … {nodes[end - 1]}"
        else:
            yield from nodes[start:end]
        start = end


def _is_next_name(one: str, two: str) -> bool:
    match = _LAST_NUMBER.match(one)
    if match is None:
        return False
    head, number, tail = match.groups()
    return two == f"{head}{int(number) + 1:0{len(number)}d}{tail}"
