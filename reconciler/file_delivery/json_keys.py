"""Some keys of a JSON file, at any depth, as the desired content; other keys pass through.

Order, layout and indentation of people stay: values are replaced in the text, and new keys come after the
others. What cannot be read is told with its position and never written over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.diff import Change, diff_values
from reconciler.core.json_reader import JsonError, JsonLimits, check_size
from reconciler.core.secret import MASK, Secret, find_secrets, mask, reveal
from reconciler.documents.document import parse_document
from reconciler.documents.edit import REMOVED, Edit
from reconciler.documents.editor import apply_text_edits
from reconciler.errors import InputError, UsageError
from reconciler.file_delivery.content import FileContent, UnfitFile
from reconciler.secrets.patterns import should_mask_key
from reconciler.secrets.redaction import LineRedactor, hide_by_key
from reconciler.text.json_pointer import make_pointer

LIMITS: Final = JsonLimits(size=1024 * 1024, values=20_000)
"""Bounds on a file; those that people write have some ten values."""

_NAME: Final = "file.json"
"""Tells the parser that it is JSON."""

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonKeys(FileContent):
    """Some keys of a JSON object; objects are merged, other values replaced. Keys are case-sensitive.

    Args:
        values: key -> value, a `Secret` where the desired state refers to one.
        removed: paths of keys that must not be there; an object leaves once nothing else is left in it.
    """

    values: Mapping[str, Any] = field(repr=False)
    removed: tuple[_Path, ...] = ()
    _read: dict[bytes, Mapping[str, Any]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def render(self, current: bytes | None) -> bytes:
        found = self._parse(current)
        edits = [
            *_list_edits(found, self.values, ()),
            *(Edit(path, REMOVED) for path in self._list_removals(found)),
        ]
        if current is not None and not edits:
            return current
        text = (current or b"").decode()
        try:
            return apply_text_edits(_NAME, text if text.strip() else "{}\n", edits).encode()
        except UsageError as error:
            raise UnfitFile(str(error)) from error
        except UnicodeEncodeError:  # JSON can say half of a character
            raise UnfitFile("cannot have the desired values: a character is not complete") from None

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        found = self._parse(current)
        shown = _select(found, self.values, self.redactor, is_shown=True)
        for path in self._list_removals(found):
            _insert(shown, path, _hide(path[-1], _find(found, path), self.redactor))
        return diff_values({entry: shown}, {entry: _hide_wanted(self.values, found)})

    def redact(self, current: bytes | None) -> Any:
        if current is None:
            return None
        found = self._parse(current)
        shown = mask(_select(found, self.values, LineRedactor(()), is_shown=False))
        left = [list(path) for path in self._list_removals(found)]
        return {"keys": shown, "left": left} if self.removed else shown

    @property
    def secrets(self) -> Sequence[Secret]:
        return [secret for _, secret in find_secrets(self.values)]

    def _list_removals(self, found: Mapping[str, Any]) -> list[_Path]:
        return list(_walk_removals(found, frozenset(self.removed), ())) if self.removed else []

    def _parse(self, current: bytes | None) -> Mapping[str, Any]:
        content = current or b""
        if content not in self._read:
            found = parse_json_object(content)
            self._read.clear()
            self._read[content] = found
        return self._read[content]


def parse_json_object(content: bytes | None) -> Mapping[str, Any]:
    """The values of a file; none of one that is missing or empty.

    Raises:
        UnfitFile: it is not one JSON object.
    """
    if content is None or not content.strip():
        return {}
    try:
        check_size(content, LIMITS)
        value = parse_document(_NAME, content).value
    except JsonError as error:
        raise UnfitFile(f"is not read: {error}") from error
    except InputError as error:
        problem = error.problems[0]
        where = problem.position
        place = f" at line {where.line}, column {where.column}" if where is not None else ""
        remedy = f"; {problem.remedy}" if problem.remedy else ""
        # What is quoted of the file could be a secret that nobody knows as one.
        words = LineRedactor(()).redact_text(problem.message)
        raise UnfitFile(f"is not JSON{place}: {words}{remedy}") from error
    if not isinstance(value, dict):
        raise UnfitFile("is not one JSON object at line 1, column 1")
    return value


def _list_edits(found: Mapping[str, Any], wanted: Mapping[str, Any], path: _Path) -> Iterator[Edit]:
    for key, value in wanted.items():
        inner = found.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            yield from _list_edits(inner, value, (*path, key))
        elif key in found and _has_missing(value):
            continue  # whatever the file has may be it
        elif key not in found or not _is_same(inner, reveal(value)):
            yield Edit((*path, key), reveal(value))


def _has_missing(value: Any) -> bool:
    return any(secret.missing for _, secret in find_secrets(value))


def _is_same(one: Any, other: Any) -> bool:
    # In Python, true == 1 and 1 == 1.0; for a program that reads the file they may differ.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _walk_removals(found: Mapping[str, Any], removed: frozenset[_Path], path: _Path) -> Iterator[_Path]:
    """Paths to remove: those of values, or of an object once nothing else is left in it."""
    for key, value in found.items():
        own = (*path, key)
        if not isinstance(value, Mapping):
            if own in removed:
                yield own
            continue
        inner = list(_walk_removals(value, removed, own))
        is_empty = {*inner} >= {(*own, name) for name in value}
        yield from [own] if own in removed and is_empty else inner


def list_json_keys(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """JSON pointers of all keys of an object, at any depth; those in lists do not count."""
    for key, own in value.items():
        yield make_pointer((*path, key))
        if isinstance(own, Mapping):
            yield from list_json_keys(own, (*path, key))


def _find(found: Any, path: _Path) -> Any:
    for key in path:
        found = found[key]
    return found


def _insert(shown: dict[str, Any], path: _Path, value: Any) -> None:
    for key in path[:-1]:
        shown = shown.setdefault(key, {})
    shown[path[-1]] = value


def _select(
    found: Mapping[str, Any], wanted: Mapping[str, Any], redactor: LineRedactor, *, is_shown: bool
) -> dict[str, Any]:
    """The keys of a file that are desired; secrets by what is desired there, by their name and their form."""
    shown: dict[str, Any] = {}
    for key, value in wanted.items():
        if key not in found:
            continue
        inner = found[key]
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            shown[key] = _select(inner, value, redactor, is_shown=is_shown)
        elif any(find_secrets(value)):
            if not is_shown:
                shown[key] = MASK
            elif not _has_missing(value):  # one that is not known here is not compared
                shown[key] = Secret(inner)
        elif is_shown and _is_hidden(key, value):
            shown[key] = Secret(inner)
        else:
            shown[key] = _hide(key, inner, redactor)
    return shown


def _hide(key: str, value: Any, redactor: LineRedactor) -> Any:
    """A value of a file with what may be secret in it masked."""
    if should_mask_key(key):
        return Secret(value)
    if isinstance(value, Mapping):
        return {name: _hide(name, one, redactor) for name, one in value.items()}
    if isinstance(value, list):
        return [_hide(key, one, redactor) for one in value]
    return redactor.redact_text(value) if isinstance(value, str) else value


def _hide_wanted(values: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    hidden: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = found.get(key)
            hidden[key] = _hide_wanted(value, inner if isinstance(inner, Mapping) else {})
        elif key in found and _has_missing(value):
            continue
        elif _is_hidden(key, value):
            hidden[key] = value if isinstance(value, Secret) else Secret(reveal(value))
        else:
            hidden[key] = value
    return hidden


def _is_hidden(key: str, value: Any) -> bool:
    """Whether a desired value is masked: also a password that stands in plain text in an address."""
    return should_mask_key(key) or any(find_secrets(hide_by_key(key, value)))
