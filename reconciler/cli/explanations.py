"""The pages of all codes: those that every product shares, and each product's own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from reconciler import explanations
from reconciler.drivers.registry import DRIVERS, load_installed

_END = ".md"


def _folders() -> Iterator[Traversable]:
    """The shared pages first, so that no product is loaded for one of them."""
    yield files(explanations)
    table = [*DRIVERS]
    for kind in table:
        yield from _of(kind)
    for kind in load_installed():  # packages are looked through where nothing else has the page
        if kind not in table:
            yield from _of(kind)


def _of(kind: str) -> Iterator[Traversable]:
    if (folder := DRIVERS[kind].explanations()) is not None:
        yield folder


@cache
def list_codes() -> tuple[str, ...]:
    """All codes that have a page, sorted."""
    names = (entry.name for folder in _folders() for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_END) for name in names if name.endswith(_END)))


@cache
def read_page(code: str) -> str:
    """The page of a code, Markdown.

    Raises:
        FileNotFoundError: the code has none.
    """
    for folder in _folders():
        if (found := folder / f"{code}{_END}").is_file():
            return found.read_text(encoding="utf-8")
    raise FileNotFoundError(code)


def read_title(code: str) -> str:
    """The first line of a page, without its marks."""
    return read_page(code).partition("\n")[0].lstrip("# ").strip()
