"""A tarball as a source, by path or by http(s) URL; its revision is the digest of its files.

The same files packed again, by another program or with other dates, are the same revision. The bytes of the
archive itself count for `--sha256` and for signatures.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from reconciler.core.plan import Revision
from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.files import FileAbsent, FileRefused, read_regular
from reconciler.host.subprocesses import run_blocking
from reconciler.ports.source import FLEET_FILES, Snapshot, Source
from reconciler.sources import http_cache
from reconciler.sources.content_limits import LIMITS, SourceLimits
from reconciler.sources.download import TOKEN, WHOLE, FetchedArchive, download_archive
from reconciler.sources.folder_scan import Mark, make_mark
from reconciler.sources.signatures.file_signer import find_file_signer
from reconciler.sources.signatures.trust import UNSIGNED, Signer, Trust, add_signer, make_untrusted_error
from reconciler.sources.source_address import SourceAddress, read_token
from reconciler.sources.unpack import unpack_archive
from reconciler.text.one_line import SHORT_ID, format_size, take_first_line

SHORTEST = 4
"""Digits of an abbreviated digest at least, as for commits of git."""

LARGEST_SIGNATURE = 64 * 1024
"""Bytes of a detached signature at most."""


@dataclass(frozen=True, slots=True)
class TarballOptions:
    """What a tarball must be.

    Args:
        path: the folder in it to read; empty for its root.
        sha256: the digest of the archive, 64 hexadecimal digits; empty for any.
        limits: bounds on its size, packed and unpacked.
        trust: whose detached signature must be next to it; None for no check.
        named: the beginning of its revision or of the digest of the archive; empty for any.
    """

    path: str = ""
    sha256: str = ""
    limits: SourceLimits = LIMITS
    trust: Trust | None = None
    named: str = ""

    @property
    def signature_suffixes(self) -> tuple[str, ...]:
        """Endings of signature files, the likeliest first."""
        if self.trust is None:
            return ()
        return (".asc", ".sig") if self.trust.kind == "gpg" else (".sig",)

    async def signer(self, data: bytes, signature: bytes | None, *, where: str) -> Signer | None:
        """The signer of the archive; None without `trust`.

        Args:
            data: the archive.
            signature: content of the file next to it; None if there is none.
            where: the archive, for messages.

        Raises:
            UntrustedRevision: it has no signature that this host accepts.
        """
        if self.trust is None:
            return None
        if signature is None:
            beside = " or ".join(self.signature_suffixes)
            raise make_untrusted_error(
                UNSIGNED, where, f"is not signed: there is no {beside} file next to it"
            )
        return await run_blocking(partial(find_file_signer, data, signature, self.trust, what=where))

    def snapshot(self, data: bytes, *, where: str, title: str) -> Snapshot:
        """The files of an archive with the expected digest.

        Raises:
            SourceError: it has another digest or revision, or `unpack_archive` refuses it.
        """
        digest = hashlib.sha256(data).hexdigest()
        if self.sha256 and digest != self.sha256:
            raise SourceError(
                f"{where} has the digest sha256:{digest}, not sha256:{self.sha256}; it was not unpacked",
                remedy="find out who changed it before you give the new digest to --sha256",
            )
        files = unpack_archive(data, where=where, path=self.path, limits=self.limits)
        id_ = files.digest()
        # People have either of the two at hand: the history shows the revision, sha256sum the digest.
        fits = len(self.named) >= SHORTEST and any(one.startswith(self.named) for one in (id_, digest))
        if self.named and not fits:
            raise SourceError(
                f"{where} is now revision {id_[:SHORT_ID]}, not {self.named}",
                remedy="put the archive of that revision there; only a repository keeps earlier revisions",
            )
        source = f"{where}//{self.path}" if self.path else where
        revision = Revision(source, id_, id_[:SHORT_ID], take_first_line(title))
        return Snapshot(revision, files, files.layout.find_above(FLEET_FILES))


class TarballFileSource(Source):
    """A tarball on disk."""

    is_dated_by_use = True

    def __init__(self, file: Path, packing: TarballOptions) -> None:
        self.file = file
        self.packing = packing
        self._last: tuple[Mark, bytes, Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """Its files as they are now."""
        mark, data = await asyncio.to_thread(self._read)
        if data is None:
            assert self._last is not None  # without a last look everything is read
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
        """Content of the signature file next to it; None if there is none."""
        for end in self.packing.signature_suffixes:
            beside = self.file.with_name(self.file.name + end)
            try:
                return read_regular(beside, limit=LARGEST_SIGNATURE)
            except FileAbsent:
                continue
            except FileRefused as error:
                raise SourceError(f"the signature {beside} {error}", remedy="check that file") from None
        return None

    def _read(self) -> tuple[Mark, bytes | None]:
        """The mark of the file and its bytes; None for the bytes of the last look."""
        try:
            # O_NONBLOCK: opening a pipe would block until somebody writes to it.
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as opened:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise OSError(errno.EINVAL, "it is not a regular file", str(self.file))  # noqa: TRY301  (translated below like the others)
                mark = make_mark(status)
                if self._last and self._last[0] == mark:
                    return mark, None
                most = self.packing.limits.download_bytes
                data = opened.read(most + 1)
        except OSError as error:
            raise SourceError(
                f"the tarball {self.file} cannot be read: {error.strerror}",
                remedy="check the path and its permissions",
            ) from error
        if len(data) > most:
            raise SourceError(
                f"the tarball {self.file} is larger than {format_size(most)}",
                remedy="pack only the desired state",
            )
        return mark, data


class FetchedTarballSource(Source):
    """A tarball on a server.

    The last answer is kept in `cache` and fetched again only if it changed. With a pinned digest the cached
    bytes are enough, because no others have it.

    Args:
        shown: its address for messages, and the name of the source.
        packing: what it must be.
        kept: the file of the last answer.
    """

    is_dated_by_use = True

    def __init__(self, shown: str, packing: TarballOptions, *, kept: Path) -> None:
        self.shown = shown
        self.packing = packing
        self._kept = kept
        self._last: tuple[http_cache.CachedAnswer, Snapshot] | None = None

    @abstractmethod
    async def fetch(self, known: http_cache.CachedAnswer | None) -> FetchedArchive:
        """The archive, unless it is still the one that is known.

        Raises:
            SourceError: it cannot be had.
            SourceUnreachable: no answer, or an incomplete one.
        """

    @abstractmethod
    async def fetch_beside(self, end: str, most: int) -> bytes | None:
        """The file with the name of the archive and an ending after it, of at most `most` bytes.

        Raises:
            SourceError: it cannot be had, which counts as if there were none.
            SourceUnreachable: no answer, or an incomplete one.
        """

    async def snapshot(self) -> Snapshot:
        """Its files as the server has them now."""
        known = (
            self._last[0]
            if self._last
            else await asyncio.to_thread(http_cache.read_cached_answer, self._kept)
        )
        # No other bytes have this digest, so the server need not be asked.
        if known and self.packing.sha256 and known.sha256 == self.packing.sha256:
            return await self._snapshot(known)
        fetched = await self.fetch(known)
        if fetched.body is None:
            assert known is not None  # a server says "not modified" only to a request with an ETag or a date
            return await self._snapshot(known)
        fresh = http_cache.CachedAnswer(fetched.body, fetched.etag, fetched.modified)
        # Unpacked before it is cached: what is refused must not take the place of an answer that is not.
        found = await self._snapshot(fresh)
        if fresh != known:
            await asyncio.to_thread(http_cache.write_cached_answer, self._kept, fresh)
        return found

    async def _snapshot(self, answer: http_cache.CachedAnswer) -> Snapshot:
        if self._last and self._last[0].body == answer.body:
            found = self._last[1]
        else:
            signature = await self._signature() if self.packing.trust else None
            signer = await self.packing.signer(answer.body, signature, where=self.shown)
            title = self.shown.rstrip("/").rpartition("/")[2]
            made = await asyncio.to_thread(self.packing.snapshot, answer.body, where=self.shown, title=title)
            found = add_signer(made, signer)
        self._last = (answer, found)
        return found

    async def _signature(self) -> bytes | None:
        """The signature that the server has next to the archive; None if it has none.

        Raises:
            SourceUnreachable: no answer.
        """
        for end in self.packing.signature_suffixes:
            try:
                return await self.fetch_beside(end, LARGEST_SIGNATURE)
            # No answer does not mean that there is no signature: the archive must not count as unsigned.
            except SourceUnreachable:
                raise
            except SourceError:
                continue
        return None


class TarballUrlSource(FetchedTarballSource):
    """A tarball at an http(s) URL."""

    def __init__(
        self,
        address: SourceAddress,
        packing: TarballOptions,
        *,
        cache: Path,
        seconds: float = WHOLE,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(address.shown, packing, kept=http_cache.find_cache_file(cache, address.url))
        self.address = address
        self._environment = environment
        self.seconds = seconds

    async def fetch(self, known: http_cache.CachedAnswer | None) -> FetchedArchive:
        """See `FetchedTarballSource`."""
        return await download_archive(
            self.address,
            token=read_token(self._environment, TOKEN),
            environment=self._environment,
            limits=self.packing.limits,
            etag=known.etag if known else "",
            modified=known.modified if known else "",
            seconds=self.seconds,
        )

    async def fetch_beside(self, end: str, most: int) -> bytes | None:
        """See `FetchedTarballSource`."""
        found = await download_archive(
            make_sibling_address(self.address, end),
            token=read_token(self._environment, TOKEN),
            environment=self._environment,
            limits=replace(self.packing.limits, download_bytes=most),
            seconds=self.seconds,
        )
        return found.body


def make_sibling_address(address: SourceAddress, end: str) -> SourceAddress:
    """The address of the file with the name of an archive and an ending after it."""

    def extend(url: str) -> str:
        path, mark, query = url.partition("?")
        return f"{path}{end}{mark}{query}"

    return replace(address, url=extend(address.url), shown=extend(address.shown))
