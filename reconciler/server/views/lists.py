"""Lists that are shown page by page: what is asked for, and one page of the answer (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from reconciler.errors import UsageError
from reconciler.text.one_line import make_one_line

PAGE_SIZE: Final = 50
MOST_ON_PAGE: Final = 200
MOST_PAGES: Final = 100_000
LONGEST_SEARCH: Final = 200

T = TypeVar("T")


class Signal(StrEnum):
    """How urgent something is for a person; pages show it as a colour, with a sign and words beside it."""

    GOOD = "good"
    ACTIVE = "active"
    """Under way, or about to be changed."""
    ATTENTION = "attention"
    """A person may have to act, or waits on purpose."""
    PROBLEM = "problem"
    UNKNOWN = "unknown"


SIGNAL_ORDER: Final = {
    Signal.PROBLEM: 0,
    Signal.ATTENTION: 1,
    Signal.ACTIVE: 2,
    Signal.UNKNOWN: 3,
    Signal.GOOD: 4,
}
"""What is urgent comes first in lists."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which part of a list is asked for.

    Args:
        text: part of a name, in any case; empty for all.
        state: the state in words; empty for all.
        page: from 1.
        size: items on a page.
    """

    text: str = ""
    state: str = ""
    page: int = 1
    size: int = PAGE_SIZE

    def contains(self, *names: str) -> bool:
        """Whether one of some names has the text in it."""
        wanted = self.text.casefold()
        return not wanted or any(wanted in name.casefold() for name in names)


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """One page of a list.

    Args:
        items: on this page.
        page: its number, from 1.
        pages: how many there are, at least 1.
        total: items on all pages.
    """

    items: tuple[T, ...]
    page: int = 1
    pages: int = 1
    total: int = 0


def read_list_query(parameters: Mapping[str, str]) -> ListQuery:
    """What the parameters `q`, `state`, `page` and `size` of a request ask for.

    Raises:
        UsageError: a number is none, or out of bounds.
    """
    return ListQuery(
        make_one_line(parameters.get("q", ""), LONGEST_SEARCH),
        make_one_line(parameters.get("state", ""), LONGEST_SEARCH),
        _read_number(parameters, "page", 1, MOST_PAGES),
        _read_number(parameters, "size", PAGE_SIZE, MOST_ON_PAGE),
    )


def _read_number(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 0 < int(text) <= most):
        raise UsageError(f"`{name}` must be a whole number from 1 to {most:,}", remedy="correct the address")
    return int(text)


def take_page(items: Iterable[T], query: ListQuery, show: Callable[[T], T] | None = None) -> ListPage[T]:
    """One page of a list; the last page if there are fewer than asked for.

    Args:
        items: all of them, in order.
        query: which page.
        show: completes an item that is shown; None to take it as it is.
    """
    found = list(items)
    pages = max(1, -(-len(found) // query.size))
    page = min(query.page, pages)
    shown = found[(page - 1) * query.size : page * query.size]
    return ListPage(tuple(map(show, shown) if show else shown), page, pages, len(found))
