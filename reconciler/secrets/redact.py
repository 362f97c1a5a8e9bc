"""The text of a file as it may be shown: what stands in it in clear, though it looks secret, is masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from reconciler.core.secret import MASK, scrubbed
from reconciler.documents import json_parser
from reconciler.documents.document import parse
from reconciler.documents.places import Place
from reconciler.secrets.scan import in_value
from reconciler.text.json_pointer import parts

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'', re.DOTALL)


def shaded(name: str, text: str) -> str:
    """The same text with as many lines, in which every text that looks secret is masked.

    Args:
        name: the file's name, whose ending tells its form.
        text: its characters, which can be parsed.
    """
    document = parse(name, text.encode())
    found = {pointer: _at(document.value, pointer) for pointer in in_value(document.value)}
    if not found:
        return text
    tree = document.place or json_parser.places(name, document.text)
    spans = {_span(document.text, tree, pointer, value) for pointer, value in found.items()}
    shown = document.text
    for start, end in sorted(spans, reverse=True):
        hidden = shown[start:end]
        masked = f'"{MASK}"' if hidden.startswith(('"', "'")) else MASK
        shown = shown[:start] + masked + "\n" * hidden.count("\n") + shown[end:]
    return scrubbed(shown, found.values())


def _span(text: str, tree: Place, pointer: str, value: str) -> tuple[int, int]:
    """Where a text begins and ends; where its end is not plain, the beginning of what is next."""
    start = tree.nearest(parts(pointer))[0].start
    quoted = _QUOTED.match(text, start)
    if quoted:
        return quoted.span()
    if text.startswith(value, start):
        return start, start + len(value)
    return start, min((other for other in _starts(tree) if other > start), default=len(text))


def _starts(place: Place) -> Iterator[int]:
    yield place.key
    for inner in (*(place.members or {}).values(), *(place.items or ())):
        yield from _starts(inner)


def _at(value: Any, pointer: str) -> Any:
    for part in parts(pointer):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
