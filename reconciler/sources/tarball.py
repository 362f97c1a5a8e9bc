"""A tarball as a source, by path or by http(s) URL; its revision is the digest of the files in it.

The same files packed again, by another program or with other dates, are the same revision: what an archive's
own bytes are tells nothing about the desired state. They count for `--sha256` and for signatures.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from reconciler.core.plan import Revision
from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.subprocesses import run_blocking
from reconciler.ports.source import Snapshot, Source
from reconciler.sources import http_cache
from reconciler.sources.content_limits import LIMITS, SourceLimits
from reconciler.sources.download import TOKEN, WHOLE, download_archive
from reconciler.sources.signatures.trust import UNSIGNED, Signer, Trust, add_signer, make_untrusted_error
from reconciler.sources.signatures.verification import find_file_signer
from reconciler.sources.source_address import SourceAddress, read_token
from reconciler.sources.unpack import unpack_archive
from reconciler.text.one_line import SHORT_ID, format_size, take_first_line

SHORTEST = 4
"""Digits from which the beginning of a digest names it, as with git's commits."""

LARGEST_SIGNATURE = 64 * 1024
"""Bytes that a detached signature may have."""


@dataclass(frozen=True, slots=True)
class TarballOptions:
    """What is expected of a tarball.

    Args:
        path: the folder in it to look at; empty for its root.
        sha256: the digest it must have, 64 hexadecimal digits; empty for any.
        limits: bounds on its size, packed and unpacked.
        trust: whose detached signature has to be beside it; None where none is asked.
        named: how the revision that it must have begins, or the archive's own digest; empty for any.
    """

    path: str = ""
    sha256: str = ""
    limits: SourceLimits = LIMITS
    trust: Trust | None = None
    named: str = ""

    @property
    def beside(self) -> tuple[str, ...]:
        """How the names of signature files end, the likeliest first."""
        if self.trust is None:
            return ()
        return (".asc", ".sig") if self.trust.kind == "gpg" else (".sig",)

    async def signer(self, data: bytes, signature: bytes | None, *, where: str) -> Signer | None:
        """Who signed the archive; none where nobody asks.

        Args:
            data: the archive.
            signature: what stands in the file beside it; None where there is no such file.
            where: the archive, for messages.

        Raises:
            Untrusted: nobody whose signature counts did.
        """
        if self.trust is None:
            return None
        if signature is None:
            beside = " or ".join(self.beside)
            raise make_untrusted_error(
                UNSIGNED, where, f"is not signed: there is no {beside} file next to it"
            )
        return await run_blocking(partial(find_file_signer, data, signature, self.trust, what=where))

    def snapshot(self, data: bytes, *, where: str, title: str) -> Snapshot:
        """The files in an archive's bytes, once they have the expected digest.

        Raises:
            SourceError: they have another digest or revision, or are refused by `unpack_archive`.
        """
        digest = hashlib.sha256(data).hexdigest()
        if self.sha256 and digest != self.sha256:
            raise SourceError(
                f"{where} has the digest sha256:{digest}, not sha256:{self.sha256}; it was not unpacked",
                remedy="Find out who changed it before you give the new digest to --sha256.",
            )
        files = unpack_archive(data, where=where, path=self.path, limits=self.limits)
        id_ = files.digest()
        if self.named and not any(self._names(one) for one in (id_, digest)):
            raise SourceError(
                f"{where} is now revision {id_[:SHORT_ID]}, not {self.named}",
                remedy="Put the archive of that revision there; only a repository keeps earlier revisions.",
            )
        source = f"{where}//{self.path}" if self.path else where
        return Snapshot(Revision(source, id_, id_[:SHORT_ID], take_first_line(title)), files)

    def _names(self, digest: str) -> bool:
        return len(self.named) >= SHORTEST and digest.startswith(self.named)


