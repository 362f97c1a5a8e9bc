"""Changes values in the text of a file, by the editor of the file's form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from reconciler.documents.document import YAML_SUFFIXES
from reconciler.documents.edit import Edit


def edited(name: str, text: str, edits: Sequence[Edit]) -> str:
    """The text of a file after the edits, one after the other; comments and the order of keys stay."""
    if PurePosixPath(name).suffix.lower() in YAML_SUFFIXES:
        from reconciler.documents import yaml_edit  # noqa: PLC0415  (loads a YAML writer)

        return yaml_edit.edited(text, edits)
    from reconciler.documents import json_edit  # noqa: PLC0415

    return json_edit.edited(text, edits)
