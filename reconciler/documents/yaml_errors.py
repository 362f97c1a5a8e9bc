"""What libyaml says of broken YAML, in plain words with a repair."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import yaml

from reconciler.documents.lines import Lines, quoted


class Explained(NamedTuple):
    """Where YAML breaks and what to do; the arguments of a complaint."""

    offset: int
    code: str
    message: str
    remedy: str


class _Break(NamedTuple):
    """Where libyaml gives up, and where what it was reading began."""

    offset: int
    began: int
    text: str


def explain(error: Exception, text: str) -> Explained:
    """The place and the repair of the one error at which the parser gives up."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Explained(0, "yaml", f"the YAML cannot be read: {error}", "correct it")
    offset = min(error.problem_mark.index, len(text))
    began = offset if error.context_mark is None else min(error.context_mark.index, len(text))
    problem = str(error.problem)
    for words, look in _LOOKS:
        if words in problem:
            return look(_Break(offset, began, text))
    for words, code, message, remedy in _KNOWN:
        if words in problem:
            return Explained(offset, code, message, remedy)
    remedy = "correct the line, or the one before"
    return Explained(offset, "yaml", f"the YAML breaks here: {problem}", remedy)


def _odd_start(at: _Break) -> Explained:
    char = at.text[at.offset : at.offset + 1]
    if char == "\t":
        return Explained(at.offset, "tab", "a tab stands in the indentation", "indent with blanks")
    remedy = "put the text that starts with it in quotes"
    return Explained(at.offset, "unexpected", f"nothing in YAML starts with {quoted(char)}", remedy)


def _unterminated(at: _Break) -> Explained:
    message = "the text that starts here is never closed"
    return Explained(at.began, "unterminated-text", message, "close its quotes")


def _no_name(at: _Break) -> Explained:
    if at.text[: at.offset].rstrip(" \t").endswith(("'", '"')):
        remedy = 'write a quote within single quotes twice, and within double quotes as `\\"`'
        message = "something stands behind the closing quote of a text"
        return Explained(at.offset, "stray-quote", message, remedy)
    remedy = "check its indentation, and quotes and commas before it"
    message = "the line does not fit the mapping it stands in"
    return Explained(at.offset, "indentation", message, remedy)


def _open_bracket(at: _Break) -> Explained:
    """A comma or a closing bracket is missing: before a word on the line of the opening one, or at all."""
    offset, began, text = at
    opener = text[began : began + 1]
    closer = "}" if opener == "{" else "]"
    lines = Lines("", text)
    start, place = lines.at(began), lines.at(offset)
    if text[offset : offset + 1] in {"}", "]"}:
        opened = f"the `{opener}` of {start.line}:{start.column}"
        message = f"`{text[offset]}` stands here while {opened} is open"
        return Explained(offset, "wrong-bracket", message, f"put `{closer}` before it or in its place")
    if place.line == start.line and offset < len(text):
        if text[offset] == ":":  # libyaml takes the name for the end of the value before it
            offset = began + len(text[began:offset].rstrip().rpartition(" ")[0]) + 1
        word = (text[offset : offset + 40].split() or [""])[0]
        message = f"neither `,` nor `{closer}` stands before {quoted(word)}"
        return Explained(offset, "missing-comma", message, "put `,` before it")
    remedy = f"put `{closer}` before {place.line}:{place.column}, or `,` between its members"
    return Explained(began, "unclosed", f"the `{opener}` here is not closed", remedy)


_LOOKS: tuple[tuple[str, Callable[[_Break], Explained]], ...] = (
    ("cannot start any token", _odd_start),
    ("end of stream", _unterminated),
    ("document indicator", _unterminated),
    ("did not find expected ',' or", _open_bracket),
    ("did not find expected key", _no_name),
)
_KNOWN = (
    (
        "mapping values are not allowed",
        "unexpected-colon",
        "a colon and a blank stand here within a value",
        "put the value in quotes, or check the indentation and the line before",
    ),
    ("tab", "tab", "a tab stands in the indentation", "indent with blanks"),
    (
        "could not find expected ':'",
        "missing-colon",
        "the line before has a name without a colon",
        "write `name: value`",
    ),
    (
        "expected '-' indicator",
        "indentation",
        "the line does not fit the list it stands in",
        "begin it with `- `, or check its indentation",
    ),
    (
        "unknown escape character",
        "bad-escape",
        "the escape means nothing in YAML text",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    ("hexdecimal number", "bad-escape", "the escape lacks hexadecimal digits", "write all of its digits"),
    (
        "Unicode character escape",
        "bad-escape",
        "the escape names no character",
        "write the character itself",
    ),
    ("undefined tag handle", "yaml-tag", "the tag is none that is read here", "remove it"),
    (
        "expected node content",
        "missing-value",
        "a value belongs here",
        "write one, or put the text in quotes",
    ),
    (
        "expected alphabetic or numeric character",
        "missing-value",
        "a name belongs behind `*` or `&`",
        "put text that starts with one of these in quotes",
    ),
    (
        "expected <document start>",
        "after-the-end",
        "something stands behind the end of the document",
        "check the indentation from here on",
    ),
)
