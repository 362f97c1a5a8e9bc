"""Checks signatures of requests to AWS (Signature Version 4), from its description, without its library."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

FORM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/"
    r"(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
SKEW = 15 * 60


@dataclass(frozen=True)
class Keys:
    """A key pair that a server knows."""

    id: str = "AKIATEST"
    secret: str = "secret/of+the+test"
    token: str = ""


def find_fault(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: Keys,
    region: str,
    service: str = "s3",
    now: datetime | None = None,
) -> str:
    """The error code that AWS answers; empty for a request that is signed as it must be.

    Args:
        method: of the request.
        target: path and query as they were sent.
        headers: with lower-case names.
        body: of the request.
        keys: of the one user.
        region: of the server.
        service: whose requests these are.
        now: time of the server.
    """
    found = FORM.fullmatch(headers.get("authorization", ""))
    if not found:
        return "AccessDenied"
    names = found["names"].split(";")
    mandatory = {"host", "x-amz-date"} | ({"x-amz-content-sha256"} if service == "s3" else set())
    if missing := (mandatory | {name for name in headers if name.startswith("x-amz-")}) - set(names):
        raise AssertionError(f"these headers are not signed: {missing}")
    sent = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join(
        [
            method,
            *_make_canonical_target(target, service),
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            found["names"],
            digest,
        ]
    )
    scope = f"{found['day']}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for part in (found["day"], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashed}"
    faults = {
        "InvalidAccessKeyId": found["id"] != keys.id,
        "InvalidToken": headers.get("x-amz-security-token", "") != keys.token,
        "AuthorizationHeaderMalformed": (found["region"], found["service"]) != (region, service),
        "RequestTimeTooSkewed": abs(((now or datetime.now(UTC)) - sent).total_seconds()) > SKEW,
        "XAmzContentSHA256Mismatch": headers.get("x-amz-content-sha256", digest) != digest,
        "SignatureDoesNotMatch": hmac.new(key, text.encode(), "sha256").hexdigest() != found["signature"],
    }
    return next((code for code, applies in faults.items() if applies), "")


def _make_canonical_target(target: str, service: str) -> list[str]:
    path, _, query = target.partition("?")
    pairs = sorted(part.partition("=")[::2] for part in query.split("&")) if query else []
    coded = [f"{_code(name)}={_code(value)}" for name, value in pairs]
    return [path if service == "s3" else quote(path, safe="/-_.~"), "&".join(coded)]


def _code(text: str) -> str:
    return quote(unquote(text), safe="-_.~")
