"""One package in S3 as a source: like a tarball at a URL, with signed requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.ports.source import Snapshot
from reconciler.sources import http_cache
from reconciler.sources.download import FetchedArchive
from reconciler.sources.s3.client import S3Client
from reconciler.sources.s3.location import S3Location
from reconciler.sources.tarball import FetchedTarballSource, TarballOptions


class S3PackageSource(FetchedTarballSource):
    """A tarball in a bucket.

    Args:
        location: of the object.
        packing: what it must be.
        cache: where the last answer is kept.
        environment: of the process.
    """

    def __init__(
        self, location: S3Location, packing: TarballOptions, *, cache: Path, environment: Mapping[str, str]
    ) -> None:
        # The URL too: the same bucket of another endpoint has other objects.
        kept = http_cache.find_cache_file(cache, f"{location.shown} {location.url}")
        super().__init__(location.shown, packing, kept=kept)
        self.location = location
        self._client = S3Client(location, environment)

    async def snapshot(self) -> Snapshot:
        """Its files as the server has them now."""
        return replace(await super().snapshot(), is_package=True)

    async def fetch(self, known: http_cache.CachedAnswer | None) -> FetchedArchive:
        """See `FetchedTarballSource`."""
        most = self.packing.limits.download_bytes
        found = await self._client.get(self.location.key, most=most, etag=known.etag if known else "")
        return FetchedArchive(found.body, found.etag, found.modified)

    async def fetch_beside(self, end: str, most: int) -> bytes | None:
        """See `FetchedTarballSource`."""
        return (await self._client.get(self.location.key + end, most=most)).body
