"""Where the files of a desired state come from, and which revision came before which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import PriorFile, PriorFiles


class SourceFiles(Protocol):
    """The files of one revision."""

    def names(self) -> Iterable[str]:
        """Paths of all files, sorted, with `/` between folders."""

    def read(self, path: str) -> bytes:
        """The bytes of one file.

        Raises:
            FileNotFoundError: there is no such file in this revision.
        """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The desired state's files at one revision."""

    revision: Revision
    files: SourceFiles


@dataclass(frozen=True, slots=True)
class SourceOrigin:
    """Where a revision's files come from, for telling whose they are.

    Args:
        roots: ids of the commits with which its history began, sorted; empty without a history, or where a
            clone lacks its beginning.
        path: the folder that is read, within its repository; empty for the top.
        ref: the branch, tag or commit that was asked for; empty for none.
        others: other folders -> the fleet file that the same commit has there.
    """

    roots: tuple[str, ...] = ()
    path: str = ""
    ref: str = ""
    others: Mapping[str, PriorFile] = field(default_factory=dict)


class Source(ABC):
    """Where desired state comes from: a folder, a git repository, a tarball."""

    @abstractmethod
    async def snapshot(self) -> Snapshot:
        """The files as they are now; the revision's `id` is the same while nothing changed.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """

    @property
    def has_history(self) -> bool:
        """Whether it may know which revision came before which: what `ancestors` and `earlier` tell."""
        return False

    @property
    def dated_by_use(self) -> bool:
        """Whether nothing tells which of two revisions came first, but which of them was applied before."""
        return False

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None where the source does not know it whole.

        Args:
            revision: the full id.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        return None

    @asynccontextmanager
    async def line(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """A commit and those before it along first parents, nearest first; readable until the context ends.

        Args:
            revision: the full id, or the first digits of it that a stamp has; one that is not here gives
                none, and one that is missing ends the line.
            most: how many at most.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        yield iter(())

    async def origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """Where the files of a revision come from.

        Args:
            revision: the id that the source gave it.
            names: what a fleet file may be called.
            folders: of the repository, to look for other fleet files.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        return SourceOrigin()

    async def earlier(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """The fleet file before a revision.

        Args:
            revision: the id that the source gave it; with uncommitted changes, its commit came before.
            names: what a fleet file may be called.
            base: branch, tag or commit into which the revision is to be merged; what stood before is then
                their merge base. Empty for the revision's first parent.
            applied: ids of commits to look at besides.

        Raises:
            SourceError: `base` names nothing here, or the source is not usable.
            SourceUnreachable: the source does not answer.
        """
        return PriorFiles()
