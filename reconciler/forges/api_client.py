"""Bounded calls to the API of a forge; every failure is a `ForgeError`."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urljoin, urlsplit

from reconciler import __version__
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.errors import ForgeError, ForgeUnreachable, SourceError, SourceUnreachable
from reconciler.text.http_dates import parse_http_date
from reconciler.text.one_line import make_one_line

if TYPE_CHECKING:
    import httpx

LARGEST_ANSWER: Final = 32 * 1024 * 1024
"""Bytes of one answer at most."""

MOST_PAGES: Final = 100
"""Pages of one list at most."""

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0
WHOLE_SECONDS: Final = 60.0
"""Seconds for one call with its answer, however slowly that comes."""

LIMIT_PAUSE: Final = 60.0
"""Seconds to wait if a forge limits the calls and does not say for how long, as GitHub asks."""

_JSON: Final = JsonLimits(size=LARGEST_ANSWER, values=1_000_000, depth=50)
_QUOTED: Final = 300
_MOST_REDIRECTS: Final = 3
_LONGEST_LINK: Final = 4_000
_NEXT: Final = re.compile(r'<([^<>]{1,2000})>((?:\s*;\s*[\w-]+=(?:"[^"]*"|[^\s",;]+))*)')
_OK, _BAD_REQUEST, _FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 200, 400, 403, 429, 500
_TRY_LATER: Final = frozenset({408, 425, _TOO_MANY})
_KEEP_METHOD, _ONLY_GET = frozenset({307, 308}), frozenset({301, 302})


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer with a status below 300.

    Args:
        headers: names in lower case.
        value: the JSON of its body; None if the body is empty.
    """

    headers: Mapping[str, str]
    value: Any


