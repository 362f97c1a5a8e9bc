"""One page of Markdown for each code that the program puts in brackets: the file's name is the code.

Each page has a title, what the code means, why it matters, what to do, and how to set it aside.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_END = ".md"


@cache
def codes() -> tuple[str, ...]:
    """All codes that have a page, sorted."""
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_END) for name in names if name.endswith(_END)))


def page(code: str) -> str:
    """The page of a code, Markdown.

    Raises:
        FileNotFoundError: the code has none.
    """
    return (files(__name__) / f"{code}{_END}").read_text(encoding="utf-8")


def title(code: str) -> str:
    """The first line of a page, without its marks."""
    return page(code).partition("\n")[0].lstrip("# ").strip()
