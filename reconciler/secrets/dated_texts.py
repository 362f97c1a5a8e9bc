"""Texts that end at a moment of their own, certificates in PEM and JSON Web Tokens; none of them is shown."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.core.expiry import ExpiryKind
from reconciler.core.secret import reveal

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_JWT: Final = re.compile(r"\beyJ[\w-]{5,}\.(eyJ[\w-]{5,})\.[\w-]+")


def find_certificate_end(data: bytes) -> datetime | None:
    """When the first of the certificates in a text in PEM expires; None if it has none."""
    found = _PEM.findall(data)
    if not found:
        return None
    from cryptography import x509  # noqa: PLC0415  (loaded only where there is a certificate)

    ends: list[datetime] = []
    for pem in found:
        try:
            ends.append(x509.load_pem_x509_certificate(pem).not_valid_after_utc)
        except ValueError:  # damaged: not the subject here
            continue
    return min(ends, default=None)


def find_token_end(text: str) -> datetime | None:
    """When the first of the JSON Web Tokens in a text expires; None if it has none with an end."""
    ends: list[datetime] = []
    for payload in _JWT.findall(text):
        try:
            claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            ends.append(datetime.fromtimestamp(float(claims["exp"]), UTC))
        except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
            continue
    return min(ends, default=None)


def find_dated_texts(value: Any) -> Iterator[tuple[str, ExpiryKind, datetime]]:
    """The texts in plain data, with its secrets, that end: JSON pointer, kind, and when."""
    for pointer, text in _list_texts(reveal(value), ""):
        if (end := find_certificate_end(text.encode("utf-8", "replace"))) is not None:
            yield pointer, ExpiryKind.CERTIFICATE, end
        if (end := find_token_end(text)) is not None:
            yield pointer, ExpiryKind.TOKEN, end


def _list_texts(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if "BEGIN CERTIFICATE" in value or "eyJ" in value:
            yield pointer, value
        return
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, inner in items:
        yield from _list_texts(inner, f"{pointer}/{key}")
