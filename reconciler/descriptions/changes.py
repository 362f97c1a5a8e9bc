"""Changes of a document as a few short lines with a mark each."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import Change, Op
from reconciler.core.secret import mask
from reconciler.descriptions.values import LONGEST_VALUE, format_count, format_value, shorten_text
from reconciler.text.json_pointer import format_pointer
from reconciler.text.json_values import is_array
from reconciler.text.one_line import clean_line, escape_unseen

ADD, REMOVE, REPLACE = "+", "-", "~"
SHOWN_CHANGES: Final = 20
"""Changes of a step that are shown unless all are asked for; JSON has all of them."""

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


def format_change(change: Change, *, full: bool = False) -> tuple[DiffLine, ...]:
    """A change as lines; the first has the path of its place.

    Args:
        change: of a document or of a file's lines.
        full: shorten nothing.
    """
    if (lines := _LINES.fullmatch(change.pointer)) is not None:
        return _format_lines(clean_line(lines["file"]), int(lines["number"]), change, full=full)
    place = clean_line(format_pointer(change.pointer)) or "the whole document"
    if not unicodedata.is_normalized("NFC", place):
        place += " (decomposed letters: NFD)"
    return _format_value_change(place, change, full=full)


def _format_value_change(place: str, change: Change, *, full: bool) -> tuple[DiffLine, ...]:
    """A change of a value in a document."""

    def show(value: Any) -> str:
        return format_value(value, limit=None if full else LONGEST_VALUE)

    if change.op is Op.ADD:
        return (DiffLine(ADD, f"{place}: {show(change.new)}"),)
    if change.op is Op.REMOVE:
        return (DiffLine(REMOVE, f"{place}: was {show(change.old)}"),)
    if is_array(change.old) and is_array(change.new):
        return _format_list_change(place, change.old, change.new, full=full)
    old, new = show(change.old), show(change.new)
    if mask(change.old) == mask(change.new):
        return (DiffLine(REPLACE, f"{place}: a secret in it changes (not shown)"),)
    if _look_alike(old, new):
        old, new = f"{old} ({_name_form(old)})", f"{new} ({_name_form(new)})"
        place += ": the same letters in another Unicode form"
    if len(old) + len(new) <= _ONE_LINE:
        return (DiffLine(REPLACE, f"{place}: was {old}, becomes {new}"),)
    return DiffLine(REPLACE, place), DiffLine(REMOVE, f"  was      {old}"), DiffLine(ADD, f"  becomes  {new}")


def _look_alike(one: str, other: str) -> bool:
    """Whether two different texts look the same, because their letters are composed in one of them only."""
    return one != other and unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _name_form(text: str) -> str:
    is_composed = unicodedata.is_normalized("NFC", text)
    return "NFC" if is_composed else "NFD" if unicodedata.is_normalized("NFD", text) else "NFC and NFD mixed"


def _format_lines(file: str, number: int, change: Change, *, full: bool) -> tuple[DiffLine, ...]:
    """Lines of a file, as a unified difference shows them."""
    old, new = change.old or (), change.new or ()
    if mask(old) == mask(new):
        return (DiffLine(REPLACE, f"{file}, line {number:,}: a secret in it changes (not shown)"),)
    mark = REPLACE if old and new else ADD if new else REMOVE
    head = DiffLine(mark, f"{file}, line {number:,}")
    return head, *_list_lines(REMOVE, old, full=full), *_list_lines(ADD, new, full=full)


def _list_lines(mark: str, lines: Sequence[Any], *, full: bool) -> Iterable[DiffLine]:
    most = len(lines) if full else _ITEMS
    for line in lines[:most]:
        text = escape_unseen(str(line).expandtabs(4))
        form = "" if unicodedata.is_normalized("NFC", text) else f" ({_name_form(text)})"
        yield DiffLine(mark, f"  {text if full else shorten_text(text, _LONGEST_LINE)}{form}")
    if len(lines) > most:
        yield DiffLine(mark, f"  … and {format_count(len(lines) - most, 'more line')}")


def format_changes(changes: Sequence[Change], limit: int | None) -> tuple[DiffLine, ...]:
    """The lines of at most `limit` changes, and one with the number of the others; None shortens nothing."""
    result = [line for change in changes[:limit] for line in format_change(change, full=limit is None)]
    if limit is not None and len(changes) > limit:
        result.append(DiffLine(" ", f"… and {format_count(len(changes) - limit, 'more change')}"))
    return tuple(result)


def _format_list_change(
    place: str, old: Sequence[Any], new: Sequence[Any], *, full: bool
) -> tuple[DiffLine, ...]:
    """Items have no identity: a list shows which were removed and added, or a new order."""
    gone, come = _subtract(old, new), _subtract(new, old)
    limit = None if full else LONGEST_VALUE
    if mask(old) == mask(new):
        return (DiffLine(REPLACE, f"{place}: a secret in it changes (not shown)"),)
    if not gone and not come:
        head = DiffLine(REPLACE, f"{place}: the same {format_count(len(new), 'item')} in another order")
        return (
            head,
            DiffLine(REMOVE, f"  was      {format_value(old, limit=limit)}"),
            DiffLine(ADD, f"  becomes  {format_value(new, limit=limit)}"),
        )
    stay = len(old) - len(gone)
    # Different secrets have the same mask, so an item that looks unchanged may have changed: no count then.
    kept = f", {stay:,} of them unchanged" if stay and mask([old, new]) == [old, new] else ""
    head = DiffLine(REPLACE, f"{place}: was {format_count(len(old), 'item')}, becomes {len(new):,}{kept}")
    return head, *_list_items(REMOVE, gone, full=full), *_list_items(ADD, come, full=full)


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


def _list_items(mark: str, items: Sequence[Any], *, full: bool) -> Iterable[DiffLine]:
    most = len(items) if full else _ITEMS
    limit = None if full else LONGEST_VALUE
    for item in items[:most]:
        text = format_value(item, limit=limit)
        form = "" if unicodedata.is_normalized("NFC", text) else f" ({_name_form(text)})"
        yield DiffLine(mark, f"  {text}{form}")
    if len(items) > most:
        yield DiffLine(mark, f"  … and {format_count(len(items) - most, 'more item')}")
