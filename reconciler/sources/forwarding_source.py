"""Sources that pass every call on to another one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from reconciler.core.prior_revisions import PriorFiles
from reconciler.ports.source import Snapshot, Source, SourceOrigin


class ForwardingSource(Source):
    """Passes every call on to `target`, which may be another source at each call."""

    @property
    def has_history(self) -> bool:
        """See `ports.source.Source`."""
        return True

    @property
    def keeps_revisions(self) -> bool:
        """See `ports.source.Source`."""
        return False  # what a path or an answer leads to is git, a tarball or a folder

    @abstractmethod
    async def target(self) -> Source:
        """The source that answers now.

        Raises:
            SourceError: there is none that can be used.
        """

    async def snapshot(self) -> Snapshot:
        """See `ports.source.Source`."""
        return await (await self.target()).snapshot()

    async def is_newer(self, revision: str, other: str) -> bool | None:
        """See `ports.source.Source`."""
        return await (await self.target()).is_newer(revision, other)

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """See `ports.source.Source`."""
        return await (await self.target()).ancestors(revision)

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """See `ports.source.Source`."""
        async with (await self.target()).open_first_parents(revision, most) as found:
            yield found

    async def read_origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """See `ports.source.Source`."""
        return await (await self.target()).read_origin(revision, names, folders)

    async def read_prior_files(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """See `ports.source.Source`."""
        return await (await self.target()).read_prior_files(revision, names, base=base, applied=applied)


class WrappedSource(ForwardingSource):
    """Passes every call on to one source that stays the same; a subclass changes some of the answers.

    Args:
        source: that answers.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    async def target(self) -> Source:
        """See `ForwardingSource`."""
        return self._source

    @property
    def has_history(self) -> bool:
        """See `ports.source.Source`."""
        return self._source.has_history

    @property
    def is_dated_by_use(self) -> bool:
        """See `ports.source.Source`."""
        return self._source.is_dated_by_use

    @property
    def keeps_revisions(self) -> bool:
        """See `ports.source.Source`."""
        return self._source.keeps_revisions
