"""Escapes foreign text for Markdown: it can format nothing, link nothing and mention nobody."""

from __future__ import annotations

import re

from reconciler.cli.render.values import shorten_text
from reconciler.text.one_line import clean_line

_PUNCTUATION = re.compile(r"([\\`*_\[\]<>|~#$&!])")
_MENTIONS = re.compile(r"(?<!\w)(\\?[@#!])(?=\w)")
_TICKS = re.compile(r"`+")
_LIMIT = 600


def escape_markdown(text: str) -> str:
    """Text within a sentence, shortened and escaped."""
    # Forges read `@name`, `#1` and `!1` even in escaped text; an empty comment after the sign stops them.
    quiet = _PUNCTUATION.sub(r"\\\1", shorten_text(clean_line(text), _LIMIT))
    return _MENTIONS.sub(r"\1<!-- -->", quiet)


def format_code(text: str) -> str:
    """A name as inline code, whatever backticks it has; can be used in a table cell."""
    plain = shorten_text(clean_line(text), _LIMIT).replace("|", "\\|")
    ticks = "`" * (_count_backticks(plain) + 1)
    blank = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{blank}{plain}{blank}{ticks}" if plain else ""


def format_code_block(text: str, language: str) -> str:
    """Lines as a code block, with more backticks than any in them: they cannot end the block."""
    ticks = "`" * max(3, _count_backticks(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _count_backticks(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
