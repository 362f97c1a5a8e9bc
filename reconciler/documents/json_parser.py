"""Strict JSON: values at the speed of C; positions and problems only on demand.

The scanner in Python is some 30 times slower, and most files are right and never asked for a position. It
gives the offsets of every value, and all problems of a text that is not JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from reconciler.diagnostic import Diagnostic
from reconciler.documents.json_repair import repair_token
from reconciler.documents.json_stack import DEEPEST, ParserStack, ParserState
from reconciler.documents.json_tokens import Token, skip_blank
from reconciler.documents.text_lines import BYTE_ORDER_MARK
from reconciler.documents.value_offsets import INDEX, ValueOffsets
from reconciler.errors import InputError
from reconciler.text.numbers import read_number, read_whole_number

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
# The C decoder accepts half of a surrogate pair, which cannot be written as UTF-8: the scanner refuses it.
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
_VALUES = frozenset({"{", "[", "string", "scalar"})
_VALUE_STATES = frozenset({ParserState.VALUE, ParserState.FIRST_ITEM})
_NAME_STATES = frozenset({ParserState.NAME, ParserState.FIRST_NAME})


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
    start = skip_blank(text, 0)
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
    at = skip_blank(text, start + 1)
    while text[at] not in "}]":
        key, name = at, str(index)
        if text[start] == "{":
            name, at = _SKIPPER.raw_decode(text, at)
            at = skip_blank(text, skip_blank(text, at) + 1)
        if name == part:
            return ValueOffsets(at, key)
        _, at = _SKIPPER.raw_decode(text, at)
        at = skip_blank(text, at)
        at, index = skip_blank(text, at + 1) if text[at] == "," else at, index + 1
    return None


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NeedsScan
    return members


def _refuse_constant(words: str) -> NoReturn:
    raise _NeedsScan(words)


_SKIPPER = json.JSONDecoder()
# Alone, the C decoder keeps the last of two equal names, rounds numbers and accepts NaN.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object,
    parse_float=read_number,
    parse_int=read_whole_number,
    parse_constant=_refuse_constant,
)


def _is_flat(text: str) -> bool:
    """Whether the nesting is surely within `DEEPEST`; if not, the scanner decides."""
    # The C decoder would accept more levels, as many as Python's recursion limit allows at that moment.
    rest = text.encode().translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST // 2):  # each round takes away one level or two
        shorter = rest.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(rest):
            break
        rest = shorter
    return not rest


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The value of a text and its offsets; with problems, the value is only a guess."""

    value: Any
    offsets: ValueOffsets
    problems: tuple[Diagnostic, ...]


def scan_json(name: str, text: str) -> ScanResult:
    """Read any text; one broken place gives one problem."""
    stack = ParserStack(name, text)
    if text.startswith(BYTE_ORDER_MARK):
        message = "the file starts with a byte order mark"
        stack.problem_list.add(
            0, "byte-order-mark", message, "save the file as UTF-8 without a byte order mark"
        )
        stack.lexer.offset = 1
    while not stack.is_finished and not stack.problem_list.is_full:
        token = stack.lexer.next(name=stack.state not in _VALUE_STATES)
        while not _accept_token(stack, token) and repair_token(stack, token):
            pass
    return ScanResult(stack.value, stack.offsets, tuple(stack.problem_list.problems))


def _accept_token(stack: ParserStack, token: Token) -> bool:
    """Take a token that is allowed here; False if it is not."""
    kind, state = token.kind, stack.state
    if state in _VALUE_STATES and kind in _VALUES:
        stack.put(token)
    elif state is ParserState.AFTER and kind == ",":
        stack.take_comma(token)
    elif state is ParserState.COLON and kind == ":":
        stack.state = ParserState.VALUE
    elif state in _NAME_STATES and kind == "string" and not token.is_broken:
        stack.open_member(token)
    elif (
        state in {ParserState.AFTER, ParserState.FIRST_ITEM, ParserState.FIRST_NAME}
        and kind in {"}", "]"}
        and kind == stack.frames[-1].closer
    ):
        stack.close(token)
    elif state is ParserState.DONE and kind == "end":
        stack.is_finished = True
    else:
        return False
    return True
