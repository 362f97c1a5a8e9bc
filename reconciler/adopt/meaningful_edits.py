"""Selects the differences between files and nodes that the product treats as differences; pure.

A node may write out a default, spell an address differently, or reorder a list whose order means nothing. An
import that copied this into the files would fix values that nobody chose: a later change of a shared value
would then not reach these nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.adopt.drift_edits import Path, find_drift_edits
from reconciler.documents.edit import REMOVED, Edit

MOST_ITEMS: Final = 2_000
"""Maximum number of items that are identified by their meaning, which takes an evaluation for each."""

MOST_TRIALS: Final = 600
"""Maximum number of trials of leaving edits out; edits not tried by then stay. Each evaluates a document."""


@dataclass(slots=True)
class NodeDifference:
    """The differences in meaning between one node's settings and the rendered ones.

    Args:
        rendered: the settings by the files.
        meaning: gives the same text for documents of the same meaning.
        ignored: paths whose differences are not written into files.
    """

    rendered: Any
    meaning: Callable[[Any], str]
    ignored: AbstractSet[Path]
    _keys: dict[tuple[Path, int], tuple[Any, str]] = field(default_factory=dict, init=False)

    def edits(self, shown: Any) -> tuple[Edit, ...]:
        """The fewest edits after which the rendered settings have the meaning of the shown ones.

        Raises:
            UsageError: a secret differs, or cannot be identified because it is not known here.
        """
        aligned = self._align(self.rendered, shown, shown, ())
        edits = find_drift_edits(self.rendered, aligned, key=self._key)
        found = [edit for edit in edits if edit.path not in self.ignored]
        return tuple(_join_added(self.rendered, self._select_needed(found)))

    def _align(self, old: Any, new: Any, whole: Any, path: Path) -> Any:
        """The shown value, with each list in the order of the rendered one if that has the same meaning."""
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
        """What identifies an item of a list: its name, or its own meaning at this path."""
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            return f"name {item['name']}"
        known = (path, id(item))
        # By identity, because items may not be hashable. The value is kept: a new object could have its id.
        if known not in self._keys:
            if len(self._keys) >= MOST_ITEMS:
                return None
            self._keys[known] = (item, self.meaning(_make_context(self.rendered, path, item)))
        return self._keys[known][1]

    def _select_needed(self, edits: Sequence[Edit]) -> list[Edit]:
        """The edits without those that do not change the meaning, found by bisection."""
        # Bisection: usually few edits change the meaning, so that large groups can be left out at once.
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


def _group_edits(rendered: Any, edits: Sequence[Edit]) -> list[tuple[Edit, ...]]:
    """Edits that are made together or not at all: those that shorten or lengthen one list."""
    units: dict[tuple[Path, bool], list[Edit]] = {}
    for edit in edits:
        place, items = (edit.path, False), rendered
        if edit.path and isinstance(edit.path[-1], int):
            for key in edit.path[:-1]:
                items = items[key]
            # One such edit without the others would move the items behind it to other indices.
            if edit.value is REMOVED or edit.path[-1] >= len(items):
                place = (edit.path[:-1], True)
        units.setdefault(place, []).append(edit)
    return [tuple(unit) for unit in units.values()]


def apply_edits(value: Any, edits: Sequence[Edit]) -> Any:
    """A copy of a plain value after edits; missing objects on their paths are created."""
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
    """The edits, with all that is added below one missing object as one edit."""
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
    """The path to the first missing member on a path; the whole path if none is missing."""
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
    """A copy with another value at an existing path."""
    if not path:
        return leaf
    key, *rest = path
    if isinstance(value, list):
        return [
            _replace_at(item, tuple(rest), leaf) if index == key else item for index, item in enumerate(value)
        ]
    return {**value, key: _replace_at(value[key], tuple(rest), leaf)}


def _make_context(value: Any, path: Path, item: Any) -> Any:
    """A small document with one item of a list at its path, and the plain members of the objects above it."""
    if not path:
        return [item]
    key, *rest = path
    if isinstance(value, list):
        return [_make_context(value[int(key)], tuple(rest), item)]
    plain = {name: one for name, one in value.items() if not isinstance(one, Mapping | list)}
    return {**plain, key: _make_context(value[key], tuple(rest), item)}
