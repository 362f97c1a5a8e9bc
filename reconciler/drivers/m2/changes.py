"""The differences in meaning between two settings, for a plan; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

from reconciler.core.diff import Change, diff_values
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import Path, get_value
from reconciler.secrets.redaction import NO_MASK, RedactionMask, Redactor
from reconciler.text.json_pointer import split_pointer

NAMED: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("env", "management", "roles"), "name"),
    (("env", "management", "api", "allowList"), "addr"),
    (("env", "management", "server", "connection"), "name"),
    (("hosting",), "name"),
)
"""Path of a list whose items have names -> the key of the name."""

_MISSING: Final = object()
_LISTS: Final = frozenset(path for path, _ in NAMED)


@dataclass(slots=True)
class SectionChanges:
    """The changes of sections; a pair is compared once, however many nodes show it beside other sections."""

    # The values are kept too: an id is unique only as long as its object exists.
    _known: dict[tuple[str, int, int], tuple[Any, Any, tuple[Change, ...]]] = field(
        init=False, default_factory=dict
    )

    def find(self, key: str, before: Any, after: Any) -> tuple[Change, ...]:
        """The changes between two settings in the section at a top-level key, with secrets in plain text."""
        old, new = _select_key(before, key), _select_key(after, key)
        sides = old.get(key, _MISSING), new.get(key, _MISSING)
        pair = (key, id(sides[0]), id(sides[1]))
        if pair not in self._known:
            named_old, named_new = old, new
            for path, name in NAMED:
                if path[0] == key:
                    named_old, named_new = _index_by_name(named_old, named_new, path, name)
            self._known[pair] = *sides, diff_values(named_old, named_new)
        return self._known[pair][2]


def find_changes(before: Content | None, after: Content, more: RedactionMask = NO_MASK) -> tuple[Change, ...]:
    """`find_masked_changes`; hidden is what is a secret in one of the two, or in `more`."""
    return find_masked_changes(before, after, combine_masks(before, after, more))


def combine_masks(before: Content | None, after: Content, more: RedactionMask = NO_MASK) -> RedactionMask:
    """What is a secret in one of two settings, and what is also hidden."""
    own = () if before is None else (before.redaction_mask,)
    return RedactionMask.of((more, *own, after.redaction_mask))


def find_masked_changes(
    before: Content | None,
    after: Content,
    redaction_mask: RedactionMask,
    sections: SectionChanges | None = None,
) -> tuple[Change, ...]:
    """The changes from the meaning of `before` to that of `after`, in the order of their pointers.

    The items of the lists in `NAMED` are addressed by name, such as `/env/management/roles/admin`, where the
    names in each list are unique and common ones have the same order.

    Args:
        before: what the node shows; None for no setting.
        after: what it should have.
        redaction_mask: what is hidden on both sides, by place and by value.
        sections: of settings that were compared before; None to compare everything.
    """
    if before is None:
        return _redact_changes(diff_values({}, after.compared), redaction_mask)
    different = sorted(
        key
        for key in {*before.fingerprints, *after.fingerprints}
        if before.fingerprints.get(key) != after.fingerprints.get(key)
    )
    known = SectionChanges() if sections is None else sections
    found = (known.find(key, before.compared, after.compared) for key in different)
    return _redact_changes(tuple(chain.from_iterable(found)), redaction_mask)


def _select_key(setting: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: setting[key]} if key in setting else {}


def _index_by_name(old: Any, new: Any, path: Path, key: str) -> tuple[Any, Any]:
    """Both with the list at a path as an object by name; unchanged where that would lose a difference."""
    before, after = _read_names(get_value(old, path), key), _read_names(get_value(new, path), key)
    if before is None or after is None:
        return old, new
    # By name, a changed order would be invisible; in an allowList it decides who has access.
    if [name for name in before if name in after] != [name for name in after if name in before]:
        return old, new
    return _replace_at(old, path, before), _replace_at(new, path, after)


def _read_names(items: Any, key: str) -> dict[str, Any] | None:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return None
    names = [item.get(key) for item in items]
    if not all(isinstance(name, str) for name in names):  # a node may show a name of any type
        return None
    found = dict(zip(names, items, strict=True))
    return found if len(found) == len(items) else None


def _replace_at(value: Any, path: Path, leaf: Any) -> Any:
    """A copy with another value at an existing path."""
    if not path:
        return leaf
    return {**value, path[0]: _replace_at(value[path[0]], path[1:], leaf)}


def _redact_changes(changes: tuple[Change, ...], redaction_mask: RedactionMask) -> tuple[Change, ...]:
    """The changes with what is hidden as `Secret`; in a pointer, a key that has such a text is masked."""
    if not redaction_mask.places and not redaction_mask.texts:
        return changes
    names = Redactor(redaction_mask.texts)
    redacted = []
    for change in changes:
        path = _make_mask_path(change.pointer)
        pointer = names.values(change.pointer) if redaction_mask.texts else change.pointer
        old, new = redaction_mask.hide(change.old, path), redaction_mask.hide(change.new, path)
        redacted.append(replace(change, pointer=pointer, old=old, new=new))
    return tuple(redacted)


def _make_mask_path(pointer: str) -> tuple[str, ...]:
    """The path as a redaction mask has it: without indices, and without the names of items."""
    path: tuple[str, ...] = ()
    rest = list(split_pointer(pointer))
    while rest:
        path = (*path, rest.pop(0))
        if rest and path in _LISTS:
            rest.pop(0)
    return tuple(part for part in path if not part.isdigit())
