"""New values as the text of a JSON or YAML file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from reconciler.documents.yaml_scalars import InvalidScalar, read_plain_scalar
from reconciler.text.one_line import UNSEEN

# Written without quotes; _FAIR only in place of a text that has no quotes either.
_SURE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")
_FAIR: Final = re.compile(r"[A-Za-z0-9_./@][A-Za-z0-9_./@:+-]*(?: [A-Za-z0-9_./@+-]+)*(?<!:)")
_OLD_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_UNREAD: Final = re.compile(f"{UNSEEN.pattern}|[\ufffe\uffff]")
"""Characters that a file should not or must not contain."""


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How a file is written.

    Args:
        is_json: whether it is JSON; else YAML.
        unit: what one level is indented by.
        dash: blanks by which the dashes of a list are indented below their name.
        end: what ends a line.
    """

    is_json: bool
    unit: str
    dash: int
    end: str

    def one_line(self, value: Any, *, style: str = "", quotes_names: bool = False) -> str:
        """A value on one line.

        Args:
            value: plain.
            style: the quotes of the text in whose place it comes; empty for none.
            quotes_names: whether names are quoted even where that is not necessary.
        """
        if self.is_json:
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict):
            members = (
                f"{self.name(key, quoted=quotes_names)}: {self.one_line(item, quotes_names=quotes_names)}"
                for key, item in value.items()
            )
            return f"{{{', '.join(members)}}}"
        if isinstance(value, list):
            return f"[{', '.join(self.one_line(item, quotes_names=quotes_names) for item in value)}]"
        return _render_text(value, style) if isinstance(value, str) else json.dumps(value)

    def name(self, name: str, *, quoted: bool = False) -> str:
        """A member's name."""
        if self.is_json:
            return json.dumps(name, ensure_ascii=False)
        return _quote(name) if quoted else _render_text(name, "")

    def lines(self, value: Any) -> Iterator[str]:
        """A value over several lines of YAML, without what all of them are indented by."""
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from self.member(key, item)
        elif isinstance(value, list) and _is_deep(value):
            for item in value:
                yield from self.item(item)
        else:
            yield self.one_line(value)

    def member(self, name: str, value: Any) -> Iterator[str]:
        """The lines of a member."""
        if isinstance(value, dict) and value:
            yield f"{self.name(name)}:"
            yield from (f"{self.unit}{line}" for line in self.lines(value))
        elif isinstance(value, list) and _is_deep(value):
            yield f"{self.name(name)}:"
            yield from (f"{' ' * self.dash}{line}" for line in self.lines(value))
        else:
            yield f"{self.name(name)}: {self.one_line(value)}"

    def item(self, value: Any, *, is_block: bool = False) -> Iterator[str]:
        """The lines of an item of a list, with its dash; small objects on one line, unless in a block."""
        first, *rest = self.lines(value) if is_block or _is_deep(value) else [self.one_line(value)]
        yield f"- {first}"
        yield from (f"  {line}" for line in rest)

    def pretty(self, value: Any, margin: str) -> str:
        """A value of JSON over several lines, of which all but the first begin with a margin."""
        text = json.dumps(value, ensure_ascii=False, indent=self.unit)
        return text.replace("\n", f"{self.end}{margin}")


def _is_deep(value: Any) -> bool:
    """Whether an object or a list contains others."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(item, dict | list) and item for item in items)


def _render_text(text: str, style: str) -> str:
    if style == "'" and not _UNREAD.search(text):
        return "'" + text.replace("'", "''") + "'"
    if style in {"", "plain"} and (_SURE if style == "" else _FAIR).fullmatch(text) and _is_plain_text(text):
        return text
    return _quote(text)


def _is_plain_text(text: str) -> bool:
    """Whether words without quotes are text for every YAML reader, also for YAML 1.1, where `no` is false."""
    try:
        # Digits and colons, such as `12:30`, are a number in base 60 in YAML 1.1.
        is_text = read_plain_scalar(text) == text
        return is_text and text.lower() not in _OLD_WORDS and not re.fullmatch(r"[\d:]+", text)
    except InvalidScalar:
        return False


def _quote(text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return _UNREAD.sub(lambda found: f"\\u{ord(found[0]):04x}", written)
