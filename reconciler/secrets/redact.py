"""What may be shown: values and texts in which everything that is, or sounds, secret is masked; pure.

Values of the type `core.secret.Secret` are masked by `core.secret.mask`, which this builds on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.core.secret import MASK, Secret
from reconciler.documents import json_parser
from reconciler.documents.document import parse
from reconciler.documents.places import Place
from reconciler.secrets.patterns import may_be_secret
from reconciler.secrets.scan import in_value
from reconciler.text.json_pointer import parts
from reconciler.text.urls import without_userinfo

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'', re.DOTALL)

SHORTEST: Final = 4
"""Characters from which on a known value is masked wherever it stands: a shorter one is a part of words."""


class Redactor:
    """Masks, in texts of somebody else's, clear values that are known and what stands before a URL's host.

    Args:
        known: clear values.
        shortest: characters that a known value has at least; shorter ones are left.
    """

    def __init__(self, known: Iterable[str], *, shortest: int = SHORTEST) -> None:
        long = {clear for clear in known if len(clear) >= shortest}
        # The longest first: where one value is a part of another, the rest of that would stay readable.
        self._known = sorted(long, key=lambda clear: (-len(clear), clear))

    def text(self, text: str) -> str:
        """A text, such as a node's answer or a line of a log, as it may be shown or written down."""
        return without_userinfo(self.values(text))

    def values(self, text: str) -> str:
        """A text without the known values; what stands in its URLs stays."""
        for clear in self._known:
            text = text.replace(clear, MASK)
        return text


def hidden_by_key(key: str, value: Any) -> Any:
    """A plain value with everything secret in it that stands under a key that may be secret.

    Args:
        key: under which the value stands; items of lists stand under the list's.
        value: the value itself is given back where nothing in it is hidden.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return Secret(value) if value != "" and may_be_secret(key) else value
    if isinstance(value, Mapping):
        inner = {name: hidden_by_key(str(name), item) for name, item in value.items()}
        return inner if any(inner[name] is not value[name] for name in inner) else value
    if isinstance(value, list | tuple):
        listed = [hidden_by_key(key, item) for item in value]
        return listed if any(new is not old for new, old in zip(listed, value, strict=True)) else value
    return value


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
    return Redactor(found.values()).values(shown)


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
