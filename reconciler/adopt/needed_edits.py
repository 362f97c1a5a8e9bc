"""Selects the differences between files and nodes that the product treats as differences; pure.

A node may write out a default, spell an address differently, or reorder a list whose order means nothing. An
import that copied this into the files would fix values that nobody chose: a later change of a shared value
would then not reach these nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.adopt.live_edits import Path, find_drift_edits
from reconciler.documents.edit import REMOVED, Edit

MOST_ITEMS: Final = 2_000
"""Items of a list that are identified by their meaning; items of longer lists by their index."""

MOST_TRIALS: Final = 600
"""Trials of leaving edits out; edits not tried by then stay. Each trial evaluates a whole document."""

Unit = tuple[Edit, ...]


@dataclass(slots=True)
class NodeDifference:
    """Where one node's settings differ from the rendered ones in meaning.

    Args:
        rendered: the settings that the files give.
        meaning: what tells one meaning of a whole document from another.
        unsaid: whether an edit is none of the files'.
    """

    rendered: Any
    meaning: Callable[[Any], str]
    unsaid: Callable[[Edit], bool]
    _keys: dict[tuple[Path, int], tuple[Any, str]] = field(default_factory=dict, init=False)

    def edits(self, shown: Any) -> tuple[Edit, ...]:
        """The fewest edits after which the rendered settings mean what is shown.

        Raises:
            UsageError: a secret differs, or cannot be told from others because it is not known here.
        """
        aligned = self._align(self.rendered, shown, shown, ())
        found = [
            edit for edit in find_drift_edits(self.rendered, aligned, key=self._key) if not self.unsaid(edit)
        ]
        return tuple(_join_added(self.rendered, self._select_needed(found)))

    def _align(self, old: Any, new: Any, whole: Any, path: Path) -> Any:
        """What is shown, with each list in the order of the rendered one where that means the same."""
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in [key for key in new if key in old]:
                part = self._align(old[key], new[key], whole, (*path, key))
                if part is not new[key]:
                    new = {**new, key: part}
                    whole = _replace_at(whole, path, new)
            return new
        if not (isinstance(old, list) and isinstance(new, list)):
            return new
        ours, theirs = ([self._key(path, item) for item in items] for items in (old, new))
        if None in ours or None in theirs or len({*ours}) < len(ours) or len({*theirs}) < len(theirs):
            return new
        # A new item takes the place of a removed one, so that one changed item stays one edit.
        came = [key for key in theirs if key not in ours]
        slots = [key if key in theirs else came.pop(0) for key in ours if key in theirs or came]
        wanted = [*slots, *came]
        if wanted != theirs:
            moved = [new[theirs.index(key)] for key in wanted]
            if self.meaning(_replace_at(whole, path, moved)) == self.meaning(whole):
                return moved
        return new

    def _key(self, path: Path, item: Any) -> str | None:
        """What tells an item of a list: its name, or what it means by itself where it stands."""
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            return f"name {item['name']}"
        known = (path, id(item))
        if known not in self._keys:
            if len(self._keys) >= MOST_ITEMS:
                return None
            self._keys[known] = (item, self.meaning(_make_context(self.rendered, path, item)))
        return self._keys[known][1]

    def _select_needed(self, edits: Sequence[Edit]) -> list[Edit]:
        """The edits without those that do not change the meaning, found by bisection."""
        units = _group_edits(self.rendered, edits)
        target = self.meaning(apply_edits(self.rendered, edits))
        kept = dict.fromkeys(range(len(units)))
        todo, trials = [list(kept)], 0
        while todo and trials < MOST_TRIALS:
            group = todo.pop()
            trial = [
                edit
                for index, unit in enumerate(units)
                if index in kept and index not in group
                for edit in unit
            ]
            trials += 1
            if group and self.meaning(apply_edits(self.rendered, trial)) == target:
                kept = {index: None for index in kept if index not in group}
            elif len(group) > 1:
                half = len(group) // 2
                todo += [group[half:], group[:half]]
        return [edit for index, unit in enumerate(units) if index in kept for edit in unit]


def _group_edits(rendered: Any, edits: Sequence[Edit]) -> list[Unit]:
    """Edits that are made together or not at all: what shortens and lengthens one list."""
    units: list[list[Edit]] = []
    lists: dict[Path, list[Edit]] = {}
    for edit in edits:
        place = edit.path[:-1]
        if not (edit.path and isinstance(edit.path[-1], int)) or _is_in_place(rendered, edit):
            units.append([edit])
        elif place in lists:
            lists[place].append(edit)
        else:
            lists[place] = [edit]
            units.append(lists[place])
    return [tuple(unit) for unit in units]


def _is_in_place(rendered: Any, edit: Edit) -> bool:
    """Whether an edit changes an item of a list in its place."""
    for key in edit.path[:-1]:
        rendered = rendered[key]
    return edit.value is not REMOVED and int(edit.path[-1]) < len(rendered)


def apply_edits(value: Any, edits: Sequence[Edit]) -> Any:
    """A plain value after edits; objects that are missing on the way are made."""
    value = _copy(value)
    for edit in edits:
        if not edit.path:
            value = _copy(edit.value)
            continue
        *way, last = edit.path
        part = value
        for key in way:
            part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
        if edit.value is REMOVED:
            part.pop(int(last)) if isinstance(part, list) else part.pop(last, None)
        elif isinstance(part, list) and last == len(part):
            part.append(_copy(edit.value))
        else:
            part[last] = _copy(edit.value)
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _join_added(rendered: Any, edits: Sequence[Edit]) -> list[Edit]:
    """Edits with what is added below one place that is missing put together."""
    found: dict[Path, Edit] = {}
    for edit in edits:
        place = _find_missing_parent(rendered, edit.path)
        if edit.value is REMOVED or len(place) == len(edit.path):
            found[edit.path] = edit
            continue
        value = found[place].value if place in found else {}
        found[place] = Edit(place, apply_edits(value, [Edit(edit.path[len(place) :], edit.value)]))
    return list(found.values())


def _find_missing_parent(value: Any, path: Path) -> Path:
    """The first part of a path at which an object lacks a member; the whole path where none does."""
    for index, key in enumerate(path):
        if isinstance(value, Mapping):
            if key not in value:
                return path[: index + 1]
            value = value[key]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            break
    return path


def _replace_at(value: Any, path: Path, leaf: Any) -> Any:
    """A copy with another value at a path that is there."""
    if not path:
        return leaf
    key, *rest = path
    if isinstance(value, list):
        return [
            _replace_at(item, tuple(rest), leaf) if index == key else item for index, item in enumerate(value)
        ]
    return {**value, key: _replace_at(value[key], tuple(rest), leaf)}


def _make_context(value: Any, path: Path, item: Any) -> Any:
    """A small document that has one item of a list at its place, and the plain members on the way to it."""
    if not path:
        return [item]
    key, *rest = path
    if isinstance(value, list):
        return [_make_context(value[int(key)], tuple(rest), item)]
    plain = {name: one for name, one in value.items() if not isinstance(one, Mapping | list)}
    return {**plain, key: _make_context(value[key], tuple(rest), item)}
