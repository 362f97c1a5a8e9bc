"""The newest backup below a path in S3 as a source, as a node of M2 writes them.

M2 stores each package under the time at which it was made, and then overwrites `feed.json` with a message
that names it (M2 manual, Events). The feed is a cheap sign that something changed; it does not decide which
backup is the newest, because it may be late, lost or written out of order. The names of the packages decide.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.ports.source import Snapshot, Source
from reconciler.sources import http_cache
from reconciler.sources.s3.client import S3Client
from reconciler.sources.s3.failures import S3ObjectAbsent
from reconciler.sources.s3.location import (
    FEED,
    FOLDER,
    S3Location,
    find_backup_key,
    get_backup_time,
    is_backup_key,
    parse_backup_time,
)
from reconciler.sources.s3.package import S3PackageSource
from reconciler.sources.tarball import SHORTEST, TarballOptions

LARGEST_FEED: Final = 64 * 1024
"""Bytes of a feed at most: it names one package."""

_MOST_SEARCHED: Final = 30
"""Packages that are unpacked to find one by its digest."""

_MOST_KNOWN: Final = 500

_YEAR: Final = re.compile(r"20[0-9]{2}/")
_MONTH: Final = re.compile(r"(0[1-9]|1[0-2])/")
_MOST_MONTHS: Final = 24
"""Folders of months that are looked into for the newest backup."""

_AHEAD: Final = timedelta(days=1)
"""How far the clock of a node may be ahead of this host's."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What earlier looks found, kept on disk.

    Args:
        newest: key of the newest package that was read; empty for none.
        revisions: revision -> key of a package that was read, the latest last.
    """

    newest: str = ""
    revisions: Mapping[str, str] = field(default_factory=dict)


class S3BackupSource(Source):
    """The newest of the backups below a path.

    Args:
        location: of the path.
        packing: what each package must be; `named` may be the time in its name, too.
        cache: where answers are kept.
        environment: of the process.
    """

    is_dated_by_use = True
    keeps_revisions = True

    def __init__(
        self, location: S3Location, packing: TarballOptions, *, cache: Path, environment: Mapping[str, str]
    ) -> None:
        self.location = location.at(location.key.rstrip("/"))
        self.packing = packing
        self._cache = cache
        self._environment = environment
        self._client = S3Client(self.location, environment)
        own = f"{self.location.shown} {self.location.url}"
        self._known_file = http_cache.find_cache_file(cache, own)
        self._last: tuple[str, Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """The files of the newest backup, or of the one that was named; one request while nothing changes."""
        if self.packing.named:
            return await self._find_named(self.packing.named)
        feed = self.location.below(FEED)
        try:
            etag = self._last[0] if self._last else ""
            answer = await self._client.get(feed.key, most=LARGEST_FEED, etag=etag)
        except S3ObjectAbsent as error:
            raise await self._explain_missing_feed() from error
        if answer.body is None:
            assert self._last is not None  # only its ETag was sent
            return self._last[1]
        named = read_backup_feed(answer.body, self.location)
        key = max(await self._list_after(named) if named else await self._list_newest(), key=get_backup_time)
        known = await asyncio.to_thread(_read_known, self._known_file)
        _refuse_older(key, known.newest, self.location)
        _refuse_future(key, self.location)
        found = await self._read(key)
        await self._remember(found, key, newest=key)
        # Last of all: what cannot be read is looked at again, and not taken for unchanged.
        self._last = answer.etag, found
        return found

    async def is_newer(self, revision: str, other: str) -> bool | None:
        """See `ports.source.Source`; by the time in the names of packages that this host has read."""
        known = (await asyncio.to_thread(_read_known, self._known_file)).revisions
        if revision not in known or other not in known:
            return None
        return get_backup_time(known[revision]) > get_backup_time(known[other])

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """One backup by its revision, so that a rollback to it can be held; others are no parents of it."""
        try:
            found = [await self._find_named(revision)] if most > 0 else []
        except SourceUnreachable:
            raise
        except SourceError:
            found = []
        yield iter(found)

    async def _list_all(self) -> list[str]:
        """Keys of all backups, in the order of their names."""
        prefix = self.location.below(FOLDER).key
        found = await self._client.list(prefix)
        return [key for key in found.keys if is_backup_key(key, prefix)]

    async def _remember(self, found: Snapshot, key: str, *, newest: str = "") -> Snapshot:
        """Keep which package a revision is, and which one is the newest that was read; gives the revision."""
        known = await asyncio.to_thread(_read_known, self._known_file)
        revisions = {**known.revisions, found.revision.id: key}
        kept = _Known(newest or known.newest, dict([*revisions.items()][-_MOST_KNOWN:]))
        if kept != known:
            await asyncio.to_thread(_write_known, self._known_file, kept)
        return found

    async def _list_after(self, named: str) -> Sequence[str]:
        """The backup that the feed names, and every one that was made after it."""
        prefix = self.location.below(FOLDER).key
        found = await self._client.list(prefix, after=named)
        return [named, *(key for key in found.keys if is_backup_key(key, prefix))]

    async def _list_newest(self) -> Sequence[str]:
        """The backups of the newest month; without the feed there is no other way to find them.

        Raises:
            SourceError: there are none.
        """
        found = await list_newest_backups(self._client)
        if not found:
            raise SourceError(
                f"{self.location.shown} has no backup below {FOLDER}",
                remedy="check the path; a backup is made when a node loads a setting",
            )
        return found

    async def _explain_missing_feed(self) -> SourceError:
        try:
            newest = max(await self._list_newest(), key=get_backup_time)
        except SourceUnreachable:
            raise
        except SourceError as error:
            return SourceError(
                f"{self.location.shown} has neither {FEED} nor a backup: {error.message}",
                remedy="give the path of the setting's `onSettingLoad.backup`, or the key of a package",
            )
        at = self.location.at(newest)
        return SourceError(
            f"{self.location.shown} has backups and no {FEED}, which M2 writes after each of them",
            remedy=f"find out who removed it; to read the newest backup, give {at.shown}",
        )

    async def _find_named(self, named: str) -> Snapshot:
        """The backup whose time, key or revision was named.

        Raises:
            SourceError: there is none, or several.
        """
        listed = await self._list_all()
        timed = [key for key in listed if len(named) >= SHORTEST and _is_named(key, named)]
        if len(timed) > 1:
            some = ", ".join(get_backup_time(key) for key in timed[:5])
            raise SourceError(
                f"{self.location.shown} has several backups for {named!r}: {some}",
                remedy="name the whole time of one of them",
            )
        if timed:
            return await self._remember(await self._read(timed[0]), timed[0])
        known = (await asyncio.to_thread(_read_known, self._known_file)).revisions
        first = [known[id_] for id_ in known if id_.startswith(named) and known[id_] in listed]
        for key in dict.fromkeys([*reversed(first), *reversed(listed[-_MOST_SEARCHED:])]):
            try:
                found = await self._read(key)
            except SourceUnreachable:
                raise
            except SourceError:
                continue
            # Also of one that is known: somebody may have written another package under its name since.
            if len(named) >= SHORTEST and found.revision.id.startswith(named):
                return await self._remember(found, key)
        raise SourceError(
            f"{self.location.shown} has no backup {named}, also not among the newest {_MOST_SEARCHED} by "
            "the digest of their files",
            remedy="name a backup by the time in its name, such as 20261130T141030000Z",
        )

    async def _read(self, key: str) -> Snapshot:
        """One package; its revision has the name of this source."""
        packing = replace(self.packing, named="")
        source = S3PackageSource(
            self.location.at(key), packing, cache=self._cache, environment=self._environment
        )
        found = await source.snapshot()
        name = f"{self.location.shown}//{self.packing.path}" if self.packing.path else self.location.shown
        return replace(found, revision=replace(found.revision, source=name))


async def list_newest_backups(client: S3Client) -> list[str]:
    """Keys of the backups of the newest month that has some, below the path of a client; empty for none.

    Raises:
        SourceError: the bucket cannot be read.
    """
    prefix = client.location.below(FOLDER).key
    looks = 0
    for year in await _list_dated_folders(client, prefix, _YEAR):
        for month in await _list_dated_folders(client, year, _MONTH):
            # Month by month: a key of somebody else, in a folder of a later month, hides no backup.
            found = [key for key in (await client.list(month)).keys if is_backup_key(key, prefix)]
            looks += 1
            if found or looks == _MOST_MONTHS:
                return found
    return []


async def _list_dated_folders(client: S3Client, above: str, form: re.Pattern[str]) -> Sequence[str]:
    """The folders of years or months, the newest first; others are somebody else's."""
    folders = (await client.list(above, folders=True)).folders
    return sorted((one for one in folders if form.fullmatch(one.removeprefix(above))), reverse=True)