class ApiClient:
    """Calls one API with one token, which goes to the host of the API and nowhere else.

    Args:
        transport: with the proxies and certificate authorities of this host.
        api: URL of the API, without a slash at its end.
        headers: of every request, with the token.
        token: never shown, also where the forge repeats it.
        where: names the repository in messages.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        api: str,
        headers: Mapping[str, str],
        *,
        token: str,
        where: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        import httpx  # noqa: PLC0415  (a tenth of a second that only calls to a forge pay)

        self.api, self.where = api, where
        self._token, self._wall = token, wall
        # An encoding is not asked for: what a compressed answer becomes has no bound.
        fixed = {"user-agent": f"reconcile/{__version__}", "accept-encoding": "identity"}
        self._client = httpx.AsyncClient(
            transport=transport,
            headers={**fixed, **headers},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        url: str = "",
    ) -> ApiAnswer:
        """One call.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: below the URL of the API, escaped.
            query: parameters of a new URL.
            body: sent as JSON; None for no body.
            url: instead of the one of the API.

        Raises:
            ForgeUnreachable: no answer, or one that asks to try again.
            ForgeError: the call is refused, or what answers is not the API.
        """
        import httpx  # noqa: PLC0415  (as above)

        content = None if body is None else json.dumps(body).encode()
        headers = {} if content is None else {"content-type": "application/json"}
        address = httpx.URL(f"{url or self.api}{path}", params=dict(query) if query else None)
        try:
            async with asyncio.timeout(WHOLE_SECONDS):
                response, raw = await self._send(method, address, headers, content)
        except (httpx.TimeoutException, TimeoutError):
            raise ForgeUnreachable(
                f"{self.where} did not answer in time", remedy="try again, or check the server"
            ) from None
        except SourceUnreachable as error:  # a proxy fails
            raise ForgeUnreachable(error.message, remedy=error.remedy) from None
        except SourceError as error:  # a variable about proxies or certificates is invalid
            raise ForgeError(error.message, remedy=error.remedy) from None
        except httpx.HTTPError as error:
            reason = self._quote(str(error) or type(error).__name__)
            raise ForgeUnreachable(
                f"{self.where} does not answer: {reason}",
                remedy="check the address of the API, the network and any proxies; for a certificate "
                "authority of your own, set SSL_CERT_FILE",
            ) from None
        if response.status_code >= _BAD_REQUEST:
            raise self._make_refusal(response, raw)
        return ApiAnswer(_lower_names(response.headers), self._parse(raw) if raw.strip() else None)

    async def list_pages(self, path: str, query: Mapping[str, str]) -> list[Any]:
        """The items of a list with all its pages, which `Link` headers lead to.

        Raises:
            ForgeError: as `call`; or it has too many pages, or an answer is no list.
        """
        found: list[Any] = []
        seen: set[tuple[tuple[str, str], ...]] = set()
        following: Mapping[str, str] | None = query
        while following is not None:
            key = tuple(sorted(following.items()))
            if key in seen or len(seen) >= MOST_PAGES:
                raise ForgeError(
                    f"{self.where} has a list of more than {MOST_PAGES} pages, or one without an end",
                    remedy="delete old comments of the pull request, or open a new one",
                )
            seen.add(key)
            answer = await self.call("GET", path, query=following)
            if not isinstance(answer.value, list):
                raise self.make_shape_error()
            found += answer.value
            following = find_next_query(answer.headers.get("link", ""))
        return found

    def make_shape_error(self) -> ForgeError:
        """The error for an answer that is not of the form that the API documents."""
        return ForgeError(
            f"{self.where} does not answer as the API of a forge does",
            remedy=f"check the kind of the forge and the address of its API, {self.api}",
        )

    async def _send(
        self, method: str, address: httpx.URL, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[httpx.Response, bytes]:
        """The answer with its body, after redirects within the host."""
        import httpx  # noqa: PLC0415  (as above)

        for _ in range(_MOST_REDIRECTS + 1):
            request = self._client.build_request(method, address, headers=headers, content=content)
            response = await self._client.send(request, stream=True)
            try:
                raw = await self._read(response)
            finally:
                await response.aclose()
            code = response.status_code
            if not 300 <= code < _BAD_REQUEST:  # noqa: PLR2004  (redirects)
                return response, raw
            try:
                target = urljoin(str(address), response.headers.get("location", ""))
                same_host = _get_origin(target) == _get_origin(str(address))
                following = httpx.URL(target)
            except (ValueError, httpx.InvalidURL):
                same_host = False
            # A repository with a new name is at another path of the same host. The token goes to no other.
            if not same_host or not (code in _KEEP_METHOD or (code in _ONLY_GET and method == "GET")):
                raise ForgeError(
                    f"{self.where} answers with a redirect that is not followed: the token goes to no other "
                    "address",
                    remedy="use the final address of the API, and the present name of the repository",
                    status=code,
                )
            address = following
        raise ForgeError(
            f"{self.where} redirects more than {_MOST_REDIRECTS} times", remedy="check the server"
        )

    async def _read(self, response: httpx.Response) -> bytes:
        found = bytearray()
        async for part in response.aiter_raw():
            found += part
            if len(found) > LARGEST_ANSWER:
                raise ForgeError(
                    f"{self.where} answers with more than {LARGEST_ANSWER:,} bytes",
                    remedy=f"check the address of the API, {self.api}",
                )
        return bytes(found)

    def _parse(self, raw: bytes) -> Any:
        try:
            return read_json(raw, _JSON)
        except JsonError:
            raise self.make_shape_error() from None

    def _make_refusal(self, response: httpx.Response, raw: bytes) -> ForgeError:
        """The error for a status from 400 on."""
        status, headers = response.status_code, _lower_names(response.headers)
        reason = self._find_reason(raw)
        message = f"{self.where} answers {status}{f': {reason}' if reason else ''}"
        wait = find_wait(status, headers, reason, self._wall())
        if wait is not None:
            remedy = "try again later" if status >= _SERVER_ERROR else "too many calls: try again later"
            return ForgeUnreachable(message, remedy=remedy, status=status, wait=wait)
        return ForgeError(message, status=status)

    def _find_reason(self, raw: bytes) -> str:
        """What an error of a forge says; empty if it is not of the form that they have."""
        try:
            value = read_json(raw, _JSON)
        except JsonError:
            return ""
        if not isinstance(value, dict):
            return ""
        texts = [value.get(key) for key in ("message", "error_description", "error")]
        # GitLab's message may be an object: field -> what is wrong with it.
        found = next((one for one in texts if one), "")
        return self._quote(found if isinstance(found, str) else json.dumps(found))

    def _quote(self, text: str) -> str:
        masked = text.replace(self._token, "***") if self._token else text
        return make_one_line(masked, _QUOTED)


def find_wait(status: int, headers: Mapping[str, str], reason: str, now: float) -> float | None:
    """Seconds to wait before the same call is sent again, 0 if none are named; None if it is refused.

    Args:
        status: of the answer, from 400 on.
        headers: names in lower case.
        reason: what the answer says.
        now: seconds since 1970.
    """
    is_limited = status == _TOO_MANY or (
        # GitHub answers 403 to too many calls, and to calls that are not permitted.
        status == _FORBIDDEN
        and (
            "retry-after" in headers
            or headers.get("x-ratelimit-remaining") == "0"
            or "rate limit" in reason.lower()
        )
    )
    if not is_limited and status < _SERVER_ERROR and status not in _TRY_LATER:
        return None
    after = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", after):
        return float(after)
    if (moment := parse_http_date(after)) is not None:
        return max(moment.timestamp() - now, 0.0)
    reset = headers.get("x-ratelimit-reset", "") or headers.get("ratelimit-reset", "")
    if is_limited and headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"[0-9]{1,12}", reset):
        return max(float(reset) - now, 0.0)
    return LIMIT_PAUSE if is_limited else 0.0


def find_next_query(link: str) -> Mapping[str, str] | None:
    """The parameters of the next page that a `Link` header (RFC 8288) names; None if it names none.

    Only the parameters count. The host of the link may be another one, behind a proxy or by intent, and the
    token must not follow it.
    """
    for found in _NEXT.finditer(link[:_LONGEST_LINK]):
        relations = re.findall(r';\s*rel=(?:"([^"]*)"|([^\s",;]+))', found[2])
        if any("next" in (quoted or bare).split() for quoted, bare in relations):
            try:
                return dict(parse_qsl(urlsplit(found[1]).query, max_num_fields=20))
            except ValueError:
                return None
    return None


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _get_origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
