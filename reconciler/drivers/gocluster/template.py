"""The template of a node's configuration file: text with placeholders, and nothing that runs; pure.

    {{NAME}}        the value as JSON, which is YAML, too: a text in quotes, a list, an object
    {{text NAME}}   the value as it is: a text of one line, a number, true or false
    {{{{            two opening braces

There are no conditions, loops, functions or files: a pull request that changes a template can change the
bytes of the file, and do nothing on the host. Placeholders and sizes are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.text_lines import LineIndex
from reconciler.file_delivery.content import Part
from reconciler.text.one_line import UNSEEN, quote_text
from reconciler.text.suggestions import find_nearest

LARGEST_TEMPLATE: Final = 256 * 1024
"""Characters of a template."""

LARGEST_FILE: Final = 1024 * 1024
"""Characters of a file that is made of it; a list of all peers may stand in it many times."""

MOST_PLACEHOLDERS: Final = 1_000

_LITERALS: Final = {"{{{{": "{{", "{": "{"}
"""Text -> what it stands for; one brace right before a placeholder is a brace."""

_TOKEN: Final = re.compile(r"\{\{\{\{|\{(?=\{\{[^{}\n]{0,200}\}\})|\{\{([^{}\n]{0,200})\}\}|\{\{")
_CONTENT: Final = re.compile(r"\s*(text\s+)?([A-Za-z_][A-Za-z0-9_\-]*(?:\.[A-Za-z0-9_][A-Za-z0-9_\-]*)*)\s*")
_REFERENCE: Final = re.compile(r"\$\{(?:env|file|age):")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place that a value takes.

    Args:
        name: of the value, with dots.
        is_text: whether it is not encoded as JSON.
        offset: in the template.
    """

    name: str
    is_text: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read.

    Args:
        name: its path, for positions.
        text: as committed.
        pieces: literal text and placeholders, in order.
        problems: what is wrong in it.
    """

    name: str
    text: str
    pieces: tuple[str | Placeholder, ...]
    problems: tuple[Diagnostic, ...] = ()

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The placeholders, in order."""
        return tuple(one for one in self.pieces if isinstance(one, Placeholder))

    def uses(self, name: str) -> bool:
        """Whether it has a value, or a part of it."""
        return any(one.name == name or one.name.startswith(f"{name}.") for one in self.placeholders)


def read_template(name: str, text: str) -> Template:
    """The template in a text, with every problem of its form."""
    index, pieces, problems = LineIndex(name, text), list[str | Placeholder](), list[Diagnostic]()

    def report(offset: int, message: str, remedy: str) -> None:
        problems.append(
            Diagnostic(Severity.ERROR, "bad-template", message, remedy, position=index.at(offset))
        )

    if len(text) > LARGEST_TEMPLATE:
        report(0, f"the template has more than {LARGEST_TEMPLATE:,} characters", "split the file")
        return Template(name, text, (), tuple(problems))
    last = 0
    for token in _TOKEN.finditer(text):
        pieces.append(text[last : token.start()])
        last = token.end()
        if token[0] in _LITERALS:
            pieces.append(_LITERALS[token[0]])
            continue
        content = _CONTENT.fullmatch(token[1]) if token[1] is not None else None
        if content is None:
            report(
                token.start(),
                "this is not a placeholder",
                "write {{NAME}} or {{text NAME}}, or {{{{ for two braces",
            )
            continue
        pieces.append(Placeholder(content[2], bool(content[1]), token.start()))
    pieces.append(text[last:])
    if len([one for one in pieces if isinstance(one, Placeholder)]) > MOST_PLACEHOLDERS:
        report(0, f"the template has more than {MOST_PLACEHOLDERS:,} placeholders", "use fewer")
    for found in _REFERENCE.finditer(text):
        report(
            found.start(),
            "a reference to a secret is not resolved in a template",
            "write it into the file of `values`, and its name as a placeholder here",
        )
    return Template(name, text, tuple(one for one in pieces if one != ""), tuple(problems))