def read_backup_feed(body: bytes, at: S3Location) -> str:
    """The key of the package that a feed names; empty if it names one in a form that is not known.

    Args:
        body: of `feed.json`; somebody who can write to the bucket may have chosen it.
        at: the path of the backups.

    Raises:
        SourceError: it is no message, or names a package elsewhere.
    """
    where = at.below(FEED).shown
    try:
        message: Any = json.loads(body)
        parameters = message["parameters"]
        urls = [one["url"] for one in parameters]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SourceError(
            f"{where} is not a message that M2 writes beside its backups",
            remedy="find out who wrote it; to read a backup without it, give the key of its package",
        ) from None
    try:
        found = [find_backup_key(url, at.key, at.bucket) for url in urls if isinstance(url, str)]
    except ValueError:
        raise SourceError(
            f"{where} names a package that is not below {at.shown}, and it is not read",
            remedy="give the path that the setting of the nodes has in `onSettingLoad.backup`",
        ) from None
    return max((key for key in found if key), key=get_backup_time, default="")


def _is_named(key: str, named: str) -> bool:
    """Whether a backup is meant: by its key, its name, or the begin of its time; in any case of letters."""
    name = key.rpartition("/")[2]
    return named.lower() in {key.lower(), name.lower()} or get_backup_time(key).lower().startswith(
        named.lower()
    )


