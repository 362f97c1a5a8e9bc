"""What is to be changed in a file of the desired state, and the way to the editor of the file's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.desired.document import YAML_SUFFIXES


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


def edited(name: str, text: str, edits: Sequence[Edit]) -> str:
    """The text of a file after the edits, one after the other; comments and the order of keys stay."""
    if PurePosixPath(name).suffix.lower() in YAML_SUFFIXES:
        from reconciler.desired import yamledit  # noqa: PLC0415  (loads a YAML writer)

        return yamledit.edited(text, edits)
    from reconciler.desired import jsonedit  # noqa: PLC0415

    return jsonedit.edited(text, edits)
