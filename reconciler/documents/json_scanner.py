"""JSON with the offsets of every value, and all problems of a text that is not JSON."""

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
    while not stack.finished and not stack.problem_list.full:
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
        stack.comma, stack.is_comma_optional = token.start, False
        stack.state = ParserState.NAME if stack.frames[-1].opener == "{" else ParserState.VALUE
    elif state is ParserState.COLON and kind == ":":
        stack.state = ParserState.VALUE
    elif state in _NAME_STATES and kind == "string" and not token.broken:
        stack.open_member(token)
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
