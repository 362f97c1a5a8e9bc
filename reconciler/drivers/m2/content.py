"""Settings and their meanings, each different part read and compared once however many nodes show it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.canonical import fingerprint
from reconciler.core.editors import delivered
from reconciler.core.json_reader import read_json
from reconciler.drivers.m2 import canonical
from reconciler.drivers.m2.schema import Content, SectionVeil
from reconciler.drivers.m2.setting.check import LIMITS

MOST_SHOWN: Final = 128 * 1024 * 1024
"""Bytes of the different sections that the nodes of one cluster show; ten times as many in memory."""


def content_of(
    document: Any, meaning: Mapping[str, Any], prints: Mapping[str, str], veils: Mapping[str, SectionVeil]
) -> Content:
    """A setting with its fingerprints.

    Args:
        document: as it stands.
        meaning: of it, by top-level key.
        prints: fingerprint of the meaning of each key, sorted by key.
        veils: what of the value of each key is not shown.
    """
    meta = meaning.get("meta")
    bare = {key: meta[key] for key in meta if key != "version"} if isinstance(meta, Mapping) else meta
    unstamped = {**prints, "meta": canonical.fingerprint(bare)}
    return Content(document, meaning, fingerprint(prints), prints, fingerprint(unstamped), veils)


class TooMuchShown(ValueError):
    """The nodes of one cluster show more than this host can hold."""


@dataclass(slots=True)
class Contents:
    """Remembers what it has read: a thousand nodes with one setting cost no more than one.

    Top-level sections are remembered too, so that nodes which differ in their version alone share
    everything else.

    Args:
        most: bytes of different sections that are remembered; beyond it nothing new is read. 0 for no bound.
        large: held while a large answer is read outside the event loop, one at a time.
    """

    most: int = 0
    large: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _kept: int = field(init=False, default=0)
    _bodies: dict[bytes, Content] = field(init=False, default_factory=dict)
    _sections: dict[tuple[str, bytes], tuple[Any, Any, str, SectionVeil]] = field(
        init=False, default_factory=dict
    )

    def read(self, body: bytes) -> Content:
        """The setting in a node's answer; of a key that stands twice the last counts.

        Raises:
            ValueError: not a JSON object, or beyond `LIMITS`; `TooMuchShown` with what other nodes showed.
        """
        key = hashlib.sha256(body).digest()
        if key not in self._bodies:
            document = read_json(body, LIMITS)
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
        # The whole has the print of its sections' prints: nodes that differ in their version alone cost a
        # small section each, and each large one is read once.
        prints = {key: found[key][2] for key in sorted(found)}
        meaning = {key: one[1] for key, one in found.items()}
        veils = {key: one[3] for key, one in found.items()}
        return content_of({key: found[key][0] for key in document}, meaning, prints, veils)

    def _section(self, key: str, value: Any) -> tuple[Any, Any, str, SectionVeil]:
        clear = canonical.clear_bytes(value)
        known = (key, hashlib.sha256(clear).digest())
        if known not in self._sections:
            if self.most and self._kept + len(clear) > self.most:
                raise TooMuchShown(
                    f"with it, the different settings that this cluster's nodes show have more than "
                    f"{self.most:,} bytes, more than this host reads"
                )
            self._kept += len(clear)
            meaning = canonical.section(key, value)
            print_ = canonical.fingerprint(meaning)
            self._sections[known] = (value, meaning, print_, SectionVeil(key, meaning))
        return self._sections[known]
