"""Replaces secrets by references with names that describe them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.host.config_fields import PREFIX
from reconciler.secrets.patterns import find_secret, should_mask_key
from reconciler.secrets.references import MARK

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NAME_WORDS: Final = 2
"""Keys of the path that make a name where no object has one."""

_LONG: Final = 8
"""Characters from which an equal text is taken for the known secret: a shorter one may be a common word."""

Path = tuple[str | int, ...]


@dataclass(slots=True)
class SecretExtractor:
    """Gives each secret a name; the same text under the same keys gets the same name.

    Args:
        known: text of a secret -> the reference that files already have for it.
        prefix: of the names, as the host allows them.
        named: environment variable -> text of the secret, for names given here.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    prefix: str = PREFIX
    named: dict[str, str] = field(default_factory=dict)

    def value(self, value: Any, path: Path = (), owner: str = "", *, careful: bool = False) -> Any:
        """The same plain value for a file: secrets as `${env:NAME}`, other `${` escaped.

        Args:
            value: plain, without references.
            path: its place in the document.
            owner: the `name` of the nearest enclosing object that has one.
            careful: whether each key counts that plans mask, also one that only may be that of a secret.
        """
        if isinstance(value, Mapping):
            name = value.get("name")
            inner = name if isinstance(name, str) else owner
            return {
                key: self.value(item, (*path, key), inner, careful=careful) for key, item in value.items()
            }
        if isinstance(value, list):
            return [
                self.value(item, (*path, index), owner, careful=careful) for index, item in enumerate(value)
            ]
        if not isinstance(value, str):
            return value
        keys = [part for part in path if isinstance(part, str)]
        key = keys[-1] if keys else ""
        secret = bool(find_secret(key, value)) or (careful and bool(value) and should_mask_key(key))
        if value in self.known and (secret or len(value) >= _LONG):
            return self.known[value]
        if secret:
            return f"${{env:{self._make_name([owner, keys[-1]] if owner else keys[-_NAME_WORDS:], value)}}}"
        return value.replace(MARK, f"${MARK}")

    def _make_name(self, words: list[str], text: str) -> str:
        parts = [part.upper() for word in words for part in _WORD.findall(word)]
        stem = f"{self.prefix}{'_'.join(parts) or 'SECRET'}"
        name, number = stem, 1
        # Another secret under the same keys gets a number; the same text shares the name.
        while self.named.setdefault(name, text) != text:
            number += 1
            name = f"{stem}_{number}"
        return name
