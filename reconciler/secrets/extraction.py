"""Puts references in the place of secrets, under names that tell what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.host.config import PREFIX
from reconciler.secrets.references import MARK
from reconciler.secrets.scan import looks_secret

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ENOUGH: Final = 2
_LONG: Final = 8
"""Characters from which on a text is hardly a secret's by chance: a shorter one may be a common word."""

Path = tuple[str | int, ...]


@dataclass(slots=True)
class SecretExtractor:
    """Gives each secret a name; the same text under the same words has the same name.

    Args:
        known: a secret's text -> the reference that files have for it already.
        prefix: how the names begin, as the host allows them.
        named: environment variable -> the secret's text, of those that got their names here.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    prefix: str = PREFIX
    named: dict[str, str] = field(default_factory=dict)

    def value(self, value: Any, path: Path = (), owner: str = "") -> Any:
        """The same plain value as a file may say it: secrets as `${env:NAME}`, other `${` escaped.

        Args:
            value: plain, nothing in it being a reference.
            path: where it stands.
            owner: the `name` of the nearest object around it that has one.
        """
        if isinstance(value, Mapping):
            name = value.get("name")
            inner = name if isinstance(name, str) else owner
            return {key: self.value(item, (*path, key), inner) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index), owner) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        keys = [part for part in path if isinstance(part, str)]
        secret = looks_secret(keys[-1] if keys else "", value)
        if value in self.known and (secret or len(value) >= _LONG):
            return self.known[value]
        if secret:
            return f"${{env:{self._name([owner, keys[-1]] if owner else keys[-_ENOUGH:], value)}}}"
        return value.replace(MARK, f"${MARK}")

    def _name(self, words: list[str], text: str) -> str:
        parts = [part.upper() for word in words for part in _WORD.findall(word)]
        stem = "_".join(parts) or "SECRET"
        stem = f"{self.prefix}{stem}"
        name, number = stem, 1
        while self.named.setdefault(name, text) != text:
            number += 1
            name = f"{stem}_{number}"
        return name
