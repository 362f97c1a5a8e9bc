"""Settings that differ only in the token of their node: they share their meaning and all that follows; pure.

Thousands of nodes have one setting, with a URL of its own for each. Without this, each of them would cost a
parser, a canonical form and a mask of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.content import ContentCache, get_managed, make_content
from reconciler.drivers.m2.schema import Content, SectionMask
from reconciler.drivers.m2.setting.diagnostics import Path, get_value
from reconciler.secrets.redaction import RedactionMask

_TOKEN: Final = re.compile(rb"/([A-Za-z0-9_-]{43})/(?:setting|report|purge)\b")
"""A token in a URL that this program writes; in JSON the slashes may be escaped, which nodes do not do."""

PLACEHOLDER: Final = "token-of-this-node"
"""Stands for the token in a template."""

_KEPT: Final = 512
"""Filled settings that are kept: a node that is called shows the same one at up to three places."""

_ENV: Final = "env"


class FilledMask(SectionMask):
    """The mask of a section of many nodes, and the token of one of them.

    Args:
        common: of the section without a token.
        texts: secrets of this node.
    """

    def __init__(self, common: SectionMask, texts: frozenset[str]) -> None:
        self._common, self._texts = common, texts

    @property
    def redaction_mask(self) -> RedactionMask:
        """The mask of the section, with the secrets of this node."""
        found = self._common.redaction_mask
        return RedactionMask(found.places, found.texts | self._texts)


def fill_content(
    common: Content, values: Mapping[Path, Any], token: str, template: Content | None = None
) -> Content:
    """A setting with values of one node, at places in `env` that mean what they say.

    Args:
        common: the setting of all nodes.
        values: path -> value.
        token: of the node, hidden wherever it stands.
        template: the setting with `PLACEHOLDER` as the token; None if this is it.
    """
    document, canonical = replace_values(common.document, values), replace_values(common.canonical, values)
    managed = get_managed(_ENV, canonical[_ENV], common.unmanaged)
    fingerprints = {**common.fingerprints, _ENV: fingerprint_clear(managed)}
    texts = frozenset({token})
    masks = {**common.redaction_masks, _ENV: FilledMask(common.redaction_masks[_ENV], texts)}
    content = make_content(document, canonical, fingerprints, masks, common.unmanaged)
    return replace(content, common=common, template=template, token=token)


def share_pair(before: Content, after: Content) -> tuple[Content, Content]:
    """Both settings with `PLACEHOLDER` as the token, if they have the same one: what differs is the same.

    A thousand nodes have one such pair, so that it is compared once.
    """
    if before.template is None or after.template is None or before.token != after.token:
        return before, after
    return before.template, after.template


def replace_values(document: Any, values: Mapping[Path, Any]) -> dict[str, Any]:
    """A copy of a document with values at paths of keys; objects that are missing on the way are made."""
    held = dict(document) if isinstance(document, Mapping) else {}
    below: dict[str, dict[Path, Any]] = {}
    for (key, *rest), value in values.items():
        if rest:
            below.setdefault(str(key), {})[tuple(rest)] = value
        else:
            held[str(key)] = value
    for key, inner in below.items():
        held[key] = replace_values(held.get(key), inner)
    return held


def remove_value(document: Any, path: Path) -> dict[str, Any]:
    """A copy of a document without the value at a path of keys; objects on the way stay."""
    held = dict(document) if isinstance(document, Mapping) else {}
    key, rest = str(path[0]), path[1:]
    if not rest:
        held.pop(key, None)
    elif isinstance(held.get(key), Mapping):
        held[key] = remove_value(held[key], rest)
    return held


@dataclass(slots=True)
class SharedContents:
    """Reads settings that nodes show; those that differ only in a token are read once.

    Args:
        contents: keeps what it has read.
    """

    contents: ContentCache
    _places: dict[int, tuple[Content, tuple[tuple[Path, str], ...] | None]] = field(
        init=False, default_factory=dict
    )
    _filled: dict[bytes, Content] = field(init=False, default_factory=dict, repr=False)

    def read(self, body: bytes) -> Content:
        """The setting in a body; errors as in `ContentCache.read`."""
        found = _TOKEN.search(body)
        if found is None or PLACEHOLDER.encode() in body:
            return self.contents.read(body)
        key = hashlib.sha256(body).digest()
        known = self._filled.get(key)
        if known is None:
            if len(self._filled) >= _KEPT:
                self._filled.clear()
            known = self._filled[key] = self._read_filled(body, found[1])
        return known

    def _read_filled(self, body: bytes, token: bytes) -> Content:
        common = self.contents.read(body.replace(token, PLACEHOLDER.encode()))
        places = self._find_places(common, body.count(token))
        if places is None:
            return self.contents.read(body)
        text = token.decode()
        values = {path: shown.replace(PLACEHOLDER, text) for path, shown in places}
        return fill_content(common, values, text, common)

    def _find_places(self, common: Content, count: int) -> tuple[tuple[Path, str], ...] | None:
        """The values with the placeholder; None where it stands elsewhere than in a plain text in `env`."""
        known = self._places.get(id(common))
        if known is None:
            places = tuple(_list_texts(common.document.get(_ENV), (_ENV,)))
            fits = sum(shown.count(PLACEHOLDER) for _, shown in places) == count and all(
                get_value(common.canonical, path) == shown for path, shown in places
            )
            # The content is kept too: an id is unique only as long as its object exists.
            known = self._places[id(common)] = (common, places if fits else None)
        return known[1]


def _list_texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Path and text of every text with the placeholder, below objects only."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _list_texts(item, (*path, key))
    elif isinstance(value, str) and PLACEHOLDER in value:
        yield path, value
