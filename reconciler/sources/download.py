"""Fetch one archive over http or https: bounded, resumed by ETag, every refusal in words."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from reconciler.archive.inflate import is_archive
from reconciler.errors import SourceError, SourceUnreachable, UsageError
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.http_routes import make_http_transport
from reconciler.sources.source_address import SourceAddress, parse_source_address
from reconciler.text.one_line import format_size, take_first_line

if TYPE_CHECKING:
    import httpx

TOKEN = "RECONCILE_SOURCE_TOKEN"  # noqa: S105  (the variable's name)
REDIRECTS = 5
CONNECT = 10.0
SILENCE = 30.0
WHOLE = 300.0
MOVED = frozenset({301, 302, 303, 307, 308})
RETRY = frozenset({408, 425, 429})
LONGEST_VALIDATOR = 1024
"""Characters of an ETag or a date that is sent back."""


@dataclass(frozen=True, slots=True)
class FetchedArchive:
    """A server's answer.

    Args:
        body: the archive; None when the server says that it has not changed.
        etag: the answer's ETag, empty if it has none.
        modified: the answer's Last-Modified, empty if it has none.
    """

    body: bytes | None
    etag: str = ""
    modified: str = ""


async def download_archive(
    place: SourceAddress,
    *,
    token: str,
    limits: SourceLimits,
    etag: str = "",
    modified: str = "",
    seconds: float = WHOLE,
    environment: Mapping[str, str] = os.environ,
) -> FetchedArchive:
    """The archive at a URL, or the word that it is still the one with this ETag or date.

    Args:
        place: where it is; its user and password are sent as Basic authentication.
        token: sent as Bearer, to this host only and only over https or loopback; may be empty.
        limits: `download_bytes` applies.
        etag: of the archive that is there already; may be empty.
        modified: its Last-Modified; may be empty.
        seconds: for all of it.
        environment: of the process, which names proxies and certificates.

    Raises:
        SourceError: a person has to mend something: the URL, the token, the server, a variable.
        SourceUnreachable: no answer, or not a whole one.
    """
    known = {"If-None-Match": etag, "If-Modified-Since": modified}
    conditions = {key: value for key, value in known.items() if _is_sendable(value)}
    async with open_answer(
        place, token=token, headers=conditions, seconds=seconds, environment=environment
    ) as response:
        if response.status_code == 304 and conditions:  # noqa: PLR2004  (Not Modified)
            return FetchedArchive(None, etag, modified)
        check_answer(response.status_code, place, token=token)
        body = await _body(response, place, limits)
        if _web_page(response.headers.get("content-type", ""), body):
            raise SourceError(
                f"{place.shown} answered with a web page instead of an archive",
                remedy=f"It is probably a login page: set {TOKEN}, or use the direct link to the archive.",
            )
        return FetchedArchive(
            body, response.headers.get("etag", ""), response.headers.get("last-modified", "")
        )


@asynccontextmanager
async def open_answer(
    place: SourceAddress,
    *,
    token: str,
    headers: Mapping[str, str],
    seconds: float = WHOLE,
    environment: Mapping[str, str] = os.environ,
) -> AsyncIterator[httpx.Response]:
    """An answer whose body is still to be read, after redirects, with the client's errors translated.

    Raises:
        SourceError: a redirect leads where it must not, or a variable names what cannot be used.
        SourceUnreachable: no answer, or not a whole one.
    """
    import httpx  # noqa: PLC0415  (a tenth of a second that only downloads pay)

    limits = httpx.Timeout(SILENCE, connect=CONNECT)
    try:
        # trust_env would have httpx read the variables, and fail on them with errors of any kind.
        client = httpx.AsyncClient(
            transport=make_http_transport(environment), timeout=limits, trust_env=False
        )
        async with asyncio.timeout(seconds), client:
            response = await _follow(client, place, token, headers)
            try:
                yield response
            finally:
                await response.aclose()
    except httpx.ConnectError as error:
        raise SourceUnreachable(
            f"{place.shown} cannot be reached: {take_first_line(str(error)) or 'no connection'}",
            remedy="Check the host name and the network. For your own certificate authority, set "
            "SSL_CERT_FILE.",
        ) from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise SourceUnreachable(
            f"{place.shown} did not answer in time", remedy="Try again, or check the server."
        ) from error
    except (httpx.InvalidURL, UnicodeError) as error:  # the latter where a host's name cannot be encoded
        raise SourceError(f"{place.shown} is not a valid URL", remedy="Check the URL.") from error
    except httpx.TransportError as error:
        raise SourceUnreachable(
            f"{place.shown} sent an incomplete response: "
            f"{take_first_line(str(error)) or type(error).__name__}",
            remedy="Try again. Check the server and any proxies.",
        ) from error


async def _follow(
    client: httpx.AsyncClient, place: SourceAddress, token: str, headers: Mapping[str, str]
) -> httpx.Response:
    at = place
    for _ in range(REDIRECTS + 1):
        home = (at.scheme, at.host) == (place.scheme, place.host)
        request = client.build_request(
            "GET",
            at.url,
            headers={**headers, **(_identity(place, token) if home else {}), "Accept-Encoding": "identity"},
        )
        response = await client.send(request, stream=True, auth=None)
        location = response.headers.get("location", "")
        if response.status_code not in MOVED or not location:
            return response
        await response.aclose()
        at = _next(at, location, place)
    raise SourceError(f"{place.shown} redirects more than {REDIRECTS} times", remedy="Check the URL.")


def _identity(place: SourceAddress, token: str) -> dict[str, str]:
    if token and place.confidential:
        return {"Authorization": f"Bearer {token}"}
    if place.user or place.password:
        pair = base64.b64encode(f"{place.user}:{place.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def _next(at: SourceAddress, location: str, place: SourceAddress) -> SourceAddress:
    try:
        target = parse_source_address(urljoin(at.url, location))
    except (UsageError, ValueError):
        raise SourceError(f"{place.shown} redirects to an invalid URL", remedy="Check the server.") from None
    if target.scheme not in ("http", "https"):
        raise SourceError(f"{place.shown} redirects to a {target.scheme} address, which is not followed")
    if at.scheme == "https" and target.scheme == "http":
        raise SourceError(
            f"{place.shown} redirects from https to plain http, which is not followed",
            remedy="Use the final https URL, or fix the server.",
        )
    return target


def check_answer(status: int, place: SourceAddress, *, token: str) -> None:
    """Nothing for a 200; otherwise what the status means and what to do.

    Raises:
        SourceError: always but for a 200.
    """
    if status == 200:  # noqa: PLR2004  (OK)
        return
    if status >= 500 or status in RETRY:  # noqa: PLR2004  (the server's own failures)
        raise SourceUnreachable(
            f"{place.shown} answered {status}: the server cannot answer now",
            remedy="Try again later, or check the server.",
        )
    if status == 407:  # noqa: PLR2004  (Proxy Authentication Required)
        raise SourceError(
            f"{place.shown} answered 407: the proxy requires a user name and a password",
            remedy="Add them to the proxy variable, as http://USER:PASSWORD@HOST:PORT.",
        )
    if status == 401:  # noqa: PLR2004  (Unauthorized)
        words = "the token was rejected" if token else "authentication is required"
        raise SourceError(f"{place.shown} answered {status}: {words}", remedy=_token_remedy(place))
    if status == 403:  # noqa: PLR2004  (Forbidden)
        raise SourceError(f"{place.shown} answered 403: access is denied", remedy=_token_remedy(place))
    if status in (404, 410):
        raise SourceError(
            f"{place.shown} answered {status}: not found",
            remedy=f"Check the URL. A private archive may need a token: set {TOKEN}.",
        )
    raise SourceError(f"{place.shown} answered {status} instead of an archive", remedy="Check the URL.")


def _token_remedy(place: SourceAddress) -> str:
    if not place.confidential:
        return f"{TOKEN} is sent over https only: use the https URL."
    return f"Set {TOKEN} to a valid token."


async def _body(response: httpx.Response, place: SourceAddress, limits: SourceLimits) -> bytes:
    """The raw body: a server that names .tar.gz a content encoding is not obeyed."""
    pieces: list[bytes] = []
    total = 0
    async for piece in response.aiter_raw():
        total += len(piece)
        if total > limits.download_bytes:
            raise SourceError(
                f"{place.shown} is larger than {format_size(limits.download_bytes)}",
                remedy="Pack only the desired state.",
            )
        pieces.append(piece)
    return b"".join(pieces)


def _is_sendable(value: str) -> bool:
    """Whether a header that a server gave can be sent back: it may have given any bytes."""
    return 0 < len(value) <= LONGEST_VALIDATOR and value.isascii() and value.isprintable()


def _web_page(content_type: str, body: bytes) -> bool:
    start = body[:512].lstrip().lower()
    marked = content_type.startswith(("text/html", "application/xhtml")) and not is_archive(body)
    return marked or start.startswith((b"<!doctype html", b"<html"))
