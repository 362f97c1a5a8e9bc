"""Explains the errors of libyaml, with a remedy."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from reconciler.documents.problem_list import ProblemList
from reconciler.text.one_line import quote_text


def report_yaml_error(error: Exception, problem_list: ProblemList) -> None:
    """Add the one error at which the parser stops, with its position and a remedy."""
    text = problem_list.text
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        problem_list.add(0, "yaml", f"the YAML cannot be read: {error}", "correct it")
        return
    offset = min(error.problem_mark.index, len(text))
    began = offset if error.context_mark is None else min(error.context_mark.index, len(text))
    problem = str(error.problem)
    for words, report in _REPORTERS:
        if words in problem:
            report(problem_list, offset, began)
            return
    for words, code, message, remedy in _KNOWN:
        if words in problem:
            problem_list.add(offset, code, message, remedy)
            return
    problem_list.add(offset, "yaml", f"invalid YAML: {problem}", "correct the line, or the one before")


def _report_start(problem_list: ProblemList, offset: int, _began: int) -> None:
    char = problem_list.text[offset : offset + 1]
    if char == "\t":
        problem_list.add(offset, "tab", "the indentation contains a tab", "indent with spaces")
        return
    remedy = "put the text that starts with it in quotes"
    problem_list.add(offset, "unexpected", f"YAML does not allow {quote_text(char)} here", remedy)


def _report_unterminated(problem_list: ProblemList, _offset: int, began: int) -> None:
    message = "the text that starts here has no closing quote"
    problem_list.add(began, "unterminated-text", message, "close its quotes")


def _report_no_name(problem_list: ProblemList, offset: int, _began: int) -> None:
    if problem_list.text[:offset].rstrip(" \t").endswith(("'", '"')):
        remedy = 'write a quote within single quotes twice, and within double quotes as `\\"`'
        problem_list.add(offset, "stray-quote", "unexpected content after a closing quote", remedy)
        return
    remedy = "check its indentation, and quotes and commas before it"
    problem_list.add(offset, "indentation", "the line does not fit the mapping around it", remedy)


def _report_bracket(problem_list: ProblemList, offset: int, began: int) -> None:
    """A comma or a closing bracket is missing: before a word on the line of the opening one, or at all."""
    text, lines = problem_list.text, problem_list.lines
    opener = text[began : began + 1]
    closer = "}" if opener == "{" else "]"
    start, position = lines.at(began), lines.at(offset)
    if text[offset : offset + 1] in {"}", "]"}:
        opened = f"the `{opener}` at {start.line}:{start.column}"
        message = f"unexpected `{text[offset]}`: {opened} is still open"
        remedy = f"put `{closer}` before it, or replace it"
        problem_list.add(offset, "wrong-bracket", message, remedy, related=start)
    elif position.line == start.line and offset < len(text):
        if text[offset] == ":":  # libyaml takes the name for the end of the value before it
            offset = began + len(text[began:offset].rstrip().rpartition(" ")[0]) + 1
        word = (text[offset : offset + 40].split() or [""])[0]
        message = f"missing `,` or `{closer}` before {quote_text(word)}"
        problem_list.add(offset, "missing-comma", message, "put `,` before it")
    else:
        remedy = f"put `{closer}` before {position.line}:{position.column}, or `,` between its members"
        problem_list.add(began, "unclosed", f"this `{opener}` is not closed", remedy, related=position)


_REPORTERS: tuple[tuple[str, Callable[[ProblemList, int, int], None]], ...] = (
    ("cannot start any token", _report_start),
    ("end of stream", _report_unterminated),
    ("document indicator", _report_unterminated),
    ("did not find expected ',' or", _report_bracket),
    ("did not find expected key", _report_no_name),
)
# libyaml has no error codes, so its messages are recognised by their words.
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
    ("expected node content", "missing-value", "missing value", "write one, or put the text in quotes"),
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
