"""What differs at one place of a document, as a few bounded lines with a mark each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.cli.render.clean import plural, shown
from reconciler.core.canonical import encode
from reconciler.core.diff import Change, Op
from reconciler.core.secret import mask
from reconciler.text.one_line import clean

ADD, REMOVE, REPLACE = "+", "-", "~"
_ONE_LINE = 60
_ITEMS = 12


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a difference: `mark` is `+`, `-`, `~` or a blank."""

    mark: str
    text: str


def lines(change: Change) -> tuple[Line, ...]:
    """A change as lines; the first names its place, as a JSON pointer."""
    place = clean(change.pointer) or "the whole document"
    if change.op is Op.ADD:
        return (Line(ADD, f"{place}: {shown(change.new)}"),)
    if change.op is Op.REMOVE:
        return (Line(REMOVE, f"{place}: was {shown(change.old)}"),)
    if _is_list(change.old) and _is_list(change.new):
        return _items(place, change.old, change.new)
    old, new = shown(change.old), shown(change.new)
    if mask(change.old) == mask(change.new):
        return (Line(REPLACE, f"{place}: a secret in it changes (not shown)"),)
    if len(old) + len(new) <= _ONE_LINE:
        return (Line(REPLACE, f"{place}: was {old}, becomes {new}"),)
    return Line(REPLACE, place), Line(REMOVE, f"  was      {old}"), Line(ADD, f"  becomes  {new}")


def bounded(changes: Sequence[Change], limit: int) -> tuple[Line, ...]:
    """The lines of at most `limit` changes, and a line that counts the rest."""
    result = [line for change in changes[:limit] for line in lines(change)]
    if len(changes) > limit:
        result.append(Line(" ", f"… and {plural(len(changes) - limit, 'more change')}"))
    return tuple(result)


def _items(place: str, old: Sequence[Any], new: Sequence[Any]) -> tuple[Line, ...]:
    """Arrays have no identity in their items: what left, what came, and whether the order turned."""
    gone, come = _without(old, new), _without(new, old)
    if mask(old) == mask(new):
        return (Line(REPLACE, f"{place}: a secret in it changes (not shown)"),)
    if not gone and not come:
        head = Line(REPLACE, f"{place}: the same {plural(len(new), 'item')} in another order")
        return head, Line(REMOVE, f"  was      {shown(old)}"), Line(ADD, f"  becomes  {shown(new)}")
    stay = len(old) - len(gone)
    # Items that look the same behind their masks may differ: which of them do is not told.
    kept = f", {stay:,} of them as before" if stay and mask([old, new]) == [old, new] else ""
    head = Line(REPLACE, f"{place}: was {plural(len(old), 'item')}, becomes {len(new):,}{kept}")
    return head, *_some(REMOVE, gone), *_some(ADD, come)


def _without(items: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    left = Counter(encode(mask(item)) for item in others)
    result = []
    for item in items:
        key = encode(mask(item))
        if left[key]:
            left[key] -= 1
        else:
            result.append(item)
    return result


def _some(mark: str, items: Sequence[Any]) -> Iterable[Line]:
    yield from (Line(mark, f"  {shown(item)}") for item in items[:_ITEMS])
    if len(items) > _ITEMS:
        yield Line(mark, f"  … and {plural(len(items) - _ITEMS, 'more item')}")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
