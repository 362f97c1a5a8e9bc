"""Tables that fit a terminal: the last column wraps, and where that leaves no room, each row is a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.cli.render.text import TerminalLayout, Tone

_LEAST = 24
"""Columns that the last cell of a row needs."""


def list_table_lines(rows: Sequence[Sequence[str]], layout: TerminalLayout) -> Iterator[str]:
    """The lines of a table, of which the first row has the titles.

    Args:
        rows: each with the same number of cells, clean and on one line.
        layout: its width is kept, except by a cell of one long word.
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    head = sum(widths) + 2 * len(widths)
    longest = max(len(row[-1]) for row in rows)
    if layout.width - head < min(_LEAST, longest):
        yield from _list_blocks(rows, layout)
        return
    for number, row in enumerate(rows):
        tone = Tone.PLAIN if number else Tone.QUIET
        cells = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
        first, *more = [line[head:] for line in layout.unpainted.wrapped(row[-1], head)] or [""]
        yield layout.paint(f"{cells}{first}".rstrip(), tone)
        yield from (layout.paint(f"{'':<{head}}{line}", tone) for line in more)


def _list_blocks(rows: Sequence[Sequence[str]], layout: TerminalLayout) -> Iterator[str]:
    """Each row as a block: its first cell, and below it every other cell after its title."""
    titles, *records = rows
    width = max(map(len, titles[1:]))
    for record in records:
        yield layout.paint(record[0], Tone.STRONG)
        for title, cell in zip(titles[1:], record[1:], strict=True):
            if cell:
                yield from layout.wrapped(f"{title:<{width}}  {cell}", 2, hang=width + 2)
