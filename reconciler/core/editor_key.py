"""What a settings file says to editors alone: its `$schema`, which no node gets and no comparison sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "$schema"
"""Key at the top of a document by which an editor finds the schema."""


def strip_editor_key(document: Any) -> Any:
    """A document without what it says to editors; the same object where it says nothing to them."""
    if not isinstance(document, Mapping) or KEY not in document:
        return document
    return {key: value for key, value in document.items() if key != KEY}