def _refuse_older(key: str, newest: str, at: S3Location) -> None:
    """Refuse a backup that is older than one that was read before.

    Raises:
        SourceError: it is.
    """
    if newest and get_backup_time(key) < get_backup_time(newest):
        raise SourceError(
            f"the newest backup of {at.shown} is now {key.rpartition('/')[2]}, older than "
            f"{newest.rpartition('/')[2]}, which was read before: newer ones were removed",
            remedy="find out who removed them; to go back on purpose: `reconcile rollback "
            f"{get_backup_time(key)} {at.shown}`",
        )


def _refuse_future(key: str, at: S3Location) -> None:
    """Refuse a backup of a time to come: it would count as the newest until then.

    Raises:
        SourceError: it is.
    """
    made = parse_backup_time(key)
    if made is None or made > datetime.now(UTC) + _AHEAD:
        raise SourceError(
            f"the newest backup of {at.shown} has a time that is not yet: {key.rpartition('/')[2]}",
            remedy="set the clock of the node that wrote it, and remove this backup",
        )


def _read_known(file: Path) -> _Known:
    """What earlier looks found; nothing where the file is missing or damaged."""
    kept = http_cache.read_cached_answer(file)
    try:
        found = json.loads(kept.body) if kept else {}
        return _Known(str(found["newest"]), {str(id_): str(key) for id_, key in found["revisions"]})
    except (ValueError, KeyError, TypeError):
        return _Known()


def _write_known(file: Path, known: _Known) -> None:
    """Keep what was found.

    Raises:
        StateError: the cache cannot be written.
    """
    body = json.dumps({"newest": known.newest, "revisions": [*known.revisions.items()]})
    http_cache.write_cached_answer(file, http_cache.CachedAnswer(body.encode(), "", ""))
