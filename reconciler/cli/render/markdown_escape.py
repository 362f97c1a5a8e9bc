"""Text of others within Markdown: it may say anything and format, link or summon nothing."""

from __future__ import annotations

import re

from reconciler.cli.render.values import shorten_text
from reconciler.text.one_line import clean_line

_PUNCTUATION = re.compile(r"([\\`*_\[\]<>|~#$&!])")
_SUMMONS = re.compile(r"(?<!\w)(\\?[@#!])(?=\w)")
_TICKS = re.compile(r"`+")
_LIMIT = 600


def escape_markdown(text: str) -> str:
    """Words within a sentence: bounded, and nobody is mentioned by them."""
    quiet = _PUNCTUATION.sub(r"\\\1", shorten_text(clean_line(text), _LIMIT))
    return _SUMMONS.sub(r"\1<!-- -->", quiet)


def format_code(text: str) -> str:
    """A name as inline code, whatever backticks it holds; fit for a table's cell."""
    plain = shorten_text(clean_line(text), _LIMIT).replace("|", "\\|")
    ticks = "`" * (_longest(plain) + 1)
    blank = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{blank}{plain}{blank}{ticks}" if plain else ""


def format_code_block(text: str, language: str) -> str:
    """Lines as a code block that no run of backticks in them can end."""
    ticks = "`" * max(3, _longest(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _longest(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
