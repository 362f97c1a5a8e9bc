"""Settings and their meanings, each different part read and compared once however many nodes show it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from reconciler.core.editors import delivered
from reconciler.core.plain import encode
from reconciler.drivers.m2 import canonical
from reconciler.drivers.m2.schema import Content

DEEPEST: Final = 250
"""Levels of objects and lists in a node's answer; what nests deeper is no setting."""


@dataclass(slots=True)
class Contents:
    """Remembers what it has read: a thousand nodes with one setting cost no more than one.

    Top-level sections are remembered too, so that nodes which differ in their version alone share
    everything else.
    """

    _bodies: dict[bytes, Content] = field(init=False, default_factory=dict)
    _sections: dict[tuple[str, bytes], tuple[Any, Any, str]] = field(init=False, default_factory=dict)

    def read(self, body: bytes) -> Content:
        """The setting in a node's answer; of a key that stands twice the last counts.

        Raises:
            ValueError: not a JSON object, or one that nests deeper than any setting.
        """
        key = hashlib.sha256(body).digest()
        if key not in self._bodies:
            document = _parsed(body)
            if not isinstance(document, dict):
                raise ValueError("it is JSON, but not an object")
            self._bodies[key] = self.of(document)
        return self._bodies[key]

    def of(self, document: Mapping[str, Any]) -> Content:
        """A setting with its meaning, wanted or shown; equal sections share their values.

        What the file says to editors is left out here: it is neither delivered nor compared.
        """
        document = delivered(document)
        found = {key: self._section(key, document.get(key, {})) for key in canonical.keys(document)}
        prints = {key: found[key][2] for key in sorted(found)}
        return Content(
            {key: found[key][0] for key in document},
            {key: meaning for key, (_, meaning, _) in found.items()},
            hashlib.sha256(encode(prints)).hexdigest(),
            prints,
        )

    def _section(self, key: str, value: Any) -> tuple[Any, Any, str]:
        known = (key, hashlib.sha256(canonical.clear_bytes(value)).digest())
        if known not in self._sections:
            meaning = canonical.section(key, value)
            self._sections[known] = (value, meaning, canonical.fingerprint(meaning))
        return self._sections[known]


def _parsed(body: bytes) -> Any:
    """The value in a body; what orjson is too strict for, such as a byte order mark, is tried again."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(body, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError):
            raise ValueError(f"it is not JSON ({error})") from error
    try:
        orjson.dumps(value)
    except TypeError:
        _check(value)
    return value


def _check(value: Any) -> None:
    """Whether the rest of the program can work with a value that orjson does not write.

    Raises:
        ValueError: it nests too deeply, or has half characters in its text.
    """
    if _deeper_than(value, DEEPEST):
        raise ValueError(f"it nests deeper than {DEEPEST} levels")
    try:
        encode(value)
    except UnicodeEncodeError as error:
        raise ValueError("it has text that is no Unicode") from error


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        inside = (item.values() if isinstance(item, dict) else item for item in layer)
        layer = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not layer:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number
