"""Explains the errors of libyaml, with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import yaml

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.text_lines import LineIndex
from reconciler.text.one_line import quote_text

Explained: TypeAlias = tuple[int, Diagnostic]
"""The offset of the error, and its diagnostic."""


class _YamlBreak(NamedTuple):
    """Where libyaml stops, and where the value began that it was reading."""

    offset: int
    began: int
    text: str
    lines: LineIndex


def explain_yaml_error(error: Exception, lines: LineIndex, text: str) -> Explained:
    """The position and remedy of the one error at which the parser stops."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return (0, Diagnostic(Severity.ERROR, "yaml", f"the YAML cannot be read: {error}", "correct it"))
    offset = min(error.problem_mark.index, len(text))
    began = offset if error.context_mark is None else min(error.context_mark.index, len(text))
    problem = str(error.problem)
    for words, look in _EXPLAINERS:
        if words in problem:
            return look(_YamlBreak(offset, began, text, lines))
    for words, code, message, remedy in _KNOWN:
        if words in problem:
            return (offset, Diagnostic(Severity.ERROR, code, message, remedy))
    remedy = "correct the line, or the one before"
    return (offset, Diagnostic(Severity.ERROR, "yaml", f"invalid YAML: {problem}", remedy))


def _explain_start(at: _YamlBreak) -> Explained:
    char = at.text[at.offset : at.offset + 1]
    if char == "\t":
        return (
            at.offset,
            Diagnostic(Severity.ERROR, "tab", "the indentation contains a tab", "indent with spaces"),
        )
    remedy = "put the text that starts with it in quotes"
    return (
        at.offset,
        Diagnostic(Severity.ERROR, "unexpected", f"YAML does not allow {quote_text(char)} here", remedy),
    )


def _explain_unterminated(at: _YamlBreak) -> Explained:
    message = "the text that starts here has no closing quote"
    return (at.began, Diagnostic(Severity.ERROR, "unterminated-text", message, "close its quotes"))


def _explain_no_name(at: _YamlBreak) -> Explained:
    if at.text[: at.offset].rstrip(" \t").endswith(("'", '"')):
        remedy = 'write a quote within single quotes twice, and within double quotes as `\\"`'
        message = "unexpected content after a closing quote"
        return (at.offset, Diagnostic(Severity.ERROR, "stray-quote", message, remedy))
    remedy = "check its indentation, and quotes and commas before it"
    message = "the line does not fit the mapping around it"
    return (at.offset, Diagnostic(Severity.ERROR, "indentation", message, remedy))


def _explain_bracket(at: _YamlBreak) -> Explained:
    """A comma or a closing bracket is missing: before a word on the line of the opening one, or at all."""
    offset, began, text, lines = at
    opener = text[began : began + 1]
    closer = "}" if opener == "{" else "]"
    start, position = lines.at(began), lines.at(offset)
    if text[offset : offset + 1] in {"}", "]"}:
        opened = f"the `{opener}` at {start.line}:{start.column}"
        message = f"unexpected `{text[offset]}`: {opened} is still open"
        return (
            offset,
            Diagnostic(
                Severity.ERROR,
                "wrong-bracket",
                message,
                f"put `{closer}` before it, or replace it",
                related=(start,),
            ),
        )
    if position.line == start.line and offset < len(text):
        if text[offset] == ":":  # libyaml takes the name for the end of the value before it
            offset = began + len(text[began:offset].rstrip().rpartition(" ")[0]) + 1
        word = (text[offset : offset + 40].split() or [""])[0]
        message = f"missing `,` or `{closer}` before {quote_text(word)}"
        return (offset, Diagnostic(Severity.ERROR, "missing-comma", message, "put `,` before it"))
    remedy = f"put `{closer}` before {position.line}:{position.column}, or `,` between its members"
    return (
        began,
        Diagnostic(Severity.ERROR, "unclosed", f"this `{opener}` is not closed", remedy, related=(position,)),
    )


_EXPLAINERS: tuple[tuple[str, Callable[[_YamlBreak], Explained]], ...] = (
    ("cannot start any token", _explain_start),
    ("end of stream", _explain_unterminated),
    ("document indicator", _explain_unterminated),
    ("did not find expected ',' or", _explain_bracket),
    ("did not find expected key", _explain_no_name),
)
_KNOWN = (
    (
        "mapping values are not allowed",
        "unexpected-colon",
        "the value contains a colon and a space",
        "put the value in quotes, or check the indentation and the line before",
    ),
    ("tab", "tab", "the indentation contains a tab", "indent with spaces"),
    (
        "could not find expected ':'",
        "missing-colon",
        "the line before has a name without a colon",
        "write `name: value`",
    ),
    (
        "expected '-' indicator",
        "indentation",
        "the line does not fit the list around it",
        "begin it with `- `, or check its indentation",
    ),
    (
        "unknown escape character",
        "bad-escape",
        "unknown escape sequence",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (
        "hexdecimal number",
        "bad-escape",
        "the escape sequence lacks hexadecimal digits",
        "write all of its digits",
    ),
    (
        "Unicode character escape",
        "bad-escape",
        "the escape sequence names no character",
        "write the character itself",
    ),
    ("undefined tag handle", "yaml-tag", "unsupported tag", "remove it"),
    (
        "expected node content",
        "missing-value",
        "missing value",
        "write one, or put the text in quotes",
    ),
    (
        "expected alphabetic or numeric character",
        "missing-value",
        "missing name after `*` or `&`",
        "put text that starts with one of these in quotes",
    ),
    (
        "expected <document start>",
        "after-the-end",
        "unexpected content after the end of the document",
        "check the indentation from here on",
    ),
)
