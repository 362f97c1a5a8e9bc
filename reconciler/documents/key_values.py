"""Text of `key = value` lines, such as sora.conf: read with positions, and changed without losing a line.

Strings have no quotes, and a number and its unit are separated by a space (`30 s`). A line that begins with
`#` is a comment. Comments, order, line ends and all other keys survive a change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.text_lines import BYTE_ORDER_MARK, LINE_END, LineIndex
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.errors import InputError

Scalar: TypeAlias = bool | int | str

KEY: Final = re.compile(r"[0-9A-Za-z_.\-]+")

_PAIR: Final = re.compile(rf"[ \t]*(?P<key>{KEY.pattern})[ \t]*=[ \t]*(?P<value>.*?)[ \t]*")
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_UNWRITABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]|^[ \t]|[ \t]$")
"""What would end the line, or would be lost at its edges."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line with a key.

    Args:
        start: offset of the line.
        end: offset after the line end.
        key: offset of the key.
        value: offsets of the value.
    """

    name: str
    start: int
    end: int
    key: int
    value: tuple[int, int]


def parse_key_values(name: str, text: str) -> tuple[dict[str, Scalar], ValueOffsets]:
    """The values by key, and where they are.

    Raises:
        InputError: with every line of another form and every repeated key.
    """
    lines = LineIndex(name, text)
    values: dict[str, Scalar] = {}
    offsets = ValueOffsets(0, 0, {})
    assert offsets.members is not None
    problems: list[Diagnostic] = []
    for line in _walk_lines(text):
        if isinstance(line, int):
            problems.append(
                Diagnostic(
                    Severity.ERROR,
                    "syntax",
                    "not `key = value`",
                    "write `key = value`",
                    position=lines.at(line),
                )
            )
        elif line.name in values:
            first = lines.at(offsets.members[line.name].start)
            problems.append(
                Diagnostic(
                    Severity.ERROR,
                    "duplicate-key",
                    f"duplicate key {line.name}, first in line {first.line}",
                    "keep one of them",
                    position=lines.at(line.key),
                    pointer=f"/{line.name}",
                    related=(first,),
                )
            )
        else:
            values[line.name] = parse_scalar(text[slice(*line.value)])
            offsets.members[line.name] = ValueOffsets(line.value[0], line.key)
    if problems:
        raise InputError(problems)
    return values, offsets


def change_key_values(text: str, values: Mapping[str, Scalar | None]) -> str:
    """The text with these values; None removes a key.

    Lines of known keys are rewritten in place, and only if their meaning differs; new keys come at the end. A
    second change with the same values changes nothing.

    Args:
        text: which `parse_key_values` can read.
        values: key -> value that `is_writable`.
    """
    parts: list[str] = []
    known: set[str] = set()
    last = 0
    for line in _walk_lines(text):
        if isinstance(line, int) or line.name not in values:
            continue
        known.add(line.name)
        value = values[line.name]
        start, end = line.value
        if value is None:
            parts.append(text[last : line.start])
            last = line.end
        elif not _is_same(parse_scalar(text[start:end]), value):
            # After an empty value there may be no space yet: `key =`.
            gap = " " if text[start - 1] == "=" and start == end else ""
            parts.append(f"{text[last:start]}{gap}{format_scalar(value)}")
            last = end
    changed = "".join((*parts, text[last:]))
    added = [
        f"{key} = {format_scalar(value)}"
        for key, value in values.items()
        if key not in known and value is not None
    ]
    if not added:
        return changed
    line_end = _find_line_end(text)
    if changed.removeprefix(BYTE_ORDER_MARK) and not changed.endswith(("\n", "\r")):
        changed += line_end
    return changed + "".join(f"{line}{line_end}" for line in added)


def is_writable(value: object) -> bool:
    """Whether a value can stand in a line, so that reading gives it back and nothing else."""
    # A line break in a value would write keys of its own into the file.
    return isinstance(value, bool | int) or (isinstance(value, str) and not _UNWRITABLE.search(value))


def parse_scalar(text: str) -> Scalar:
    """The meaning of a value's text: `true` and `false`, whole numbers, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.fullmatch(text) else text


def format_scalar(value: Scalar) -> str:
    """A value as text of the file; `parse_scalar` is the inverse."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_same(one: Scalar, other: Scalar) -> bool:
    # `1 == True` in Python, but `1` and `true` differ in the file.
    return format_scalar(one) == format_scalar(other)


def _walk_lines(text: str) -> Iterator[_Line | int]:
    """The lines with a key; of a line of another form, its offset. Comments and empty lines are left out."""
    start = len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0
    while start < len(text):
        found = LINE_END.search(text, start)
        stop, end = found.span() if found else (len(text), len(text))
        content = text[start:stop].strip(" \t")
        if content and not content.startswith("#"):
            pair = _PAIR.fullmatch(text, start, stop)
            yield (
                start
                if pair is None
                else _Line(pair["key"], start, end, pair.start("key"), pair.span("value"))
            )
        start = end


def _find_line_end(text: str) -> str:
    found = LINE_END.search(text)
    return found[0] if found else "\n"
