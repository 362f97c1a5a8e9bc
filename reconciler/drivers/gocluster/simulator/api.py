"""The library's HTTP API on a simulated node: its envelope, its tokens, and what it does not do."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode
from binascii import Error as InvalidBase64
from http import HTTPStatus
from typing import Any, Final

from reconciler.drivers.gocluster.choices import AdminRequest, UnknownManager
from reconciler.drivers.gocluster.client import ROOT
from reconciler.drivers.gocluster.simulator.world import GoWorld
from reconciler.ports.simulator import NodeRequest, Reply

CLOSED: Final[Reply] = (0, {}, b"")
_HEADERS: Final = {"Content-Type": "text/plain; charset=utf-8"}
_ADMIN_PARTS: Final = 4
_LETTERS: Final = frozenset("/apiv1cluster")
_DIGESTS: Final = {"HS512": hashlib.sha512, "HS256": hashlib.sha256}


def answer_api(world: GoWorld, node: str, request: NodeRequest) -> Reply:
    """What the API of a running node answers."""
    if node in world.frozen:
        return CLOSED  # the call waits for a lock that is never released
    path = request.target.partition("?")[0]
    if path.rstrip("/") == ROOT:
        return _wrap(sorted([node]))
    if not path.startswith(f"{ROOT}/"):
        return HTTPStatus.NOT_FOUND, _HEADERS, b"404 page not found\n"
    parts = path.removeprefix(f"{ROOT}/").split("/")
    if len(parts) > 1:
        return _answer_admin(world, node, parts, request)
    if parts[0] != node:
        return _answer_unknown(world, parts[0])
    rows = {
        row.name: {
            "name": row.name,
            "addr": row.address,
            "status": row.status,
            "error": row.error,
            "jointime": row.joined,
            "lag": row.lag,
            "packets": row.packets,
        }
        for row in world.list_rows(node)
    }
    return _wrap({"nodes": rows})


def _wrap(data: Any, error: str = "") -> Reply:
    text = json.dumps(data, separators=(",", ":"))
    body = json.dumps({"success": not error, "error": error, "data": text}, separators=(",", ":"))
    # Go escapes these inside a string.
    for mark in "<>&":
        body = body.replace(mark, f"\\u{ord(mark):04x}")
    return HTTPStatus.OK, _HEADERS, body.encode()


def _answer_unknown(world: GoWorld, name: str) -> Reply:
    match world.site.choices.unknown_manager:
        case UnknownManager.NOT_FOUND:
            return HTTPStatus.NOT_FOUND, _HEADERS, b"404 page not found\n"
        case UnknownManager.EMPTY:
            return _wrap({"nodes": {}}, "")
    return _wrap("", f"manager {name} not found")


def _answer_admin(world: GoWorld, node: str, parts: list[str], request: NodeRequest) -> Reply:
    """An admin call: it is answered, logged, and does nothing."""
    if len(parts) != _ADMIN_PARTS or parts[1] != "admin" or _LETTERS.issuperset(parts[0]):
        return HTTPStatus.NOT_IMPLEMENTED, _HEADERS, b""
    token = _find_token(request.headers.get("cookie", ""))
    if token is None:
        return HTTPStatus.OK, _HEADERS, b""
    claims = _read_token(token, world.site.signing_key)
    if claims is None:
        return HTTPStatus.FORBIDDEN, _HEADERS, b""
    if not isinstance(claims.get("expire"), int | float):
        return CLOSED  # the library does not survive a token without it
    if claims["expire"] < time.time() or not isinstance(claims.get("username"), str):
        return HTTPStatus.FORBIDDEN, _HEADERS, b""
    handed = " to the application" if world.site.choices.admin_request is AdminRequest.HANDED_ON else ""
    world.site.log.append(f"{node}: {parts[3]} of {parts[2]}{handed}")
    return HTTPStatus.OK, _HEADERS, json.dumps(f"{parts[3]} OK").encode()


def _find_token(cookies: str) -> str | None:
    for cookie in cookies.split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == "session" and value:
            return value
    return None


def _read_token(token: str, key: str) -> dict[str, Any] | None:
    """The claims of a token that is signed with the key; None for any other."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004
        return None
    try:
        head, claims = (json.loads(_decode(part)) for part in parts[:2])
        given = _decode(parts[2])
    except (ValueError, InvalidBase64):
        return None
    digest = _DIGESTS.get(head.get("alg", "")) if isinstance(head, dict) else None
    if digest is None or not isinstance(claims, dict):
        return None
    wanted = hmac.new(key.encode(), ".".join(parts[:2]).encode(), digest).digest()
    return claims if hmac.compare_digest(wanted, given) else None


def _decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
