"""A local source that is reached through links: each look goes where they lead then.

A deploy that makes a new folder for every release switches one link (`current`); who follows a path that
was resolved once stays with the first release for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.core.prior_revisions import PriorFiles
from reconciler.errors import ReconcilerError, SourceError
from reconciler.ports.source import Snapshot, Source

MOST_LINKS: Final = 40
"""Links on the way to a folder, as the kernel has it."""


class LinkedSource(Source):
    """The source behind a path with links; its revisions bear the path's own name, not the target's.

    Args:
        path: absolute, with the links in it.
        source: what it leads to now.
        make: the source for the folder that it leads to later on.
        name: how revisions name where they come from.
    """

    has_history = True

    def __init__(self, path: Path, source: Source, make: Callable[[Path], Source], *, name: str) -> None:
        self.path = path
        self._make = make
        self._name = name
        self._real, self._source = path.resolve(), source

    def located(self) -> Source:
        """The source that the path leads to now; the same object while that is the same folder.

        Raises:
            SourceError: it leads to no folder, or to one that is not used.
        """
        real = resolve_target(self.path)
        if real != self._real:
            if not real.is_dir():
                raise SourceError(
                    f"{self.path} points to {real}, which is not a folder",
                    remedy="Check the link and the program that updates it.",
                )
            try:
                self._source = self._make(real)
            except SourceError:
                raise
            except ReconcilerError as error:  # what was refused as an argument is refused as a source
                raise SourceError(
                    f"{self.path} points to {real}: {error.message}", remedy=error.remedy
                ) from error
            self._real = real
        return self._source

    async def snapshot(self) -> Snapshot:
        """The files as they are now, where the path leads now.

        Raises:
            SourceError: it leads to no folder, or to one that cannot be read.
            SourceUnreachable: the folder was being changed all the while.
            Untrusted: a signature is asked for, and there is none that counts for these files.
        """
        snapshot = await self.located().snapshot()
        return replace(snapshot, revision=replace(snapshot.revision, source=self._name))

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None where that is not known here."""
        return await self.located().ancestors(revision)

    @asynccontextmanager
    async def line(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """Commits along first parents; see `ports.source.Source`."""
        async with self.located().line(revision, most) as found:
            yield found

    async def earlier(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """The fleet file before a revision; see `ports.source.Source`."""
        return await self.located().earlier(revision, names, base=base, applied=applied)


def resolve_target(path: Path) -> Path:
    """The real path that a path leads to.

    Raises:
        SourceError: its links form a loop, or cannot be read.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle, before Python 3.13
        why = getattr(error, "strerror", None) or "its links form a loop"
        raise SourceError(f"{path} cannot be resolved: {why}", remedy="Check the link.") from error


def make_absolute(path: Path) -> Path:
    """The absolute path with the links that are in it; what stands before a `..` is resolved."""
    parts = path.absolute().parts
    above = max((index for index, part in enumerate(parts) if part == ".."), default=-1) + 1
    return Path(*parts[:above]).resolve().joinpath(*parts[above:]) if above else Path(*parts)


def list_links(path: Path) -> tuple[Path, ...]:
    """The links that are followed on the way to where a path leads, each in the real folder that holds it."""
    found: list[Path] = []
    todo, here = list(reversed(path.parts[1:])), Path(path.anchor)
    while todo and len(found) < MOST_LINKS:
        part = todo.pop()
        if part == "..":
            here = here.parent
            continue
        step = here / part
        if not step.is_symlink():
            here = step
            continue
        found.append(step)
        target = step.readlink()
        if target.is_absolute():
            here = Path(target.anchor)
        todo.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
    return tuple(dict.fromkeys(found))
