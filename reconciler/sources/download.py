"""Download one archive over http or https, within bounds; with an ETag only if it changed."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from reconciler.archive.inflate import is_archive
from reconciler.errors import SourceError, SourceUnreachable, UsageError
from reconciler.host.tls_errors import describe_certificate_error
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.http_routes import make_http_transport
from reconciler.sources.source_address import SourceAddress, parse_source_address
from reconciler.text.one_line import format_size

if TYPE_CHECKING:
    import httpx

TOKEN = "RECONCILE_SOURCE_TOKEN"  # noqa: S105  (the variable's name)
REDIRECTS = 5
CONNECT = 10.0
SILENCE = 30.0
WHOLE = 300.0
MOVED = frozenset({301, 302, 303, 307, 308})
_MOST_CAUSES = 20
RETRY = frozenset({408, 425, 429})
LONGEST_VALIDATOR = 1024
"""Characters of an ETag or a date to send back."""


@dataclass(frozen=True, slots=True)
class FetchedArchive:
    """A server's answer.

    Args:
        body: the archive; None if the server says that it did not change.
        etag: the answer's ETag, empty if it has none.
        modified: the answer's Last-Modified, empty if it has none.
    """

    body: bytes | None
    etag: str = ""
    modified: str = ""


async def download_archive(
    address: SourceAddress,
    *,
    token: str,
    limits: SourceLimits,
    etag: str = "",
    modified: str = "",
    seconds: float = WHOLE,
    environment: Mapping[str, str] = os.environ,
) -> FetchedArchive:
    """The archive at a URL, unless it still has this ETag or date.

    Args:
        address: its address; user and password are sent as Basic authentication.
        token: sent as Bearer, to this host alone, over https or loopback; may be empty.
        limits: `download_bytes` applies.
        etag: of the archive that the caller has; may be empty.
        modified: its Last-Modified; may be empty.
        seconds: for the whole download.
        environment: of the process, with proxies and certificates.

    Raises:
        SourceError: the URL, the token, the server or a variable is wrong.
        SourceUnreachable: no answer, or an incomplete one.
    """
    known = {"If-None-Match": etag, "If-Modified-Since": modified}
    # The server chose these values, and may have put any bytes into them.
    conditions = {
        key: value
        for key, value in known.items()
        if 0 < len(value) <= LONGEST_VALIDATOR and value.isascii() and value.isprintable()
    }
    async with open_answer(
        address, token=token, headers=conditions, seconds=seconds, environment=environment
    ) as response:
        if response.status_code == 304 and conditions:  # noqa: PLR2004  (Not Modified)
            return FetchedArchive(None, etag, modified)
        check_answer(response.status_code, address, token=token)
        body = await read_body(response, address.shown, limits.download_bytes)
        start, kind = body[:512].lstrip().lower(), response.headers.get("content-type", "")
        # A forge answers a request without a session with status 200 and its login page.
        is_html = kind.startswith(("text/html", "application/xhtml")) and not is_archive(body)
        if is_html or start.startswith((b"<!doctype html", b"<html")):
            raise SourceError(
                f"{address.shown} answered with a web page instead of an archive",
                remedy=f"it is probably a login page: set {TOKEN}, or use the direct link to the archive",
            )
        return FetchedArchive(
            body, response.headers.get("etag", ""), response.headers.get("last-modified", "")
        )


@asynccontextmanager
async def open_answer(
    address: SourceAddress,
    *,
    token: str,
    headers: Mapping[str, str],
    seconds: float = WHOLE,
    environment: Mapping[str, str] = os.environ,
) -> AsyncIterator[httpx.Response]:
    """The answer after redirects, with its body unread; errors of the client are translated.

    Raises:
        SourceError: a redirect is not followed, or a variable is invalid.
        SourceUnreachable: no answer, or an incomplete one.
    """
    async with open_download_client(environment) as client:
        with translate_http_errors(address.shown):
            async with asyncio.timeout(seconds):
                response = await _follow(client, address, token, headers)
                try:
                    yield response
                finally:
                    await response.aclose()


@asynccontextmanager
async def open_download_client(environment: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with the proxies and certificates of the environment; it follows no redirects."""
    import httpx  # noqa: PLC0415  (a tenth of a second that only downloads pay)

    limits = httpx.Timeout(SILENCE, connect=CONNECT)
    # With trust_env httpx reads the variables itself, and raises errors of any type for invalid ones.
    async with httpx.AsyncClient(
        transport=make_http_transport(environment), timeout=limits, trust_env=False
    ) as client:
        yield client


@contextmanager
def translate_http_errors(shown: str) -> Iterator[None]:
    """Raise errors of the HTTP client as errors of a source.

    Args:
        shown: the address, for messages.

    Raises:
        SourceError: the URL is invalid.
        SourceUnreachable: no answer, or an incomplete one.
    """
    import httpx  # noqa: PLC0415  (as above)

    try:
        yield
    except httpx.ConnectError as error:
        why, remedy = _describe_connect_error(error)
        raise SourceUnreachable(f"{shown} cannot be reached: {why}", remedy=remedy) from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise SourceUnreachable(
            f"{shown} did not answer in time", remedy="try again, or check the server"
        ) from error
    except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: the host name cannot be encoded
        raise SourceError(f"{shown} is not a valid URL", remedy="check the URL") from error
    except httpx.TransportError as error:
        raise SourceUnreachable(
            f"{shown} sent an incomplete response, or one that is not valid HTTP",
            remedy="try again; check the server and any proxies",
        ) from error


