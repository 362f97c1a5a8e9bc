"""Settings and their meanings, each different part read and compared once however many nodes show it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.plain import encode
from reconciler.drivers.m2 import canonical
from reconciler.drivers.m2.schema import Content


@dataclass(slots=True)
class Contents:
    """Remembers what it has read: a thousand nodes with one setting cost no more than one."""

    _bodies: dict[bytes, Content] = field(init=False, default_factory=dict)
    _sections: dict[tuple[str, bytes], tuple[Any, str]] = field(init=False, default_factory=dict)

    def read(self, body: bytes) -> Content:
        """The setting in a node's answer; of a key that stands twice the last counts.

        Raises:
            ValueError: not a JSON object.
        """
        key = hashlib.sha256(body).digest()
        if key not in self._bodies:
            document = _parsed(body)
            if not isinstance(document, dict):
                raise ValueError("it is not a JSON object")
            self._bodies[key] = self.of(document)
        return self._bodies[key]

    def of(self, document: Any) -> Content:
        """A setting with its meaning; equal sections share their value."""
        if not isinstance(document, dict):
            meaning = canonical.canonical(document)
            return Content(document, meaning, canonical.fingerprint(meaning))
        found = {key: self._section(key, document.get(key, {})) for key in sorted(canonical.keys(document))}
        prints = {key: digest for key, (_, digest) in found.items()}
        whole = hashlib.sha256(encode(prints)).hexdigest()
        return Content(document, {key: value for key, (value, _) in found.items()}, whole, prints)

    def _section(self, key: str, value: Any) -> tuple[Any, str]:
        known = (key, hashlib.sha256(canonical.clear_bytes(value)).digest())
        if known not in self._sections:
            meaning = canonical.section(key, value)
            self._sections[known] = (meaning, canonical.fingerprint(meaning))
        return self._sections[known]


def _parsed(body: bytes) -> Any:
    import json  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(body)  # half surrogates and huge numbers, which nodes may hold
        except (ValueError, RecursionError):
            raise ValueError(f"it is not JSON ({error})") from error
