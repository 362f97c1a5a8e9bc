"""Pages of explanations for a terminal: paragraphs and lists are wrapped to its width, all else stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from reconciler.cli.render.text import TerminalLayout

_ITEM: Final = re.compile(r"(?: {2,})?(?:[-*]|[0-9]{1,3}\.) +")
_WHOLE: Final = re.compile(r" {4,}|#|\||\s*$")
"""Lines that stand alone: code, headings, rows of tables, and none."""

_FENCE: Final = "```"


def wrap_page(text: str, layout: TerminalLayout) -> str:
    """A page in Markdown whose paragraphs and list items fit the terminal."""
    return "".join(f"{line}\n" for line in _wrap_blocks(text.splitlines(), layout.unpainted))


def _wrap_blocks(lines: list[str], layout: TerminalLayout) -> Iterator[str]:
    paragraph: list[str] = []
    is_code = False
    for line in lines:
        is_fence = line.lstrip().startswith(_FENCE)
        stands_alone = is_code or is_fence or _WHOLE.match(line) is not None
        if paragraph and (stands_alone or _ITEM.match(line)):
            yield from _wrap_paragraph(paragraph, layout)
            paragraph = []
        is_code ^= is_fence
        if stands_alone:
            yield line
        else:
            paragraph.append(line)
    yield from _wrap_paragraph(paragraph, layout)


def _wrap_paragraph(lines: list[str], layout: TerminalLayout) -> Iterator[str]:
    if not lines:
        return
    # What is fine as it is stays as it was written: the page in the documents is the same then.
    if max(map(len, lines)) <= layout.width:
        yield from lines
        return
    item = _ITEM.match(lines[0])
    text = " ".join(line.strip() for line in lines)
    hang = len(item[0]) if item else 0
    indent = hang - len(item[0].lstrip()) if item else 0
    yield from layout.wrapped(text, indent, hang=hang - indent)
