"""Which answers show that an M2 node is at an address, and which document is a setting; pure.

The list with its reasons is in `docs/node-evidence.md`. Nothing is sent to an address without evidence: other
servers answer 404 to unknown paths, and many answer 200 with a JSON object to every request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.text.json_values import is_object

SECTIONS: Final = ("management", "network", "properties", "rt")
"""Documented objects below `env`; no other known product has them."""

_TYPES: Final[Mapping[str, type]] = {"meta": dict, "env": dict, "functions": dict, "hosting": list}
"""Documented top-level keys of a setting -> the types of their values (M2 manual, setting.json)."""

_ENVELOPE: Final = ("version", "method", "status", "result")
"""Keys of every documented JSON answer except settings themselves."""

_REFUSAL: Final = JsonLimits(size=65_536, values=1_000)
"""Limits of an error answer."""

# Bounded: another server may send braces without an end, and the search must stay linear.
_METRIC: Final = re.compile(rb"^m2_sys_[a-z_]+(?:\{([^{}\n]{0,500})\})?[ \t]+[-+0-9.eE]+", re.MULTILINE)
_LOOKED_AT: Final = 1024 * 1024


class DocumentKind(Enum):
    """How much a JSON value looks like a setting."""

    SETTING = "setting"
    """It has a section that only settings of M2 have."""

    POSSIBLE = "possible"
    """It has documented keys that other products have too; a second source has to confirm it."""

    OTHER = "other"
    """It is not a setting."""


def classify_document(document: Any) -> DocumentKind:
    """How much a document looks like a setting, by its documented keys and their types."""
    if not is_object(document):
        return DocumentKind.OTHER
    known = [isinstance(document[key], kind) for key, kind in _TYPES.items() if key in document]
    if not known or not all(known):
        return DocumentKind.OTHER
    if isinstance(document.get("method"), str) and isinstance(document.get("status"), str):
        return DocumentKind.OTHER  # the envelope of another answer, which may have a key `meta` or `env`
    env, hosting = document.get("env", {}), document.get("hosting", [])
    if any(is_object(env.get(section)) for section in SECTIONS) or (
        hosting and all(is_object(host) and isinstance(host.get("name"), str) for host in hosting)
    ):
        return DocumentKind.SETTING
    return DocumentKind.POSSIBLE


def is_refusal(body: bytes) -> bool:
    """Whether a body is M2's error answer: all four documented keys, and a status other than `OK`."""
    try:
        value = read_json(body, _REFUSAL)
    except JsonError:
        return False
    if not isinstance(value, dict) or any(key not in value for key in _ENVELOPE):
        return False
    version, method, status = (value[key] for key in _ENVELOPE[:3])
    return all(isinstance(text, str) for text in (version, method, status)) and status.upper() != "OK"


def has_m2_metrics(body: bytes) -> bool:
    """Whether `/metrics` has a metric that only M2 has, from the node itself."""
    # A Prometheus server at this address would show M2's metrics too, but labelled with `instance` or `job`.
    return any(
        not re.search(rb"(?:^|,)\s*(?:instance|job)=", match[1] or b"")
        for match in _METRIC.finditer(body[:_LOOKED_AT])
    )
