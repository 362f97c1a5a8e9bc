"""Signs requests of the HTTP client for Oracle Cloud Infrastructure, with RSA and SHA-256."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Generator
from email.utils import formatdate
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_ALWAYS: Final = ("date", "(request-target)", "host")
_WITH_BODY: Final = ("content-length", "content-type", "x-content-sha256")
_BODIES: Final = frozenset({"POST", "PUT", "PATCH"})


class OciAuth(httpx.Auth):
    """Authentication for the HTTP client; every attempt is signed with the time of that attempt.

    Args:
        key_id: `TENANCY/USER/FINGERPRINT` of the key.
        key: the private key.
    """

    requires_request_body = True

    def __init__(self, key_id: str, key: RSAPrivateKey) -> None:
        self._key_id, self._key = key_id, key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415  (slow)
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        request.headers["date"] = formatdate(usegmt=True)
        signed: tuple[str, ...] = _ALWAYS
        if request.method in _BODIES:
            signed += _WITH_BODY
            request.headers.setdefault("content-type", "application/json")
            request.headers["content-length"] = str(len(request.content))
            request.headers["x-content-sha256"] = b64encode(sha256(request.content).digest()).decode()
        # The path and query as they are sent: any other spelling of them has another signature.
        target = f"{request.method.lower()} {request.url.raw_path.decode()}"
        lines = [
            f"{name}: {target if name == '(request-target)' else request.headers[name]}" for name in signed
        ]
        signature = b64encode(self._key.sign("\n".join(lines).encode(), PKCS1v15(), SHA256())).decode()
        request.headers["authorization"] = (
            f'Signature algorithm="rsa-sha256",headers="{" ".join(signed)}",keyId="{self._key_id}",'
            f'signature="{signature}",version="1"'
        )
        yield request
