"""The port of sources: files of the desired state, and the order of revisions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import PriorFile, PriorFiles
from reconciler.ports.inventory import NO_INVENTORY, Inventory

FLEET_FILES: Final[tuple[str, ...]] = ("fleet.yaml", "fleet.yml", "fleet.json")
"""Names of a fleet file, at the top of the folder that is read."""


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
    """The desired state's files at one revision.

    Args:
        above: the nearest fleet file in a folder above that of the files, as `../fleet.yaml`; empty for none.
        inventory: what is known of the instances that the files ask for.
        is_package: whether a node made it: all files beside a lone settings file belong to that.
    """

    revision: Revision
    files: SourceFiles
    above: str = ""
    inventory: Inventory = NO_INVENTORY
    is_package: bool = False


@dataclass(frozen=True, slots=True)
class SourceOrigin:
    """Origin of a revision's files, to identify the fleet.

    Args:
        roots: ids of the root commits of its history, sorted; empty without a history or for a shallow clone.
        path: folder within the repository; empty for the top.
        ref: requested branch, tag or commit; empty for none.
        others: other folders -> their fleet file in the same commit.
    """

    roots: tuple[str, ...] = ()
    path: str = ""
    ref: str = ""
    others: Mapping[str, PriorFile] = field(default_factory=dict)


class Source(ABC):
    """Where desired state comes from: a folder, a git repository, a tarball."""

    @abstractmethod
    async def snapshot(self) -> Snapshot:
        """The current files; the revision's `id` stays the same while nothing changes.

        Raises:
            SourceError: the source is not usable, or not reachable.
            UntrustedRevision: it has no signature that this host accepts.
            StateError: the cache cannot be used.
        """

    @property
    def has_history(self) -> bool:
        """Whether it may know the order of revisions, for `ancestors` and `read_prior_files`."""
        return False

    @property
    def is_dated_by_use(self) -> bool:
        """Whether only earlier runs tell which of two revisions is older."""
        return False

    @property
    def keeps_revisions(self) -> bool:
        """Whether it gives earlier revisions that are no commits, and knows which of them is newer."""
        return False

    async def is_newer(self, revision: str, other: str) -> bool | None:
        """Whether a revision that is no commit is newer than another; None if that is not known.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        return None

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """Ids of a commit and all its ancestors; None if the history is incomplete.

        Args:
            revision: the full id.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        return None

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """A commit and its first-parent ancestors, nearest first; readable until the context ends.

        Args:
            revision: the full id or its stamp; an unknown one gives nothing, and a missing parent ends the
                line.
            most: largest number of commits.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        yield iter(())

    async def read_origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """The origin of the files of a revision.

        Args:
            revision: its id in this source.
            names: possible names of a fleet file.
            folders: of the repository, in which to look for other fleet files.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
        return SourceOrigin()

    async def read_prior_files(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """The fleet file before a revision.

        Args:
            revision: its id in this source; before uncommitted changes is their commit.
            names: possible names of a fleet file.
            base: branch, tag or commit into which the revision is to be merged; the fleet file is then that
                of their merge base. Empty for the revision's first parent.
            applied: ids of further commits to read.

        Raises:
            SourceError: `base` does not exist, or the source is not usable.
            SourceUnreachable: the source does not answer.
        """
        return PriorFiles()
