"""The explanation pages of all codes: pages for all products, and each product's own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from reconciler import explanations
from reconciler.drivers.registry import DRIVERS, load_installed

_SUFFIX = ".md"


def _folders() -> Iterator[Traversable]:
    # The shared pages first, so that no product is loaded for one of them; installed packages last, because
    # finding them takes longest.
    yield files(explanations)
    table = [*DRIVERS]
    yield from filter(None, (DRIVERS[kind].explanations() for kind in table))
    more = [kind for kind in load_installed() if kind not in table]
    yield from filter(None, (DRIVERS[kind].explanations() for kind in more))


@cache
def list_codes() -> tuple[str, ...]:
    """All codes that have a page, sorted."""
    names = (entry.name for folder in _folders() for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


@cache
def read_page(code: str) -> str:
    """The page of a code, as Markdown.

    Raises:
        FileNotFoundError: the code has no page.
    """
    for folder in _folders():
        if (found := folder / f"{code}{_SUFFIX}").is_file():
            return found.read_text(encoding="utf-8")
    raise FileNotFoundError(code)


def read_title(code: str) -> str:
    """The title of a code's page."""
    return read_page(code).partition("\n")[0].lstrip("# ").strip()
