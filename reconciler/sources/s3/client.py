"""Reads objects of one bucket, within bounds; every request is signed with the keys of the account."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from reconciler.clouds.aws_credentials import read_aws_credentials
from reconciler.clouds.aws_signature import S3, make_aws_auth
from reconciler.errors import SourceError
from reconciler.sources.download import (
    LONGEST_VALIDATOR,
    WHOLE,
    open_download_client,
    read_body,
    translate_http_errors,
)
from reconciler.sources.s3.failures import S3Failure, make_s3_error
from reconciler.sources.s3.location import S3Location

if TYPE_CHECKING:
    import httpx

MOST_PAGES: Final = 10
"""Answers of one listing at most; each has up to 1,000 keys."""

_LISTING: Final = 8 * 1024 * 1024
_ERROR: Final = 64 * 1024
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_CONTENTS = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_PREFIXES = re.compile(r"<CommonPrefixes>(.*?)</CommonPrefixes>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object as the server has it now.

    Args:
        body: its bytes; None if it is still the one that the caller has.
        etag: empty if the answer has none.
        modified: the answer's Last-Modified, empty if it has none.
    """

    body: bytes | None
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True, slots=True)
class S3Listing:
    """What is below a prefix: keys, and the folders if a delimiter was given."""

    keys: tuple[str, ...]
    folders: tuple[str, ...]


class S3Client:
    """Reads the bucket of a location; the keys are read again for each request.

    Args:
        location: gives bucket and account.
        environment: of the process: keys, proxies, certificates.
        seconds: for one request with its answer.
    """

    def __init__(
        self, location: S3Location, environment: Mapping[str, str], *, seconds: float = WHOLE
    ) -> None:
        self.location = location
        self._environment = environment
        self._seconds = seconds

    async def get(self, key: str, *, most: int, etag: str = "") -> S3Object:
        """An object, unless it still has this ETag.

        Args:
            key: of the object.
            most: bytes that it may have.
            etag: of the one that the caller has; may be empty.

        Raises:
            S3ObjectAbsent: there is none.
            SourceError: it is too large, the server refuses it, or something in the configuration is wrong.
            SourceUnreachable: no answer, or an incomplete one.
        """
        at = self.location.at(key)
        # The server chose this value, and may have put any bytes into it.
        is_usable = 0 < len(etag) <= LONGEST_VALIDATOR and etag.isascii() and etag.isprintable()
        headers = {"If-None-Match": etag} if is_usable else {}
        status, got, body = await self._request(at, at.url, headers, most=most)
        if status == _NOT_MODIFIED and is_usable:
            return S3Object(None, etag, got.get("last-modified", ""))
        if status != _OK:
            raise make_s3_error(S3Failure(status, got, body), at)
        return S3Object(body, got.get("etag", ""), got.get("last-modified", ""))

    async def list(self, prefix: str, *, after: str = "", folders: bool = False) -> S3Listing:
        """The keys below a prefix, in the order of their bytes.

        Args:
            prefix: of the keys.
            after: only keys behind this one; empty for all.
            folders: whether to stop at the next slash, and give folders.

        Raises:
            SourceError: there are too many, or as for `get`.
        """
        at, token = self.location.at(prefix), ""
        keys: list[str] = []
        found_folders: list[str] = []
        for _ in range(MOST_PAGES):
            query = {
                "continuation-token": token,
                "delimiter": "/" if folders else "",
                "encoding-type": "url",
                "list-type": "2",
                "prefix": prefix,
                "start-after": after,
            }
            coded = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in query.items() if value)
            status, got, body = await self._request(at, f"{at.base_url}?{coded}", {}, most=_LISTING)
            if status != _OK:
                raise make_s3_error(S3Failure(status, got, body), at)
            text = _decode_listing(body, at)
            is_coded = "<EncodingType>url</EncodingType>" in text
            keys += [_read_value(one, "Key", at, is_coded=is_coded) for one in _CONTENTS.findall(text)]
            found_folders += [
                _read_value(one, "Prefix", at, is_coded=is_coded) for one in _PREFIXES.findall(text)
            ]
            if "<IsTruncated>true</IsTruncated>" not in text:
                # A server that answers with other keys than was asked for must not lead elsewhere.
                return S3Listing(
                    tuple(one for one in keys if one.startswith(prefix) and one > after),
                    tuple(one for one in found_folders if one.startswith(prefix)),
                )
            found = re.search(r"<NextContinuationToken>([^<]{1,2048})</NextContinuationToken>", text)
            if found is None or unescape(found[1]) == token:
                raise SourceError(
                    f"{at.shown}: the server says that its list of objects is cut, and not how it continues",
                    remedy="use a server that lists objects by version 2",
                )
            token = unescape(found[1])
        raise SourceError(
            f"{at.shown} has more than {MOST_PAGES * 1000:,} objects, and no more are listed",
            remedy="delete old backups, by a lifecycle rule of the bucket for example",
        )

    async def _request(
        self, at: S3Location, url: str, headers: Mapping[str, str], *, most: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; of an error the begin of its body."""
        credentials = await asyncio.to_thread(read_aws_credentials, at.account, at.rules, self._environment)
        auth = make_aws_auth(credentials, region=at.rules.region, service=S3)
        async with open_download_client(self._environment) as client:
            with translate_http_errors(at.shown):
                async with asyncio.timeout(self._seconds):
                    request = client.build_request(
                        "GET", url, headers={**headers, "Accept-Encoding": "identity"}
                    )
                    response = await client.send(request, stream=True, auth=auth)
                    try:
                        body = await self._read(response, at, most)
                    finally:
                        await response.aclose()
        return response.status_code, {name.lower(): text for name, text in response.headers.items()}, body

    @staticmethod
    async def _read(response: httpx.Response, at: S3Location, most: int) -> bytes:
        if response.status_code == _OK:
            return await read_body(response, at.shown, most)
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if len(body) >= _ERROR:
                break
        return body[:_ERROR]


def _decode_listing(body: bytes, at: S3Location) -> str:
    """The text of a listing; a few elements of it are all that is looked for, so no XML parser is needed."""
    text = body.decode(errors="replace")
    if "<ListBucketResult" not in text[:1024]:
        raise SourceError(
            f"{at.shown}: the server answered with something else than a list of objects",
            remedy=f"check `s3.endpoint` and `s3.path_style` of `aws.{at.account}` in the host configuration",
        )
    return text


def _read_value(element: str, name: str, at: S3Location, *, is_coded: bool) -> str:
    found = re.search(f"<{name}>([^<]{{1,8192}})</{name}>", element)
    value = unescape(found[1]) if found else ""
    value = unquote(value.replace("+", " ")) if is_coded else value
    if not value:
        raise SourceError(
            f"{at.shown}: the server listed an object without its key", remedy="check the server"
        )
    return value
