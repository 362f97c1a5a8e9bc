"""A local source behind symbolic links, which are followed again at each look.

A deployment that makes a new folder for every release switches one link (`current`). A path that was resolved
once would stay with the first release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError, SourceError
from reconciler.ports.source import Snapshot, Source
from reconciler.sources.forwarding_source import ForwardingSource

MOST_LINKS: Final = 40
"""Links on the way to a folder; the limit of the Linux kernel."""


class LinkedSource(ForwardingSource):
    """The source behind a path with links; its revisions have the name of the path, not of the target.

    Args:
        path: absolute, with the links in it.
        source: of the folder it points to now.
        make: makes the source of a folder that it points to later.
        name: of the source, for revisions.
    """

    def __init__(self, path: Path, source: Source, make: Callable[[Path], Source], *, name: str) -> None:
        self.path = path
        self._make = make
        self._name = name
        self._real, self._source = path.resolve(), source

    async def target(self) -> Source:
        """See `located`."""
        return self.located()

    def located(self) -> Source:
        """The source that the path points to now; the same object for the same folder.

        Raises:
            SourceError: it does not point to a folder, or to one that cannot be used.
        """
        real = resolve_target(self.path)
        if real != self._real:
            if not real.is_dir():
                raise SourceError(
                    f"{self.path} points to {real}, which is not a folder",
                    remedy="check the link and the program that updates it",
                )
            try:
                self._source = self._make(real)
            except SourceError:
                raise
            except ReconcilerError as error:  # a usage error at the start, a failure of the source later
                raise SourceError(
                    f"{self.path} points to {real}: {error.message}", remedy=error.remedy
                ) from error
            # Kept as long as the target is the same: the source remembers digests and answers of that folder.
            self._real = real
        return self._source

    async def snapshot(self) -> Snapshot:
        """The files as they are now, where the path points now."""
        snapshot = await super().snapshot()
        return replace(snapshot, revision=replace(snapshot.revision, source=self._name))

    @property
    def is_dated_by_use(self) -> bool:
        """See `ports.source.Source`."""
        return self._source.is_dated_by_use


def resolve_target(path: Path) -> Path:
    """The real path behind a path.

    Raises:
        SourceError: its links form a loop, or cannot be read.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle, before Python 3.13
        why = getattr(error, "strerror", None) or "its links form a loop"
        raise SourceError(f"{path} cannot be resolved: {why}", remedy="check the link") from error


def make_absolute(path: Path) -> Path:
    """The absolute path with its links; the part before a `..` is resolved."""
    # As the kernel does: `link/..` is the folder above the target of the link, not above the link.
    parts = path.absolute().parts
    above = max((index for index, part in enumerate(parts) if part == ".."), default=-1) + 1
    return Path(*parts[:above]).resolve().joinpath(*parts[above:]) if above else Path(*parts)


def list_links(path: Path) -> tuple[Path, ...]:
    """The links on the way to the target of a path, each in the real folder that contains it."""
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
