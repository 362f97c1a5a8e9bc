"""Random texts that identify their holder, and the digests by which they are known."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

TOKEN_PREFIX: Final = "rcl_"  # noqa: S105  (the beginning of each token)
"""How each token begins, so that people and scanners of secrets recognise it."""

_BYTES: Final = 32
_FORM: Final = re.compile(r"[A-Za-z0-9_\-]{43}")


def make_secret_text() -> str:
    """A new text with 256 random bits."""
    return secrets.token_urlsafe(_BYTES)


def make_token_text() -> str:
    """A new token."""
    return TOKEN_PREFIX + make_secret_text()


def is_secret_text(text: str) -> bool:
    """Whether a text has the form of `make_secret_text`."""
    return _FORM.fullmatch(text) is not None


def digest_secret(text: str) -> str:
    """The digest by which a text is known."""
    return sha256(text.encode()).hexdigest()


def make_csrf_text(session: str) -> str:
    """What the forms of a session have; it does not tell the session."""
    return urlsafe_b64encode(hmac.digest(session.encode(), b"csrf", "sha256")).decode().rstrip("=")


def is_same_secret(one: str, other: str) -> bool:
    """Whether two texts are equal, without telling by the time how far they are."""
    return hmac.compare_digest(one.encode(), other.encode())