def _describe_connect_error(error: BaseException) -> tuple[str, str]:
    """(why, remedy) of a failed connection, by the error of the system that the client wraps."""
    causes = _list_causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why, remedy = describe_certificate_error(cause)
            return f"its certificate is not trusted: {why}", remedy or (
                "for a certificate authority of your own, set SSL_CERT_FILE to the file with its certificate"
            )
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return (
                "TLS failed",
                "check that the port speaks TLS 1.2 or later, or write http:// if it has no TLS",
            )
        if isinstance(cause, socket.gaierror):
            return "its host name cannot be resolved", "check the name and the DNS"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused", "check the host name and the port, and that the server runs"
    return "there is no connection", "check the host name, the port, and the network of this host"


def _list_causes(error: BaseException) -> list[BaseException]:
    """An error and those from which it came, also several attempts at once."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting and len(found) < _MOST_CAUSES:
        one = waiting.pop()
        found.append(one)
        waiting += [next_ for next_ in (one.__cause__, one.__context__) if next_ is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found


async def _follow(
    client: httpx.AsyncClient, address: SourceAddress, token: str, headers: Mapping[str, str]
) -> httpx.Response:
    at = address
    for _ in range(REDIRECTS + 1):
        # The token goes to the host that the operator named, never to where a redirect points.
        home = (at.scheme, at.host) == (address.scheme, address.host)
        request = client.build_request(
            "GET",
            at.url,
            headers={
                **headers,
                **(_make_authorization(address, token) if home else {}),
                "Accept-Encoding": "identity",
            },
        )
        response = await client.send(request, stream=True, auth=None)
        location = response.headers.get("location", "")
        if response.status_code not in MOVED or not location:
            return response
        await response.aclose()
        at = _resolve_redirect(at, location, address)
    raise SourceError(f"{address.shown} redirects more than {REDIRECTS} times", remedy="check the URL")


def _make_authorization(address: SourceAddress, token: str) -> dict[str, str]:
    if token and address.confidential:
        return {"Authorization": f"Bearer {token}"}
    if address.user or address.password:
        pair = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def _resolve_redirect(at: SourceAddress, location: str, address: SourceAddress) -> SourceAddress:
    try:
        target = parse_source_address(urljoin(at.url, location))
    except (UsageError, ValueError):
        raise SourceError(f"{address.shown} redirects to an invalid URL", remedy="check the server") from None
    if target.scheme not in ("http", "https"):
        raise SourceError(f"{address.shown} redirects to a {target.scheme} address, which is not followed")
    if at.scheme == "https" and target.scheme == "http":
        raise SourceError(
            f"{address.shown} redirects from https to plain http, which is not followed",
            remedy="use the final https URL, or fix the server",
        )
    return target


def check_answer(status: int, address: SourceAddress, *, token: str) -> None:
    """Refuse every status but 200, with its meaning and what to do.

    Raises:
        SourceError: another status.
    """
    if status == 200:  # noqa: PLR2004  (OK)
        return
    if status >= 500 or status in RETRY:  # noqa: PLR2004  (the server's own failures)
        raise SourceUnreachable(
            f"{address.shown} answered {status}: the server cannot answer now",
            remedy="try again later, or check the server",
        )
    if status == 407:  # noqa: PLR2004  (Proxy Authentication Required)
        raise SourceError(
            f"{address.shown} answered 407: the proxy requires a user name and a password",
            remedy="add them to the proxy variable, as http://USER:PASSWORD@HOST:PORT",
        )
    if status == 401:  # noqa: PLR2004  (Unauthorized)
        words = "the token was rejected" if token else "authentication is required"
        raise SourceError(f"{address.shown} answered {status}: {words}", remedy=_suggest_token(address))
    if status == 403:  # noqa: PLR2004  (Forbidden)
        raise SourceError(f"{address.shown} answered 403: access is denied", remedy=_suggest_token(address))
    if status in (404, 410):
        raise SourceError(
            f"{address.shown} answered {status}: not found",
            remedy=f"check the URL; a private archive may need a token: set {TOKEN}",
        )
    raise SourceError(f"{address.shown} answered {status} instead of an archive", remedy="check the URL")


def _suggest_token(address: SourceAddress) -> str:
    if not address.confidential:
        return f"{TOKEN} is sent over https only: use the https URL"
    return f"set {TOKEN} to a valid token"


async def read_body(response: httpx.Response, shown: str, most: int) -> bytes:
    """The raw body, of at most `most` bytes.

    Raises:
        SourceError: it is larger.
    """
    # Some servers declare .tar.gz as a content encoding, which would unpack it.
    pieces: list[bytes] = []
    total = 0
    async for piece in response.aiter_raw():
        total += len(piece)
        if total > most:
            raise SourceError(
                f"{shown} is larger than {format_size(most)}",
                remedy="pack only the desired state",
            )
        pieces.append(piece)
    return b"".join(pieces)
