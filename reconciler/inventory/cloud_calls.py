"""Bounded calls to the API of a cloud; every failure is an `InventoryError`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from reconciler.errors import InventoryError
from reconciler.text.one_line import make_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of one answer at most."""

MOST_PAGES: Final = 200
"""Pages of one list at most."""

_CONNECT, _READ = 5.0, 20.0
_QUOTED: Final = 300

_CODE: Final = re.compile(
    rb"<Code>\s*([A-Za-z][A-Za-z0-9.]{0,63})\s*</Code>" rb'|"code"\s*:\s*"([A-Za-z][A-Za-z0-9.]{0,63})"'
)
"""The code of an error of EC2 or OCI.

Nothing else of it is shown: AWS answers to a wrong signature with all that was signed, also the session
token.
"""


def open_client(auth: httpx.Auth, *, trust_env: bool = True) -> httpx.AsyncClient:
    """A client for one account; redirects are not followed: another place must not get a signed request.

    Args:
        auth: signs each request.
        trust_env: whether a proxy of the environment is used.
    """
    timeout = httpx.Timeout(_READ, connect=_CONNECT)
    return httpx.AsyncClient(auth=auth, timeout=timeout, follow_redirects=False, trust_env=trust_env)


@dataclass(frozen=True, slots=True)
class CloudAnswer:
    """A complete answer with the status 200.

    Args:
        headers: names in lower case.
    """

    body: bytes
    headers: Mapping[str, str]


async def call_cloud(client: httpx.AsyncClient, request: httpx.Request, where: str) -> CloudAnswer:
    """One call.

    Args:
        client: signs the request.
        request: of which only the host is shown.
        where: names the account in messages.

    Raises:
        InventoryError: there is no answer, it is cut or too large, or it refuses the call.
    """
    try:
        response = await client.send(request, stream=True)
        try:
            body = await _read_bounded(response, where)
        finally:
            await response.aclose()
    except httpx.TimeoutException as error:
        raise InventoryError(f"{where} did not answer in time") from error
    except httpx.HTTPError as error:
        reason = make_one_line(str(error) or type(error).__name__, _QUOTED)
        raise InventoryError(f"{where} does not answer completely: {reason}") from error
    if response.status_code != httpx.codes.OK:
        code = _CODE.search(body)
        shown = f" ({(code[1] or code[2]).decode()})" if code else ""
        raise InventoryError(
            f"{where} answers {response.status_code}{shown}", remedy=_suggest_remedy(response.status_code)
        )
    return CloudAnswer(body, {name.lower(): value for name, value in response.headers.items()})


async def _read_bounded(response: httpx.Response, where: str) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise InventoryError(f"{where} answers with more than {LARGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _suggest_remedy(status: int) -> str:
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return (
            "check the credentials of this account in the host configuration, that they may list instances, "
            "and the clock of this host"
        )
    return ""


class PageCounter:
    """Follows the marks of the pages of one list, so that a list ends, and is complete."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._seen: set[str] = set()

    def check(self, mark: str) -> None:
        """Check the mark of the next page.

        Raises:
            InventoryError: it was followed before, or there are too many pages.
        """
        if mark in self._seen:
            raise InventoryError(f"{self._where} leads to a page of its list twice; the list is not complete")
        self._seen.add(mark)
        if len(self._seen) >= MOST_PAGES:
            raise InventoryError(f"{self._where} has more than {MOST_PAGES} pages; the list is not complete")
