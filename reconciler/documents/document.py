"""A parsed file of the desired state: its plain value, and on demand the position of each part."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Protocol

from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents import json_parser
from reconciler.documents.key_values import parse_key_values
from reconciler.documents.text_lines import BYTE_ORDER_MARK, LineIndex, decode_text
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.errors import InputError
from reconciler.text.json_pointer import split_pointer

YAML_SUFFIXES = frozenset({".yaml", ".yml"})
KEY_VALUE_SUFFIX = ".conf"

_WORD = re.compile(r"[^\s,\[\]{}\"'&*!|>%@`#]{1,100}")

_FEW = 30
"""Up to this many positions are found one by one, which then takes less time than all at once."""


class Document(Protocol):
    """A parsed JSON, YAML or `key = value` file that knows the position of every value."""

    @property
    def name(self) -> str:
        """The file's path within the source."""

    @property
    def value(self) -> Any:
        """The plain value; `Secret` where the file refers to one."""

    def position(self, pointer: str, *, key: bool = False) -> Position:
        """The position of the value (or its key) at a JSON pointer, or of its nearest parent."""

    def read_word(self, pointer: str) -> str:
        """The number, or the text without quotes, at a JSON pointer as the file has it; empty if unclear."""


def make_diagnostic(
    document: Document,
    pointer: str,
    code: str,
    message: str,
    remedy: str = "",
    *,
    severity: Severity = Severity.ERROR,
    related: tuple[Position, ...] = (),
) -> Diagnostic:
    """A diagnostic about the value at a JSON pointer of a document."""
    where = document.position(pointer)
    return Diagnostic(severity, code, message, remedy, position=where, pointer=pointer, related=related)


@dataclass(eq=False)
class ParsedDocument:
    """One file; implements `Document`.

    Documents are equal only if they are one object: what many nodes share is then examined once, by identity.

    Args:
        name: the file's path within the source.
        value: the plain value.
        text: the file's characters, in which positions count.
        offsets: of all values, if they are known already.
        asked: how many positions were looked up one by one.
    """

    name: str
    value: Any
    text: str = field(repr=False)
    offsets: ValueOffsets | None = field(default=None, repr=False)
    asked: int = field(default=0, repr=False)

    def position(self, pointer: str, *, key: bool = False) -> Position:
        """The position of the value (or its key) at a JSON pointer, or of its nearest parent."""
        offsets, found = self._locate(pointer)
        return self._lines.at(offsets.key if key and found else offsets.start)

    def read_word(self, pointer: str) -> str:
        """The number, or the text without quotes, at a JSON pointer as the file has it; empty if unclear."""
        offsets, found = self._locate(pointer)
        word = _WORD.match(self.text, offsets.start) if found else None
        return word[0] if word else ""

    def _locate(self, pointer: str) -> tuple[ValueOffsets, bool]:
        """The offsets of the value at a JSON pointer, or of its nearest parent, and whether it is itself."""
        path = split_pointer(pointer)
        self.asked += 1
        if self.offsets is None and self.asked <= _FEW:
            return json_parser.locate_value(self.text, path)
        self.offsets = self.offsets or json_parser.locate_values(self.name, self.text)
        return self.offsets.nearest(path)

    @cached_property
    def _lines(self) -> LineIndex:
        return LineIndex(self.name, self.text)


def parse_document(name: str, data: bytes) -> ParsedDocument:
    """The document in a file: YAML or `key = value` lines by the suffix of its name, else JSON.

    Raises:
        InputError: with every problem that can be found in the file.
    """
    text = decode_text(name, data)
    problems = list(text.problems)
    if not text.is_unreadable:
        try:
            document = _read(name, text.content)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(sorted(problems, key=lambda problem: problem.position))
    return document


def _read(name: str, text: str) -> ParsedDocument:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == KEY_VALUE_SUFFIX:
        values, offsets = parse_key_values(name, text)
        return ParsedDocument(name, values, text, offsets)
    if suffix not in YAML_SUFFIXES:
        return ParsedDocument(name, json_parser.parse_json(name, text), text)
    from reconciler.documents import yaml_parser  # noqa: PLC0415  (loads libyaml, which JSON does not need)

    text = text.removeprefix(BYTE_ORDER_MARK)
    value, offsets = yaml_parser.parse_yaml(name, text)
    return ParsedDocument(name, value, text, offsets)
