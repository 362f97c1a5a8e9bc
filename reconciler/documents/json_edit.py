"""Changes single values in the text of a JSON file; every other character stays."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from reconciler.documents.edit import REMOVED, Edit
from reconciler.documents.json_parser import place

_DECODER: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_INDENT: Final = re.compile(r"\n([ \t]+)\S")


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The text after the edits, one after the other; it has to be JSON that `jsontext.read` takes."""
    for edit in edits:
        text = _edited(text, edit)
    return text


def _edited(text: str, edit: Edit) -> str:
    parts = [str(part) for part in edit.path]
    found, there = place(text, parts)
    if there and edit.value is REMOVED:
        return _without(text, found.key, _end(text, found.start))
    if there:
        end = _end(text, found.start)
        return text[: found.start] + _dumped(text, found.start, edit.value) + text[end:]
    return text if edit.value is REMOVED else _with(text, found.start, parts, edit.value)


def _without(text: str, start: int, end: int) -> str:
    """The text without the member or item that goes from `start` to `end`, and without one comma."""
    after = _behind(text, end)
    if text[after] == ",":
        return text[:start] + text[_behind(text, after + 1) :]
    before = len(text[:start].rstrip())
    if text[before - 1] == ",":
        return text[: len(text[: before - 1].rstrip())] + text[end:]
    return text[:before] + text[after:]


def _with(text: str, start: int, parts: list[str], value: Any) -> str:
    """The text with one more member or item at the end of the object or list nearest to a path."""
    depth = _depth(text, parts)
    for part in reversed(parts[depth + 1 :]):
        value = {part: value}
    key = f"{json.dumps(parts[depth], ensure_ascii=False)}: " if text[start] == "{" else ""
    close = _end(text, start) - 1
    last = len(text[:close].rstrip())
    first = _behind(text, start + 1)
    if first >= close:  # it is empty
        inner = _margin(text, start) + _unit(text)
        body = f"\n{inner}{key}{_indented(value, inner, _unit(text))}\n{_margin(text, start)}"
        return text[: start + 1] + body + text[close:]
    if "\n" not in text[start:first]:
        return f"{text[:last]}, {key}{json.dumps(value, ensure_ascii=False)}{text[last:]}"
    margin = _margin(text, first)
    return f"{text[:last]},\n{margin}{key}{_indented(value, margin, _unit(text))}{text[last:]}"


def _depth(text: str, parts: list[str]) -> int:
    """How many parts of a path are there."""
    return max(length for length in range(len(parts)) if place(text, parts[:length])[1])


def _dumped(text: str, start: int, value: Any) -> str:
    old, end = _DECODER.raw_decode(text, start)
    flat = isinstance(old, dict | list) and old and "\n" not in text[start:end]
    if flat or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return _indented(value, _margin(text, start), _unit(text))


def _indented(value: Any, margin: str, unit: str) -> str:
    return json.dumps(value, ensure_ascii=False, indent=unit).replace("\n", f"\n{margin}")


def _margin(text: str, offset: int) -> str:
    """The white space at the beginning of a line."""
    line = text[text.rfind("\n", 0, offset) + 1 :]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """What one level of the file is indented by."""
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _end(text: str, start: int) -> int:
    return _DECODER.raw_decode(text, start)[1]


def _behind(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    return found.end() if found else start
