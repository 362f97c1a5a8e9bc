"""An http(s) URL that may be a repository or a tarball: the first answer decides."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from reconciler.archive.inflate import is_archive
from reconciler.core.prior_revisions import PriorFiles
from reconciler.ports.source import Snapshot, Source, SourceOrigin
from reconciler.sources.download import TOKEN, open_answer
from reconciler.sources.git.prior_files import make_empty_history
from reconciler.sources.source_address import SourceAddress, read_token

START = 512
"""Bytes that tell whether an answer is an archive: `ustar` is at byte 257."""


class DetectedSource(Source):
    """A tarball if the URL answers with an archive, else a git repository; decided at the first use.

    Args:
        place: the URL.
        tarball: makes the source of a tarball.
        git: makes the source of a repository.
        environment: of the process, with the token.
    """

    has_history = True

    def __init__(
        self,
        place: SourceAddress,
        *,
        tarball: Callable[[], Source],
        git: Callable[[], Source],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.place = place
        self._environment = environment
        self._tarball = tarball
        self._git = git
        self._decided: Source | None = None

    async def snapshot(self) -> Snapshot:
        """The files as they are now.

        Raises:
            SourceError: it is neither, or refuses.
            SourceUnreachable: no answer.
        """
        return await (await self._decide()).snapshot()

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None for a tarball.

        Raises:
            SourceError: it is neither, or refuses.
        """
        return await (await self._decide()).ancestors(revision)

    @asynccontextmanager
    async def line(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """Commits along first parents; see `ports.source.Source`."""
        async with (await self._decide()).line(revision, most) as found:
            yield found

    async def origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """Where the files of a revision come from; see `ports.source.Source`."""
        return await (await self._decide()).origin(revision, names, folders)

    async def earlier(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """The fleet file before a revision; see `ports.source.Source`."""
        source = await self._decide()
        if source.has_history:
            return await source.earlier(revision, names, base=base, applied=applied)
        return make_empty_history(self.place.shown, base)

    @property
    def dated_by_use(self) -> bool:
        """Whether it is a tarball."""
        return self._decided is not None and self._decided.dated_by_use

    async def _decide(self) -> Source:
        if self._decided is None:
            self._decided = self._tarball() if await self._answers_archive() else self._git()
        return self._decided

    async def _answers_archive(self) -> bool:
        async with open_answer(
            self.place,
            token=read_token(self._environment, TOKEN),
            headers={},
            environment=self._environment,
        ) as response:
            if response.status_code != HTTPStatus.OK:
                return False
            start = b""
            async for piece in response.aiter_raw():
                start += piece
                if len(start) >= START:
                    break
            return is_archive(start)
