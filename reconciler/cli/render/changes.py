"""Changes of a document as a few short lines with a mark each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.cli.render.values import format_count, format_value, shorten_text
from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import Change, Op
from reconciler.core.secret import mask
from reconciler.text.json_pointer import format_pointer
from reconciler.text.one_line import clean_line, escape_unseen

ADD, REMOVE, REPLACE = "+", "-", "~"
_ONE_LINE = 60
_ITEMS = 12
_LONGEST_LINE = 300
_LINES = re.compile(r"/(?P<file>[^/]+)/lines/(?P<number>[0-9]{1,9})")
"""The pointer of changed lines, see `file_delivery.content.LINES`."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a change: `mark` is `+`, `-`, `~` or a space."""

    mark: str
    text: str


def format_change(change: Change) -> tuple[DiffLine, ...]:
    """A change as lines; the first has the path of its place."""
    if (lines := _LINES.fullmatch(change.pointer)) is not None:
        return _format_lines(clean_line(lines["file"]), int(lines["number"]), change)
    return _format_value_change(clean_line(format_pointer(change.pointer)) or "the whole document", change)


def _format_value_change(place: str, change: Change) -> tuple[DiffLine, ...]:
    """A change of a value in a document."""
    if change.op is Op.ADD:
        return (DiffLine(ADD, f"{place}: {format_value(change.new)}"),)
    if change.op is Op.REMOVE:
        return (DiffLine(REMOVE, f"{place}: was {format_value(change.old)}"),)
    if _is_list(change.old) and _is_list(change.new):
        return _format_list_change(place, change.old, change.new)
    old, new = format_value(change.old), format_value(change.new)
    if mask(change.old) == mask(change.new):
        return (DiffLine(REPLACE, f"{place}: a secret in it changes (not shown)"),)
    if len(old) + len(new) <= _ONE_LINE:
        return (DiffLine(REPLACE, f"{place}: was {old}, becomes {new}"),)
    return DiffLine(REPLACE, place), DiffLine(REMOVE, f"  was      {old}"), DiffLine(ADD, f"  becomes  {new}")


def _format_lines(file: str, number: int, change: Change) -> tuple[DiffLine, ...]:
    """Lines of a file, as a unified difference shows them."""
    old, new = change.old or (), change.new or ()
    if mask(old) == mask(new):
        return (DiffLine(REPLACE, f"{file}, line {number:,}: a secret in it changes (not shown)"),)
    mark = REPLACE if old and new else ADD if new else REMOVE
    head = DiffLine(mark, f"{file}, line {number:,}")
    return head, *_list_lines(REMOVE, old), *_list_lines(ADD, new)


def _list_lines(mark: str, lines: Sequence[Any]) -> Iterable[DiffLine]:
    for line in lines[:_ITEMS]:
        yield DiffLine(mark, f"  {shorten_text(escape_unseen(str(line).expandtabs(4)), _LONGEST_LINE)}")
    if len(lines) > _ITEMS:
        yield DiffLine(mark, f"  … and {format_count(len(lines) - _ITEMS, 'more line')}")


def format_changes(changes: Sequence[Change], limit: int) -> tuple[DiffLine, ...]:
    """The lines of at most `limit` changes, and a line with the number of the others."""
    result = [line for change in changes[:limit] for line in format_change(change)]
    if len(changes) > limit:
        result.append(DiffLine(" ", f"… and {format_count(len(changes) - limit, 'more change')}"))
    return tuple(result)


def _format_list_change(place: str, old: Sequence[Any], new: Sequence[Any]) -> tuple[DiffLine, ...]:
    """Items have no identity: a list shows which were removed and added, or a new order."""
    gone, come = _subtract(old, new), _subtract(new, old)
    if mask(old) == mask(new):
        return (DiffLine(REPLACE, f"{place}: a secret in it changes (not shown)"),)
    if not gone and not come:
        head = DiffLine(REPLACE, f"{place}: the same {format_count(len(new), 'item')} in another order")
        return (
            head,
            DiffLine(REMOVE, f"  was      {format_value(old)}"),
            DiffLine(ADD, f"  becomes  {format_value(new)}"),
        )
    stay = len(old) - len(gone)
    # Different secrets have the same mask, so an item that looks unchanged may have changed: no count then.
    kept = f", {stay:,} of them unchanged" if stay and mask([old, new]) == [old, new] else ""
    head = DiffLine(REPLACE, f"{place}: was {format_count(len(old), 'item')}, becomes {len(new):,}{kept}")
    return head, *_list_items(REMOVE, gone), *_list_items(ADD, come)


def _subtract(items: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    left = Counter(encode_canonical(mask(item)) for item in others)
    result = []
    for item in items:
        key = encode_canonical(mask(item))
        if left[key]:
            left[key] -= 1
        else:
            result.append(item)
    return result


def _list_items(mark: str, items: Sequence[Any]) -> Iterable[DiffLine]:
    yield from (DiffLine(mark, f"  {format_value(item)}") for item in items[:_ITEMS])
    if len(items) > _ITEMS:
        yield DiffLine(mark, f"  … and {format_count(len(items) - _ITEMS, 'more item')}")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
