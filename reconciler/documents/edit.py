"""A change of a JSON or YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


class _Removed:
    """The type of `REMOVED`."""

    def __repr__(self) -> str:
        return "REMOVED"


REMOVED: Final = _Removed()
"""In place of a value: remove it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One value to set or to remove.

    Args:
        path: keys and indices; the index after a list's last one appends. Missing objects on it are made.
        value: plain, or `REMOVED`.
    """

    path: tuple[str | int, ...]
    value: Any
