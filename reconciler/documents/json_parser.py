"""Strict JSON: values at the speed of C; positions and problems only on demand.

The scanner in Python is some 30 times slower, and most files are right and never asked for a position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from reconciler.documents.json_scanner import scan_json
from reconciler.documents.json_stack import DEEPEST
from reconciler.documents.value_offsets import INDEX, ValueOffsets
from reconciler.errors import InputError
from reconciler.text.numbers import read_number, read_whole_number

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BLANK = re.compile(r"[ \t\n\r]*")
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


class _NeedsScan(ValueError):
    """The fast decoder met something that only the scanner can judge."""


def parse_json(name: str, text: str) -> Any:
    """The value of a text.

    Raises:
        InputError: it is no JSON, with all that is wrong with it.
    """
    if (_is_flat(text) or _is_flat(_TEXT.sub("", text))) and not _HALF_CHARACTER.search(text):
        try:
            return _DECODER.decode(text)
        except (ValueError, RecursionError):
            pass  # the scanner accepts the same texts, and explains the others
    scanned = scan_json(name, text)
    if scanned.problems:
        raise InputError(scanned.problems)
    return scanned.value


def locate_values(name: str, text: str) -> ValueOffsets:
    """The offsets of all values of a text that `parse_json` accepts."""
    return scan_json(name, text).offsets


def locate_value(text: str, path: Iterable[str]) -> tuple[ValueOffsets, bool]:
    """The offsets of one value of a text that `parse_json` accepts, like `ValueOffsets.nearest`.

    The C decoder skips what is before it, so a few positions cost a small part of `locate_values`.
    """
    start = _skip_blank(text, 0)
    found = ValueOffsets(start, start)
    for part in path:
        child = _find_child(text, found.start, part)
        if child is None:
            return found, False
        found = child
    return found, True


def _find_child(text: str, start: int, part: str) -> ValueOffsets | None:
    """The offsets of a member or item of the object or array that starts at an offset."""
    if text[start] not in "{[" or (text[start] == "[" and not INDEX.fullmatch(part)):
        return None
    index = 0
    at = _skip_blank(text, start + 1)
    while text[at] not in "}]":
        key, name = at, str(index)
        if text[start] == "{":
            name, at = _SKIPPER.raw_decode(text, at)
            at = _skip_blank(text, _skip_blank(text, at) + 1)
        if name == part:
            return ValueOffsets(at, key)
        _, at = _SKIPPER.raw_decode(text, at)
        at = _skip_blank(text, at)
        at, index = _skip_blank(text, at + 1) if text[at] == "," else at, index + 1
    return None


def _skip_blank(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    return found.end() if found else start


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NeedsScan
    return members


def _refuse_constant(words: str) -> NoReturn:
    raise _NeedsScan(words)


_SKIPPER = json.JSONDecoder()
_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object,
    parse_float=read_number,
    parse_int=read_whole_number,
    parse_constant=_refuse_constant,
)


def _is_flat(text: str) -> bool:
    """Whether the nesting is surely within `DEEPEST`; where it is not sure, the scanner decides."""
    # The C decoder would accept more levels, as many as Python's recursion limit allows at that moment.
    rest = text.encode().translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST // 2):  # each round takes away one level or two
        shorter = rest.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(rest):
            break
        rest = shorter
    return not rest
