"""Headers of every page: what a browser may load, frame, guess, keep and tell others (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Only files of this server; nothing inline, nothing from elsewhere, in no frame."""

PAGE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-security-policy": CONTENT_POLICY,
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        # Not `no-referrer`: with it a browser sends `Origin: null` with the forms of our own pages.
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
)
"""Of pages and of answers with data; files that never change may have another `cache-control`."""
