"""JSON with the place of every value, and for text that is no JSON all that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reconciler.diagnostic import Diagnostic
from reconciler.documents.json_repair import repair_token
from reconciler.documents.json_stack import ParserStack, ParserState
from reconciler.documents.json_tokens import Token
from reconciler.documents.text_lines import BYTE_ORDER_MARK
from reconciler.documents.value_offsets import ValueOffsets

_VALUES = frozenset({"{", "[", "string", "scalar"})
_VALUE_STATES = frozenset({ParserState.VALUE, ParserState.FIRST_ITEM})
_NAME_STATES = frozenset({ParserState.NAME, ParserState.FIRST_NAME})


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a text says, and where; without problems `value` is exactly what it says."""

    value: Any
    place: ValueOffsets
    problems: tuple[Diagnostic, ...]


def scan_json(name: str, text: str) -> ScanResult:
    """Read a text, whatever it holds; one broken place is one problem."""
    stack = ParserStack(name, text)
    if text.startswith(BYTE_ORDER_MARK):
        message = "the file starts with a byte order mark"
        stack.complaints.add(
            0, "byte-order-mark", message, "save the file as UTF-8 without a byte order mark"
        )
        stack.lexer.offset = 1
    while not stack.finished and not stack.complaints.full:
        token = stack.lexer.next(name=stack.state not in _VALUE_STATES)
        while not _fits(stack, token) and repair_token(stack, token):
            pass
    return ScanResult(stack.value, stack.place, tuple(stack.complaints.problems))


def _fits(stack: ParserStack, token: Token) -> bool:
    """Take a word that belongs where it stands; False where it does not."""
    kind, state = token.kind, stack.state
    if state in _VALUE_STATES and kind in _VALUES:
        stack.put(token)
    elif state is ParserState.AFTER and kind == ",":
        stack.comma, stack.loose = token.start, False
        stack.state = ParserState.NAME if stack.frames[-1].opener == "{" else ParserState.VALUE
    elif state is ParserState.COLON and kind == ":":
        stack.state = ParserState.VALUE
    elif state in _NAME_STATES and kind == "string" and not token.broken:
        stack.named(token)
    elif (
        state in {ParserState.AFTER, ParserState.FIRST_ITEM, ParserState.FIRST_NAME}
        and kind in {"}", "]"}
        and kind == stack.frames[-1].closer
    ):
        stack.close(token)
    elif state is ParserState.DONE and kind == "end":
        stack.finished = True
    else:
        return False
    return True
