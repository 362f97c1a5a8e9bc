"""Fields of settings that are not ours: left out of comparisons, kept in what is delivered; pure.

A pattern names a key of objects: `/hosting/*/stats`. `*` stands for any key of an object and for the items of
a list; an item of a list whose items have names is also named by that, as plans show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.pointer_pattern import ANY, Pattern, parse_pattern
from reconciler.text.json_pointer import make_pointer, split_pointer

MOST_PATTERNS: Final = 100
"""Highest number of patterns of one node."""

REFUSED: Final = "unmanaged-refused"
"""Code of a pattern that must not be unmanaged."""

UNFILLED: Final = "unmanaged-unknown"
"""Code of the finding that a node differs, and that what it is to keep is not known."""

UNMATCHED: Final = "unmanaged-unmatched"
"""Code of a pattern that matches nothing, in files or on nodes."""

NamedLists = Sequence[tuple[tuple[str, ...], str]]
"""(path of a list, without indices; the key with the name of an item)."""


@dataclass(frozen=True, slots=True)
class UnmanagedField:
    """A pattern as the fleet file has it.

    Args:
        text: the pattern.
        pointer: of the text in the fleet file.
    """

    text: str
    pointer: str

    @property
    def pattern(self) -> Pattern:
        """Its parts."""
        return parse_pattern(self.text)


def list_patterns(fields: Iterable[UnmanagedField]) -> tuple[Pattern, ...]:
    """The patterns of a node, in one order."""
    return tuple(sorted({field.pattern for field in fields}))


def read_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns in the arguments of a step."""
    return tuple(split_pointer(text) for text in texts)


@dataclass(frozen=True, slots=True)
class VitalField:
    """A part of settings that always belongs to the desired state.

    Args:
        pattern: where it is.
        reason: what it decides, to follow "it decides".
        is_deep: whether everything in it is vital, too.
    """

    pattern: Pattern
    reason: str
    is_deep: bool = True


@dataclass(frozen=True, slots=True)
class UnmanagedRules:
    """What of a product's settings may be unmanaged.

    Args:
        refusal: why nothing may be, and what to do instead; empty if fields may be.
        vital: what may not be.
        names: lists whose items have names.
    """

    refusal: str = ""
    vital: tuple[VitalField, ...] = ()
    names: NamedLists = field(default=())

    def find_vital(self, pattern: Pattern) -> VitalField | None:
        """What a pattern would take out of the desired state and must not; None if it may."""
        for one in self.vital:
            common = zip(pattern, one.pattern, strict=False)
            fits = all(mine == theirs or ANY in (mine, theirs) for mine, theirs in common)
            if fits and (len(pattern) <= len(one.pattern) or one.is_deep):
                return one
        return None


class UnfillableSetting(ValueError):
    """The values that a node shows cannot be put into its new setting; the message says why."""


def strip_unmanaged(value: Any, patterns: Iterable[Pattern], names: NamedLists) -> Any:
    """A value without its unmanaged fields, and without objects on the way to them that are empty then.

    Parts without any are the same objects.
    """
    for pattern in patterns:
        value = _strip(value, pattern, (), names)
    return value


def _strip(value: Any, parts: Pattern, path: tuple[str, ...], names: NamedLists) -> Any:
    if isinstance(value, Mapping):
        chosen = list(value) if parts[0] == ANY else [parts[0]] if parts[0] in value else []
        found: Any = value
        for key in chosen:
            inner = _strip(value[key], parts[1:], (*path, key), names) if parts[1:] else None
            # An object that is there for the unmanaged field alone is no difference either.
            is_gone = not parts[1:] or (isinstance(inner, Mapping) and not inner)
            if is_gone or inner is not value[key]:
                found = dict(found) if found is value else found
                if is_gone:
                    del found[key]
                else:
                    found[key] = inner
        return found
    if isinstance(value, list) and parts[1:]:
        items = [
            _strip(item, parts[1:], path, names) if _is_chosen(item, parts[0], path, names) else item
            for item in value
        ]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _is_chosen(item: Any, part: str, path: tuple[str, ...], names: NamedLists) -> bool:
    return part == ANY or (part != "" and _get_name(item, path, names) == part)


