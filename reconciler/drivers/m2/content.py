"""Settings with their meanings; each different part is read once, however many nodes show it; pure."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.canonical import fingerprint, strip_editor_key
from reconciler.core.json_reader import read_json
from reconciler.core.pointer_pattern import ANY, Pattern
from reconciler.core.unmanaged import strip_unmanaged
from reconciler.drivers.m2 import canonical
from reconciler.drivers.m2.changes import NAMED
from reconciler.drivers.m2.schema import Content, SectionMask
from reconciler.drivers.m2.setting.check import LIMITS

MAX_SECTION_BYTES: Final = 128 * 1024 * 1024
"""Highest number of bytes of the different sections of one cluster; in memory they take ten times as many."""


def make_content(
    document: Any,
    meaning: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    redaction_masks: Mapping[str, SectionMask],
    unmanaged: tuple[Pattern, ...] = (),
) -> Content:
    """A setting with its fingerprints.

    Args:
        document: the setting as it is in its file or answer.
        meaning: its canonical form, by top-level key.
        fingerprints: top-level key -> fingerprint of the managed meaning, sorted by key.
        redaction_masks: top-level key -> what is not shown of the value.
        unmanaged: the fields that do not count.
    """
    managed = None
    if unmanaged:
        managed = {
            key: get_managed(key, value, unmanaged) for key, value in meaning.items() if key in fingerprints
        }
    meta = meaning.get("meta")
    bare = {key: meta[key] for key in meta if key != "version"} if isinstance(meta, Mapping) else meta
    unstamped = {**fingerprints, "meta": canonical.fingerprint_clear(bare)}
    prints = (fingerprint(fingerprints), fingerprints, fingerprint(unstamped))
    return Content(document, meaning, *prints, redaction_masks, unmanaged=unmanaged, managed=managed)


def get_managed(key: str, meaning: Any, unmanaged: tuple[Pattern, ...]) -> Any:
    """The meaning of the value at a top-level key without unmanaged fields."""
    if not any(pattern[0] in (key, ANY) for pattern in unmanaged):
        return meaning
    return strip_unmanaged({key: meaning}, unmanaged, NAMED).get(key, {})


class ContentTooLarge(ValueError):
    """The nodes of one cluster show more different settings than this host keeps in memory."""


@dataclass(slots=True)
class ContentCache:
    """Keeps what it has read: a thousand nodes with one setting cost no more than one node.

    Top-level sections are kept too, so that nodes that differ only in their version share all other sections.

    Args:
        unmanaged: fields that fingerprints do not count.
        most: bytes of different sections that are kept; beyond it nothing new is read. 0 for no limit.
        large: held while a large answer is read outside the event loop.
        immediate: fingerprints of two settings -> `risk.has_immediate_change`, for nodes with the same one.
    """

    most: int = 0
    unmanaged: tuple[Pattern, ...] = ()
    large: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    immediate: dict[tuple[str, str], bool] = field(init=False, default_factory=dict, repr=False)
    _kept: int = field(init=False, default=0)
    _bodies: dict[bytes, Content] = field(init=False, default_factory=dict)
    _sections: dict[tuple[str, bytes], tuple[Any, Any, str, SectionMask]] = field(
        init=False, default_factory=dict
    )

    @property
    def size(self) -> int:
        """Bytes of the different sections that are kept."""
        return self._kept

    def read(self, body: bytes) -> Content:
        """The setting in a node's answer; of a repeated key the last one counts.

        Raises:
            ValueError: not a JSON object, or beyond `LIMITS`; `ContentTooLarge` with what other nodes showed.
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

        The `$schema` key for editors is left out: it is neither delivered nor compared.
        """
        document = strip_editor_key(document)
        found = {key: self._section(key, document.get(key, {})) for key in canonical.list_keys(document)}
        # The fingerprint of the whole is made of those of the sections: nodes that differ only in their
        # version cost one small section each.
        # Of a section that is there for unmanaged fields alone, there is none.
        fingerprints = {key: found[key][2] for key in sorted(found) if found[key][2]}
        meaning = {key: one[1] for key, one in found.items()}
        redaction_masks = {key: one[3] for key, one in found.items()}
        return make_content(
            {key: found[key][0] for key in document}, meaning, fingerprints, redaction_masks, self.unmanaged
        )

    def _section(self, key: str, value: Any) -> tuple[Any, Any, str, SectionMask]:
        # The hash is the key: the bytes themselves would double the memory, and have secrets in clear.
        clear = canonical.encode_clear(value)
        known = (key, hashlib.sha256(clear).digest())
        if known not in self._sections:
            if self.most and self._kept + len(clear) > self.most:
                raise ContentTooLarge(
                    f"with it, the different settings of this cluster's nodes have more than {self.most:,} "
                    "bytes, the limit of this host"
                )
            self._kept += len(clear)
            meaning = canonical.canonicalise_section(key, value)
            managed = get_managed(key, meaning, self.unmanaged)
            is_unmanaged = managed == {} and managed is not meaning
            print_ = "" if is_unmanaged else canonical.fingerprint_clear(managed)
            self._sections[known] = (value, meaning, print_, SectionMask(key, meaning))
        return self._sections[known]
