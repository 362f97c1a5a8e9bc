"""Strict JSON: values at the speed of C, and positions and repairs where somebody asks for them."""

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


class _Doubtful(ValueError):
    """The fast reader met something that the scanner has to look at."""


def parse_json(name: str, text: str) -> Any:
    """The value of a text.

    Raises:
        InputError: it is no JSON, with all that is wrong with it.
    """
    if (_flat(text) or _flat(_TEXT.sub("", text))) and not _HALF_CHARACTER.search(text):
        try:
            return _DECODER.decode(text)
        except (ValueError, RecursionError):
            pass  # the scanner takes the same texts, and tells what is wrong with the others
    scanned = scan_json(name, text)
    if scanned.problems:
        raise InputError(scanned.problems)
    return scanned.value


def locate_values(name: str, text: str) -> ValueOffsets:
    """Where the values of a text stand that `parse_json` takes."""
    return scan_json(name, text).place


def locate_value(text: str, path: Iterable[str]) -> tuple[ValueOffsets, bool]:
    """Where one value of a text stands that `parse_json` takes, like `ValueOffsets.nearest` for one value.

    What stands before it is skipped at the speed of C, so that a few places are had at a small part of
    what `locate_values` costs.
    """
    start = _behind_blank(text, 0)
    found = ValueOffsets(start, start)
    for part in path:
        child = _child(text, found.start, part)
        if child is None:
            return found, False
        found = child
    return found, True


def _child(text: str, start: int, part: str) -> ValueOffsets | None:
    """The place of a member or item of the object or array that starts at an offset."""
    if text[start] not in "{[" or (text[start] == "[" and not INDEX.fullmatch(part)):
        return None
    index = 0
    at = _behind_blank(text, start + 1)
    while text[at] not in "}]":
        key, name = at, str(index)
        if text[start] == "{":
            name, at = _SKIPPER.raw_decode(text, at)
            at = _behind_blank(text, _behind_blank(text, at) + 1)
        if name == part:
            return ValueOffsets(at, key)
        _, at = _SKIPPER.raw_decode(text, at)
        at = _behind_blank(text, at)
        at, index = _behind_blank(text, at + 1) if text[at] == "," else at, index + 1
    return None


def _behind_blank(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    return found.end() if found else start


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Doubtful
    return members


def _refuse_constant(words: str) -> NoReturn:
    raise _Doubtful(words)


_SKIPPER = json.JSONDecoder()
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=read_number,
    parse_int=read_whole_number,
    parse_constant=_refuse_constant,
)


def _flat(text: str) -> bool:
    """Whether brackets surely do not stand too deep within each other; a doubt is a no."""
    rest = text.encode().translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST // 2):  # each round takes away one level or two
        shorter = rest.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(rest):
            break
        rest = shorter
    return not rest
