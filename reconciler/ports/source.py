"""Where the files of a desired state come from, and which revision came before which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from reconciler.core.plan import Revision


class Files(Protocol):
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
    files: Files


class Source(Protocol):
    """Where desired state comes from: a folder, a git repository, a tarball."""

    async def snapshot(self) -> Snapshot:
        """The files as they are now; the revision's `id` is the same while nothing changed.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """


@runtime_checkable
class Dated(Protocol):
    """What a source also has that knows which revision came before which."""

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None where the source does not know it whole.

        Args:
            revision: the full id.

        Raises:
            SourceError: the source is not usable, or not reachable.
        """