class UnfitValue(ValueError):
    """A value cannot stand where a template has it; the text says why, to follow the name."""


def check_template(template: Template, scope: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """What is wrong with the placeholders of a template, given the values that there are."""
    index = LineIndex(template.name, template.text)
    names = list_names(scope)
    for one in template.placeholders:
        try:
            _encode(one, find_value(scope, one.name))
        except KeyError:
            nearest = find_nearest(one.name, names)
            yield Diagnostic(
                Severity.ERROR,
                "unknown-placeholder",
                f"there is no value {quote_text(one.name)}",
                f"did you mean `{nearest}`?" if nearest else "see `reconcile explain unknown-placeholder`",
                position=index.at(one.offset),
            )
        except UnfitValue as error:
            yield Diagnostic(
                Severity.ERROR,
                "unfit-placeholder",
                f"the value {quote_text(one.name)} {error}",
                f"write {{{{{one.name}}}}} without `text`",
                position=index.at(one.offset),
            )


def render_template(template: Template, scope: Mapping[str, Any]) -> tuple[Part, ...]:
    """The file of one node, with secrets as parts of their own.

    Raises:
        UnfitValue: the file becomes too large; values that are missing are found by `check_template`.
    """
    parts: list[Part] = []
    size = 0
    for piece in template.pieces:
        own = [piece] if isinstance(piece, str) else _encode(piece, find_value(scope, piece.name))
        size += sum(len(str(one.value)) if isinstance(one, Secret) else len(one) for one in own)
        # While it is made: a list of hundreds of peers may stand in it a thousand times.
        if size > LARGEST_FILE:
            raise UnfitValue(f"the file becomes larger than {LARGEST_FILE:,} characters")
        for one in own:
            if isinstance(one, str) and parts and isinstance(parts[-1], str):
                parts[-1] += one
            else:
                parts.append(one)
    return tuple(one for one in parts if one != "")


def render_piece(placeholder: Placeholder, scope: Mapping[str, Any]) -> list[Part]:
    """What one placeholder becomes.

    Raises:
        KeyError: there is no such value.
        UnfitValue: it cannot stand there.
    """
    return _encode(placeholder, find_value(scope, placeholder.name))


def find_value(scope: Mapping[str, Any], name: str) -> Any:
    """The value of a name with dots.

    Raises:
        KeyError: there is none.
    """
    value: Any = scope
    for part in name.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(name)
        value = value[part]
    return value


def list_names(scope: Mapping[str, Any], prefix: str = "", depth: int = 4) -> list[str]:
    """The names that placeholders may have."""
    found = []
    for key, value in scope.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, Mapping) and depth > 1:
            found += list_names(value, f"{prefix}{key}.", depth - 1)
    return found


def _encode(placeholder: Placeholder, value: Any) -> list[Part]:
    return [_make_text(value)] if placeholder.is_text else list(_make_json(value))


def _make_text(value: Any) -> Part:
    if isinstance(value, Secret):
        return Secret(_make_plain(value.value), value.reference, value.missing)
    return _make_plain(value)


def _make_plain(value: Any) -> str:
    if isinstance(value, str):
        # One line: otherwise a value could add lines of its own to the file.
        if UNSEEN.search(value):
            raise UnfitValue("has more than one line, or characters that are not shown")
        return value
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UnfitValue("is a list or an object")


def _make_json(value: Any) -> Iterator[Part]:
    """JSON of a value, each secret in it a part of its own."""
    if isinstance(value, Secret):
        yield Secret(json.dumps(value.value, ensure_ascii=False), value.reference, value.missing)
    elif isinstance(value, Mapping):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield f"{', ' if index else ''}{json.dumps(str(key), ensure_ascii=False)}: "
            yield from _make_json(item)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for index, item in enumerate(value):
            if index:
                yield ", "
            yield from _make_json(item)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)
