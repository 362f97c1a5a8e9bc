"""Signatures of webhook calls, checked in constant time over the bytes as received."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

TOLERANCE = 300
"""Seconds by which a signed time may differ from this clock (Standard Webhooks: "within some tolerance")."""

DIGITS = 12
"""Most digits of a time in seconds."""

SIGNING_PREFIX = "whsec_"
"""Prefix of a signing token of Standard Webhooks, which GitLab uses."""


@dataclass(frozen=True, slots=True)
class SignatureRefusal:
    """Why a call is rejected.

    Args:
        code: stable name, a label of the metrics.
        message: a sentence for the caller; never quotes the secret or the expected signature.
    """

    code: str
    message: str


def check_signature(
    headers: Mapping[str, str], body: bytes, secret: str, *, now: float
) -> SignatureRefusal | None:
    """Why a call is rejected; None if its sender knows the secret.

    Args:
        headers: names in lower case.
        body: the bytes as received.
        secret: shared with the forge, not empty.
        now: seconds since 1970.
    """
    # The first scheme found decides: a good signature of another scheme does not make up for a bad one. Gitea
    # and Forgejo send GitHub's header in addition to their own.
    for name in ("x-forgejo-signature", "x-gitea-signature"):
        if name in headers:
            return _compare_hexadecimal(headers[name], body, secret, name=name)
    if "x-hub-signature-256" in headers:
        return _check_github(headers["x-hub-signature-256"], body, secret)
    if "webhook-signature" in headers and secret.startswith(SIGNING_PREFIX):
        return _check_standard_webhook(headers, body, secret, now=now)
    if "x-gitlab-token" in headers:
        return _compare(headers["x-gitlab-token"], secret, name="X-Gitlab-Token")
    if "webhook-signature" in headers:
        message = f"the call is signed with a signing token; set one as secret ({SIGNING_PREFIX}…)"
        return SignatureRefusal("other-scheme", message)
    return SignatureRefusal("no-signature", "the call has no signature; set the shared secret in the forge")


def _compare_hexadecimal(value: str, body: bytes, secret: str, *, name: str) -> SignatureRefusal | None:
    expected = hmac.new(_to_bytes(secret), body, hashlib.sha256).hexdigest()
    return _compare(value.lower(), expected, name=name)


def _check_github(value: str, body: bytes, secret: str) -> SignatureRefusal | None:
    scheme, _, digest = value.partition("=")
    if scheme != "sha256":
        return SignatureRefusal("bad-signature", "X-Hub-Signature-256 does not begin with sha256=")
    return _compare_hexadecimal(digest, body, secret, name="X-Hub-Signature-256")


def _check_standard_webhook(
    headers: Mapping[str, str], body: bytes, secret: str, *, now: float
) -> SignatureRefusal | None:
    """Check a signature of Standard Webhooks, which GitLab's signing tokens use."""
    identity, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    try:
        key = base64.b64decode(secret.removeprefix(SIGNING_PREFIX), validate=True)
    except ValueError:  # also for characters that are not ASCII
        return SignatureRefusal(
            "bad-secret", f"the secret of this watch is not base64 after {SIGNING_PREFIX}"
        )
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > DIGITS:
        return SignatureRefusal("bad-signature", "webhook-timestamp is not a number of seconds")
    # Without this an attacker could replay a recorded call at any time.
    if abs(now - int(stamp)) > TOLERANCE:
        message = f"webhook-timestamp differs by more than {TOLERANCE} seconds from this host's clock"
        return SignatureRefusal("too-old", message)
    content = b".".join((identity.encode(), stamp.encode(), body))
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    # While a secret is being rotated a call has several signatures; one valid one is enough.
    offered = [item.partition(",") for item in headers["webhook-signature"].split()]
    found = [
        _compare(digest, expected, name="webhook-signature")
        for version, _, digest in offered
        if version == "v1"
    ]
    return (
        None
        if None in found
        else SignatureRefusal("bad-signature", "webhook-signature does not match the body")
    )


def _compare(value: str, expected: str, *, name: str) -> SignatureRefusal | None:
    # Constant time: otherwise response times would reveal the expected signature byte by byte.
    if hmac.compare_digest(_to_bytes(value), _to_bytes(expected)):
        return None
    return SignatureRefusal(
        "bad-signature", f"{name} does not match; check that both sides have the same secret"
    )


def _to_bytes(text: str) -> bytes:
    """The bytes of a text, also of a secret from an environment variable that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape")
