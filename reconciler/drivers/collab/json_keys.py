"""Some keys of a JSON file, at any depth; other keys pass through: what is desired of a config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.diff import Change, diff_values
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.core.secret import Secret, find_secrets, mask, reveal
from reconciler.file_delivery.content import FileContent, UnfitFile
from reconciler.secrets.patterns import should_mask_key


@dataclass(frozen=True, slots=True)
class JsonKeys(FileContent):
    """Some keys of a JSON object; objects are merged, other values replaced.

    Args:
        values: key -> value, a `Secret` where the desired state refers to one.
    """

    values: Mapping[str, Any] = field(repr=False)

    def render(self, current: bytes | None) -> bytes:
        found = self._parse(current)
        wanted = _merge(found, self.values)
        if current is not None and wanted == found:
            return current
        return (json.dumps(wanted, indent=2, ensure_ascii=False) + "\n").encode()

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        found = _select(self._parse(current), self.values)
        return diff_values({entry: found}, {entry: _hide(self.values)})

    def redact(self, current: bytes | None) -> Any:
        return None if current is None else mask(_select(self._parse(current), self.values))

    @property
    def secrets(self) -> Sequence[Secret]:
        return [secret for _, secret in find_secrets(self.values)]

    def _parse(self, current: bytes | None) -> dict[str, Any]:
        if current is None:
            return {}
        try:
            value = read_json(current, JsonLimits(size=4 * 1024 * 1024, values=100_000, depth=100))
        except JsonError as error:
            raise UnfitFile(f"is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UnfitFile("is not one JSON object")
        return value


def _merge(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(found)
    for key, value in wanted.items():
        if isinstance(value, Secret) and value.missing and key in found:
            continue  # whatever the file has may be it
        inner = found.get(key)
        if isinstance(value, Mapping):
            merged[key] = _merge(inner if isinstance(inner, Mapping) else {}, value)
        else:
            merged[key] = reveal(value)
    return merged


def _select(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file that are desired; a value is a secret if the desired one is, or by its name."""
    shown: dict[str, Any] = {}
    for key, value in wanted.items():
        if key not in found:
            continue
        inner = found[key]
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            shown[key] = _select(inner, value)
        elif isinstance(value, Secret) and value.missing:
            shown[key] = value
        else:
            shown[key] = Secret(inner) if isinstance(value, Secret) or should_mask_key(key) else inner
    return shown


def _hide(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _hide(value)
        if isinstance(value, Mapping)
        else Secret(value)
        if should_mask_key(key) and not isinstance(value, Secret)
        else value
        for key, value in values.items()
    }
