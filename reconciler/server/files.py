"""Rings when files on disk change; the poll stays as the safety net."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reconciler.server.logs import Log
from reconciler.sources.git.discovery import WorkTree

DEBOUNCE, STEP = 200, 50
"""Milliseconds over which changes are gathered, and between two looks at them."""

MOVES = frozenset({"HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "packed-refs"})
"""Files of a git directory of which one changes whenever another commit is checked out or made."""


@dataclass(frozen=True, slots=True)
class FileEvents:
    """Which changes count.

    Args:
        places: folders, real paths without links on the way.
        counts: whether a change of this path counts.
        recursive: whether folders below count, too.
    """

    places: tuple[Path, ...]
    counts: Callable[[Path], bool]
    recursive: bool


def files_below(folder: Path) -> FileEvents:
    """Every file below a folder, but for those that git keeps for itself."""

    def counts(path: Path) -> bool:
        return not path.is_relative_to(folder) or ".git" not in path.relative_to(folder).parts

    return FileEvents((folder,), counts, recursive=True)


def commits_of(work: WorkTree) -> FileEvents:
    """Commits made or checked out in a work tree; files that are saved do not count."""
    log = work.directory / "logs"
    places = (work.directory, log) if log.is_dir() else (work.directory,)
    return FileEvents(places, lambda path: path.name in MOVES, recursive=False)


async def follow(events: FileEvents, ring: Callable[[], None], log: Log, *, stop: asyncio.Event) -> None:
    """Ring for every batch of changes until told to stop.

    Args:
        events: which changes count.
        ring: called within the running loop.
        log: is told where the system cannot watch the folder.
        stop: ends it.

    Where the system cannot watch the folder (it is gone, or there are too many watches), say so once
    and leave it to the poll.
    """
    from watchfiles import awatch  # noqa: PLC0415  (loads native code: only where a folder is watched)

    try:
        async for _changes in awatch(
            *events.places,
            watch_filter=lambda _change, path: events.counts(Path(path)),
            debounce=DEBOUNCE,
            step=STEP,
            stop_event=stop,
            recursive=events.recursive,
            ignore_permission_denied=True,
        ):
            ring()
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a name that is no Unicode
        log.warning("folder not watched", words=str(error), remedy="changes are seen at the next poll")
    await stop.wait()
