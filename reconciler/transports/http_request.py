"""A request to a node as the bytes that are sent, from its URL, headers and body."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from reconciler import __version__
from reconciler.core.endpoint import LAST_PORT
from reconciler.transports.http_errors import unsent

_PORTS: Final = {"http": 80, "https": 443}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)([^#]*)")
# The form of almost every node; all other spellings are left to the parser of the library.
_PLAIN_ORIGIN: Final = re.compile(r"(https?)://([0-9a-z][0-9a-z.-]*):([1-9][0-9]{0,4})")
_INVALID: Final = "its address is not a valid URL"
_URL_CHARACTERS: Final = "%/:?#[]@!$&'()*+,;=-._~"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_OWN: Final = frozenset({"content-length", "transfer-encoding", "connection", "host"})
"""Headers that say where a message ends, or stand before the others: only this module writes them."""

_DEFAULTS: Final = {
    "accept": "Accept: */*",
    "accept-encoding": "Accept-Encoding: identity",
    "user-agent": f"User-Agent: reconciler/{__version__}",
}


@dataclass(frozen=True, slots=True)
class UrlOrigin:
    """Where a URL leads.

    Args:
        host: name or IP address, without brackets.
        authority: value of the header `Host`.
        authorization: value of the header; empty without a user in the URL.
    """

    scheme: str
    host: str
    port: int
    authority: str
    authorization: str = field(default="", repr=False)


class RequestUrl(NamedTuple):
    """The parts of a URL; the target is its path and query."""

    origin: UrlOrigin
    target: str


def parse_url(url: str, origins: dict[str, UrlOrigin]) -> RequestUrl:
    """The parts of an absolute http or https URL.

    Args:
        url: may have a fragment, which is not sent.
        origins: beginning of a URL -> its origin; it is filled here.

    Raises:
        CallFailed: it is none; nothing was sent.
    """
    if _BLANK.search(url):
        raise unsent(_INVALID)
    found = _PARTS.match(url)
    if found is None:
        raise unsent(_INVALID)
    begin, target = found[1], found[2]
    origin = origins.get(begin)
    if origin is None:
        origin = origins[begin] = _parse_origin(begin)
    if not target.startswith("/"):
        target = f"/{target}"
    return RequestUrl(origin, target if target.isascii() else quote(target, safe=_URL_CHARACTERS))


def _parse_origin(begin: str) -> UrlOrigin:
    plain = _PLAIN_ORIGIN.fullmatch(begin)
    if plain is not None and int(plain[3]) <= LAST_PORT:
        own = int(plain[3])
        shown = plain[2] if own == _PORTS[plain[1]] else f"{plain[2]}:{own}"
        return UrlOrigin(plain[1], plain[2], own, shown)
    try:
        parts = urlsplit(begin)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise unsent(_INVALID) from None
    if not host or port == 0:
        raise unsent(_INVALID)
    if scheme not in _PORTS:
        raise unsent("its address is not an http or https URL")
    shown = f"[{host.partition('%')[0]}]" if ":" in host else host
    authority = shown if port in {None, _PORTS[scheme]} else f"{shown}:{port}"
    user, _, _ = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    basic = b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode() if user else ""
    return UrlOrigin(scheme, host, port or _PORTS[scheme], authority, f"Basic {basic}" if basic else "")


def encode_request(
    method: str, url: RequestUrl, headers: Mapping[str, str], content: bytes, *, closes: bool
) -> bytes:
    """A complete request.

    Args:
        method: the HTTP verb.
        url: parsed.
        headers: in addition to the usual ones, or instead of them.
        content: the body.
        closes: whether it is the last one on its connection.

    Raises:
        CallFailed: a header would add another line; nothing was sent.
    """
    given = {name.lower(): text for name, text in headers.items()}
    lines = [f"{method} {url.target} HTTP/1.1", f"Host: {given.get('host', url.origin.authority)}"]
    lines += [line for name, line in _DEFAULTS.items() if name not in given] if given else _DEFAULTS.values()
    if url.origin.authorization and "authorization" not in given:
        lines.append(f"Authorization: {url.origin.authorization}")
    if content and "content-type" not in given:
        lines.append("Content-Type: application/octet-stream")
    if closes:
        # For another protocol, the connection ends too: after the answer that was asked for.
        switches = "upgrade" in given and method == "GET"
        lines.append(f"Connection: {'Upgrade' if switches else 'close'}")
    for name, text in headers.items():
        if not _TOKEN.fullmatch(name):
            raise unsent("a header of the request has an invalid name")
        if name.lower() not in _OWN:
            lines.append(f"{name}: {text}")
    if not _TOKEN.fullmatch(method) or _UNSAFE.search("".join(lines)):
        raise unsent("a header of the request has a control character")
    if content or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(content)}")
    try:
        return "\r\n".join([*lines, "", ""]).encode() + content
    except UnicodeEncodeError:
        raise unsent("a header of the request has a character that cannot be sent") from None
