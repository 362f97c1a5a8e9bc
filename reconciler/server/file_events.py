"""Notifies when files on disk change; polling finds what this misses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.errors import SourceError
from reconciler.ports.source import Source
from reconciler.server.logs import Log
from reconciler.server.supervision import is_set_within
from reconciler.sources.folder import FolderSource
from reconciler.sources.git.discovery import WorkTree
from reconciler.sources.git.source import GitSource
from reconciler.sources.linked_source import LinkedSource, list_links, resolve_target

DEBOUNCE, STEP = 200, 50
"""Milliseconds over which changes are collected, and between two checks for more."""

MOVES = frozenset({"HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "packed-refs"})
"""Files of a git directory; each new or checked out commit changes at least one of them."""


LOOK = 5_000
"""Milliseconds between checks of a link: a change above its folder causes no event."""


@dataclass(frozen=True, slots=True)
class FileEvents:
    """The changes on disk that matter.

    Args:
        places: folders, as real paths without links.
        counts: whether a change of this path matters.
        recursive: whether subfolders are included.
    """

    places: tuple[Path, ...]
    counts: Callable[[Path], bool]
    recursive: bool


def make_folder_events(folder: Path) -> FileEvents:
    """Every file below a folder, except those in `.git`."""

    def counts(path: Path) -> bool:
        return not path.is_relative_to(folder) or ".git" not in path.relative_to(folder).parts

    return FileEvents((folder,), counts, recursive=True)


def make_commit_events(work: WorkTree) -> FileEvents:
    """New or checked out commits of a work tree; saved files do not count."""
    log = work.directory / "logs"
    places = (work.directory, log) if log.is_dir() else (work.directory,)
    return FileEvents(places, lambda path: path.name in MOVES, recursive=False)


def choose_file_events(source: Source) -> FileEvents | None:
    """The changes on disk that require reading a source; None if it has none."""
    if isinstance(source, GitSource) and source.work:
        return make_commit_events(source.work)
    return make_folder_events(source.folder) if isinstance(source, FolderSource) else None


async def follow_source_files(
    source: Source, notify: Callable[[], None], log: Log, *, stop: asyncio.Event
) -> None:
    """Notify for every batch of changes of a source on disk until `stop`; see `follow_files`.

    A link is followed to its current target. When the target changes, notify and watch the new one.
    """
    while isinstance(source, LinkedSource) and not stop.is_set():
        real, events = _resolve_or_none(source.path), _find_events(source)
        switched = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            if events is not None:
                group.create_task(follow_files(events, notify, log, stop=switched))
            try:
                await _wait_for_switch(source, real, log, usable=events is not None, stop=stop)
            finally:
                # Ends `follow_files` for the old target; the task group would wait for it.
                switched.set()
        if not stop.is_set():
            notify()
    if (events := choose_file_events(source)) is not None:
        await follow_files(events, notify, log, stop=stop)


def _resolve_or_none(path: Path) -> Path | None:
    """Target of a path; None if it cannot be resolved: reading the source reports why."""
    try:
        return resolve_target(path)
    except SourceError:
        return None


def _find_events(source: LinkedSource) -> FileEvents | None:
    try:
        return choose_file_events(source.located())
    except SourceError:
        return None


async def _wait_for_switch(
    source: LinkedSource, real: Path | None, log: Log, *, usable: bool, stop: asyncio.Event
) -> None:
    """Wait until the links lead to another target than `real`, or to a usable one, or until `stop`."""

    def has_moved() -> bool:
        return _resolve_or_none(source.path) != real or (not usable and _find_events(source) is not None)

    try:
        links = frozenset({*list_links(source.path), source.path})
        folders = tuple(sorted({link.parent for link in links}))
        events = FileEvents(folders, links.__contains__, recursive=False)
        async for _changes in _watch(events, stop, rust_timeout=LOOK, yield_on_timeout=True):
            if has_moved():
                return
    except (OSError, RuntimeError, ValueError) as error:
        log.warning(
            "cannot watch link",
            message=str(error),
            remedy="the watch checks the link every few seconds instead",
        )
    while not stop.is_set() and not has_moved():
        await is_set_within(stop, LOOK / 1_000)


async def follow_files(
    events: FileEvents, notify: Callable[[], None], log: Log, *, stop: asyncio.Event
) -> None:
    """Notify for every batch of changes until `stop`.

    If the system cannot watch the folder (it was removed, or the limit of inotify watches is reached), this
    logs one warning and leaves the changes to polling.

    Args:
        events: the changes that matter.
        notify: called in the event loop.
        log: gets the warning.
        stop: ends the call.
    """
    try:
        async for _changes in _watch(events, stop):
            notify()
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a name that is not Unicode
        log.warning(
            "cannot watch folder",
            message=str(error),
            remedy="the watch sees changes at the next poll instead",
        )
    await stop.wait()


def _watch(events: FileEvents, stop: asyncio.Event, **options: Any) -> AsyncIterator[object]:
    """One item for every batch of changes, until `stop`."""
    from watchfiles import awatch  # noqa: PLC0415  (loads native code: only where a folder is watched)

    return awatch(
        *events.places,
        watch_filter=lambda _change, path: events.counts(Path(path)),
        debounce=DEBOUNCE,
        step=STEP,
        stop_event=stop,
        recursive=events.recursive,
        ignore_permission_denied=True,
        **options,
    )
