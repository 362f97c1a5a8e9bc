"""What a word without quotes was probably meant to be, where JSON expects a value."""

from __future__ import annotations

import re

from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_RUN = re.compile(r"""(?:[^\s,{}\[\]"';/]|/(?![/*])|(?<=:)//)+""")
_MORE = re.compile(r"""(?:[ \t]+(?![^\s,:={}\[\]"';]+[ \t]*[:=])[^\s,:={}\[\]"';/#]+)*""")
_ODD_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<hex>0[xX][0-9a-fA-F]+)|(?P<whole>[0-9][0-9_]*)?(?P<rest>\.[0-9]*)?(?P<power>[eE][-+]?[0-9]+)?)"
)
_MEANT = {
    "true": "true", "yes": "true", "on": "true",
    "false": "false", "no": "false", "off": "false",
    "null": "null", "none": "null", "nil": "null", "undefined": "null",
}  # fmt: skip
_NO_NUMBERS = frozenset({"nan", "infinity", "inf"})


def describe_bareword(text: str, start: int) -> tuple[int, tuple[str, str, str]]:
    """The end of the word at an offset, and the code, message and remedy of the problem with it."""
    found = _RUN.match(text, start)
    end = found.end() if found else start + 1
    words = text[start:end]
    lower = words.lower()
    if meant := find_nearest(lower, _MEANT, cutoff=0.85):
        right = _MEANT[meant]
        return end, ("bare-word", f"{quote_text(words)} is not a JSON literal", f"write `{right}`")
    if lower.lstrip("+-") in _NO_NUMBERS:
        remedy = "leave it out, or write `null` or a number"
        return end, ("not-a-number", f"{quote_text(words)} is not a JSON number", remedy)
    if right := _read_odd_number(words):
        return end, ("bad-number", f"{quote_text(words)} is not a JSON number", f"write `{right}`")
    if more := _MORE.match(text, end):
        end = more.end()
    words = text[start:end]
    escaped = words.replace("\\", "\\\\")
    remedy = "write " + quote_text(f'"{escaped}"')
    return end, ("bare-word", f"{quote_text(words)} is not in quotes", remedy)


def _read_odd_number(words: str) -> str:
    """The JSON number that an odd one means; empty if it is not a number at all."""
    found = _ODD_NUMBER.fullmatch(words)
    if not found or not (found["hex"] or found["whole"] or len(found["rest"] or "") > 1):
        return ""
    sign = "-" if found["sign"] == "-" else ""
    if found["hex"]:
        return f"{sign}{int(found['hex'], 16)}" if len(found["hex"]) < 20 else ""  # noqa: PLR2004
    whole = (found["whole"] or "").replace("_", "").lstrip("0") or "0"
    rest = found["rest"] or ""
    return f"{sign}{whole}{rest if rest != '.' else ''}{found['power'] or ''}"
