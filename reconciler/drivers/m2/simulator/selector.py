"""The paths behind `/get/setting`: `.env`, `.hosting[example.com]`, `[0]`, and what they select."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"\.([^.\[\]]+)|\[(?:name=)?([^\[\]]+)\]")


class SelectorMiss(LookupError):
    """The setting has nothing there."""


def parse_selector(text: str) -> list[tuple[str, str]] | None:
    """A selector as (key, "") and ("", index) in turn; None where it cannot be read.

    A selector that begins with an index means `hosting`.
    """
    found: list[tuple[str, str]] = [("hosting", "")] if text.startswith("[") else []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            return None
        found.append((match.group(1) or "", match.group(2) or ""))
        place = match.end()
    return found


def select_value(document: Mapping[str, Any], path: list[tuple[str, str]]) -> Any:
    """The value at a path; an index is a number or the `name` of an item.

    Raises:
        Missing: there is none.
    """
    value: Any = document
    for key, index in path:
        if key and isinstance(value, Mapping) and key in value:
            value = value[key]
        elif index and isinstance(value, list):
            value = _item(value, index)
        else:
            raise SelectorMiss(key or index)
    return value


def _item(items: list[Any], index: str) -> Any:
    if index.isdigit() and int(index) < len(items):
        return items[int(index)]
    for item in items:
        if isinstance(item, Mapping) and item.get("name") == index:
            return item
    raise SelectorMiss(index)
