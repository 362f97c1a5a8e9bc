"""What is to be changed in a JSON or YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


class _Removed:
    """The type of `REMOVED`."""

    def __repr__(self) -> str:
        return "REMOVED"


REMOVED: Final = _Removed()
"""In the place of a value: there is to be none."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One value to set or to remove.

    Args:
        path: keys and indices; the index behind a list's last one appends. Objects that are missing on the
            way are made.
        value: plain, or `REMOVED`.
    """

    path: tuple[str | int, ...]
    value: Any
