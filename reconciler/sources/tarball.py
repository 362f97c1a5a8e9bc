"""A tarball as a source, by path or by http(s) URL; its revision is the digest of its bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.plan import Revision
from reconciler.core.ports import Snapshot
from reconciler.errors import SourceError
from reconciler.sources import remembered
from reconciler.sources.address import Address
from reconciler.sources.credential import token
from reconciler.sources.download import TOKEN, WHOLE, download
from reconciler.sources.limits import LIMITS, Limits, size
from reconciler.sources.text import line
from reconciler.sources.unpack import unpack

SHORT = 12


@dataclass(frozen=True, slots=True)
class Packing:
    """What is expected of a tarball.

    Args:
        path: the folder in it to look at; empty for its root.
        sha256: the digest it must have, 64 hexadecimal digits; empty for any.
        limits: bounds on its size, packed and unpacked.
    """

    path: str = ""
    sha256: str = ""
    limits: Limits = LIMITS

    def snapshot(self, data: bytes, *, where: str, title: str) -> Snapshot:
        """The files in an archive's bytes, once they have the expected digest.

        Raises:
            SourceError: they have another digest, or are refused by `unpack`.
        """
        digest = hashlib.sha256(data).hexdigest()
        if self.sha256 and digest != self.sha256:
            raise SourceError(
                f"{where} has the digest sha256:{digest}, not sha256:{self.sha256}; it was not unpacked",
                remedy="Find out who changed it; only then give --sha256 the new digest.",
            )
        files = unpack(data, where=where, path=self.path, limits=self.limits)
        source = f"{where}//{self.path}" if self.path else where
        return Snapshot(Revision(source, digest, digest[:SHORT], line(title)), files)


class TarballFile:
    """A tarball on disk; implements `core.ports.Source`."""

    def __init__(self, file: Path, packing: Packing) -> None:
        self.file = file
        self.packing = packing
        self._last: tuple[tuple[int, ...], Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """The files in it as it is now.

        Raises:
            SourceError: it cannot be read, or must not be unpacked.
        """
        return await asyncio.to_thread(self._snapshot)

    def _snapshot(self) -> Snapshot:
        try:
            with self.file.open("rb") as opened:
                stat = os.fstat(opened.fileno())
                mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                if self._last and self._last[0] == mark:
                    return self._last[1]
                most = self.packing.limits.download_bytes
                data = opened.read(most + 1)
        except OSError as error:
            raise SourceError(
                f"the tarball {self.file} cannot be read: {error.strerror}",
                remedy="Look at the path and at its permissions.",
            ) from error
        if len(data) > most:
            raise SourceError(f"the tarball {self.file} is larger than {size(most)}", remedy="Pack less.")
        if self._last and self._last[1].revision.id == hashlib.sha256(data).hexdigest():
            found = self._last[1]
        else:
            found = self.packing.snapshot(data, where=str(self.file), title=self.file.name)
        self._last = (mark, found)
        return found


class TarballUrl:
    """A tarball behind an http(s) URL; implements `core.ports.Source`.

    The last answer is kept in `cache` and asked for again only if it has changed. With a pinned
    digest the kept bytes are enough: they cannot be others.
    """

    def __init__(self, place: Address, packing: Packing, *, cache: Path, seconds: float = WHOLE) -> None:
        self.place = place
        self.packing = packing
        self.seconds = seconds
        self._kept = remembered.place_of(cache, place.url)
        self._last: tuple[remembered.Remembered, Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """The files in it as the server has it now.

        Raises:
            SourceError: the server refuses, or the archive must not be unpacked.
            SourceUnreachable: no answer, or not a whole one.
            StateError: the cache cannot be used.
        """
        known = self._last[0] if self._last else await asyncio.to_thread(remembered.recall, self._kept)
        if known and self.packing.sha256 and known.sha256 == self.packing.sha256:
            return await asyncio.to_thread(self._snapshot, known)
        fetched = await download(
            self.place,
            token=token(os.environ, TOKEN),
            limits=self.packing.limits,
            etag=known.etag if known else "",
            modified=known.modified if known else "",
            seconds=self.seconds,
        )
        if fetched.body is None:
            assert known is not None  # only what is known is asked for by its ETag or date
            return await asyncio.to_thread(self._snapshot, known)
        fresh = remembered.Remembered(fetched.body, fetched.etag, fetched.modified)
        found = await asyncio.to_thread(self._snapshot, fresh)
        if fresh != known:
            await asyncio.to_thread(remembered.remember, self._kept, fresh)
        return found

    def _snapshot(self, answer: remembered.Remembered) -> Snapshot:
        if self._last and self._last[0].body == answer.body:
            found = self._last[1]
        else:
            title = self.place.shown.rstrip("/").rpartition("/")[2]
            found = self.packing.snapshot(answer.body, where=self.place.shown, title=title)
        self._last = (answer, found)
        return found