def _get_name(item: Any, path: tuple[str, ...], names: NamedLists) -> str:
    """The name of an item of a list; empty if it has none."""
    key = next((key for place, key in names if place == path), "")
    name = item.get(key) if key and isinstance(item, Mapping) else ""
    return name if isinstance(name, str) else ""


def find_values(
    value: Any, pattern: Pattern, names: NamedLists, start: tuple[str, ...] = (), *, is_prefix: bool = False
) -> Iterator[tuple[str | int, ...]]:
    """The paths in a value that a pattern matches.

    Args:
        value: a setting, or a part of one.
        pattern: below the value.
        names: lists whose items have names.
        start: the place of the value, without indices.
        is_prefix: whether the pattern is the beginning of another one, so that it may end at items of a list.
    """
    found: list[tuple[tuple[str | int, ...], tuple[str, ...], Any]] = [((), start, value)]
    for number, part in enumerate(pattern):
        following: list[tuple[tuple[str | int, ...], tuple[str, ...], Any]] = []
        for place, path, outer in found:
            if isinstance(outer, Mapping):
                keys = outer if part == ANY else [part] if part in outer else []
                following += [((*place, key), (*path, key), outer[key]) for key in keys]
            elif isinstance(outer, list) and (is_prefix or number < len(pattern) - 1):
                following += [
                    ((*place, index), path, item)
                    for index, item in enumerate(outer)
                    if _is_chosen(item, part, path, names)
                ]
        found = following
    for place, _, _ in found:
        yield place


def fill_unmanaged(wanted: Any, shown: Any, patterns: Iterable[Pattern], names: NamedLists) -> Any:
    """A setting with the values that a node shows in its unmanaged fields.

    Args:
        wanted: the setting; unchanged.
        shown: what the node shows.
        patterns: of the unmanaged fields.
        names: lists whose items have names.

    Raises:
        UnfillableSetting: it is not clear which item of a list in the one is which in the other.
    """
    for pattern in patterns:
        if next(find_values(shown, pattern, names), None) is not None:
            wanted = _fill(wanted, shown, pattern, (), names)
    return wanted


_NOTHING: Final = object()


def _fill(wanted: Any, shown: Any, parts: Pattern, path: tuple[str, ...], names: NamedLists) -> Any:
    """The wanted value with what the node shows below it; `_NOTHING` for no value."""
    if not parts:
        return shown
    if isinstance(shown, Mapping):
        held = {} if wanted is _NOTHING else wanted
        if not isinstance(held, Mapping):
            return wanted
        found = dict(held)
        for key in shown if parts[0] == ANY else [parts[0]] if parts[0] in shown else []:
            inner = _fill(held.get(key, _NOTHING), shown[key], parts[1:], (*path, key), names)
            if inner is not _NOTHING:
                found[key] = inner
        return found if found or wanted is not _NOTHING else _NOTHING
    if isinstance(shown, list) and isinstance(wanted, list) and parts[1:]:
        return _fill_items(wanted, shown, parts, path, names)
    return wanted


def _fill_items(
    wanted: list[Any], shown: list[Any], parts: Pattern, path: tuple[str, ...], names: NamedLists
) -> list[Any]:
    """The items of a list, each with what its own counterpart shows."""
    if not any(next(find_values(item, parts[1:], names, path), None) is not None for item in shown):
        return wanted
    where = make_pointer(path)
    if any(place == path for place, _ in names):
        own = [_get_name(item, path, names) for item in shown]
        if len(set(own)) < len(own) or "" in own:
            raise UnfillableSetting(f"items of its {where} have no name, or one name twice")
        counterparts = dict(zip(own, shown, strict=True))
        pairs = [(item, counterparts.get(_get_name(item, path, names), _NOTHING)) for item in wanted]
    elif len(wanted) == len(shown):
        pairs = list(zip(wanted, shown, strict=True))
    else:
        raise UnfillableSetting(
            f"its {where} has {len(shown)} items without names and is to have {len(wanted)}, so that it is "
            "not clear which is which"
        )
    return [
        _fill(item, other, parts[1:], path, names)
        if other is not _NOTHING and _is_chosen(item, parts[0], path, names)
        else item
        for item, other in pairs
    ]