class TarballFileSource(Source):
    """A tarball on disk."""

    dated_by_use = True

    def __init__(self, file: Path, packing: TarballOptions) -> None:
        self.file = file
        self.packing = packing
        self._last: tuple[tuple[int, ...], bytes, Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """The files in it as it is now.

        Raises:
            SourceError: it cannot be read, or must not be unpacked.
            Untrusted: a signature is asked for, and there is none that counts.
        """
        mark, data = await asyncio.to_thread(self._read)
        if data is None:
            assert self._last is not None  # only then nothing is read
            return self._last[2]
        signature = await asyncio.to_thread(self._signature)
        signer = await self.packing.signer(data, signature, where=str(self.file))
        digest = hashlib.sha256(data).digest()
        if self._last and self._last[1] == digest:
            found = self._last[2]
        else:
            found = await asyncio.to_thread(
                self.packing.snapshot, data, where=str(self.file), title=self.file.name
            )
        self._last = (mark, digest, add_signer(found, signer))
        return self._last[2]

    def _signature(self) -> bytes | None:
        """What stands in the signature file beside it; none where there is no such file."""
        for end in self.packing.beside:
            place = self.file.with_name(self.file.name + end)
            if place.is_file():
                with _opened(place) as file:
                    return file.read(LARGEST_SIGNATURE)
        return None

    def _read(self) -> tuple[tuple[int, ...], bytes | None]:
        """The mark of the file and its bytes; no bytes where they are still those of the last look."""
        try:
            with _opened(self.file) as opened:
                status = os.fstat(opened.fileno())
                mark = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                if self._last and self._last[0] == mark:
                    return mark, None
                most = self.packing.limits.download_bytes
                data = opened.read(most + 1)
        except OSError as error:
            raise SourceError(
                f"the tarball {self.file} cannot be read: {error.strerror}",
                remedy="Check the path and its permissions.",
            ) from error
        if len(data) > most:
            raise SourceError(
                f"the tarball {self.file} is larger than {format_size(most)}",
                remedy="Pack only the desired state.",
            )
        return mark, data


def _opened(file: Path) -> BinaryIO:
    """A regular file, open for reading: a pipe in its place would be waited for, for ever.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    opened = os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(file))
    return opened


class TarballUrlSource(Source):
    """A tarball behind an http(s) URL.

    The last answer is kept in `cache` and asked for again only if it has changed. With a pinned
    digest the kept bytes are enough: they cannot be others.
    """

    dated_by_use = True

    def __init__(
        self,
        place: SourceAddress,
        packing: TarballOptions,
        *,
        cache: Path,
        seconds: float = WHOLE,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.place = place
        self._environment = environment
        self.packing = packing
        self.seconds = seconds
        self._kept = http_cache.find_cache_file(cache, place.url)
        self._last: tuple[http_cache.CachedAnswer, Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """The files in it as the server has it now.

        Raises:
            SourceError: the server refuses, or the archive must not be unpacked.
            SourceUnreachable: no answer, or not a whole one.
            StateError: the cache cannot be used.
            Untrusted: a signature is asked for, and there is none that counts.
        """
        known = (
            self._last[0]
            if self._last
            else await asyncio.to_thread(http_cache.read_cached_answer, self._kept)
        )
        if known and self.packing.sha256 and known.sha256 == self.packing.sha256:
            return await self._snapshot(known)
        fetched = await download_archive(
            self.place,
            token=read_token(self._environment, TOKEN),
            environment=self._environment,
            limits=self.packing.limits,
            etag=known.etag if known else "",
            modified=known.modified if known else "",
            seconds=self.seconds,
        )
        if fetched.body is None:
            assert known is not None  # only what is known is asked for by its ETag or date
            return await self._snapshot(known)
        fresh = http_cache.CachedAnswer(fetched.body, fetched.etag, fetched.modified)
        found = await self._snapshot(fresh)
        if fresh != known:
            await asyncio.to_thread(http_cache.write_cached_answer, self._kept, fresh)
        return found

    async def _snapshot(self, answer: http_cache.CachedAnswer) -> Snapshot:
        if self._last and self._last[0].body == answer.body:
            found = self._last[1]
        else:
            where = self.place.shown
            signature = await self._signature() if self.packing.trust else None
            signer = await self.packing.signer(answer.body, signature, where=where)
            title = where.rstrip("/").rpartition("/")[2]
            made = await asyncio.to_thread(self.packing.snapshot, answer.body, where=where, title=title)
            found = add_signer(made, signer)
        self._last = (answer, found)
        return found

    async def _signature(self) -> bytes | None:
        """What the server has beside the archive; none where it has nothing.

        Raises:
            SourceUnreachable: no answer.
        """
        limits = replace(self.packing.limits, download_bytes=LARGEST_SIGNATURE)
        for end in self.packing.beside:
            try:
                found = await download_archive(
                    make_sibling_address(self.place, end),
                    token=read_token(self._environment, TOKEN),
                    environment=self._environment,
                    limits=limits,
                    seconds=self.seconds,
                )
            except SourceUnreachable:
                raise
            except SourceError:
                continue
            return found.body
        return None


def make_sibling_address(place: SourceAddress, end: str) -> SourceAddress:
    """Where the file lies whose name is that of an archive with an ending more."""

    def longer(url: str) -> str:
        path, mark, query = url.partition("?")
        return f"{path}{end}{mark}{query}"

    return replace(place, url=longer(place.url), shown=longer(place.shown))
