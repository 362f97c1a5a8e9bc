"""Rings when a file below a folder changes; the poll stays as the safety net."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from reconciler.server.logs import Log

DEBOUNCE, STEP = 200, 50
"""Milliseconds over which changes are gathered, and between two looks at them."""


async def follow(folder: Path, ring: Callable[[], None], log: Log, *, stop: asyncio.Event) -> None:
    """Ring for every batch of changes below the folder until told to stop.

    Args:
        folder: a real path, without links on the way.
        ring: called within the running loop.
        log: is told where the system cannot watch the folder.
        stop: ends it.

    Where the system cannot watch the folder (it is gone, or there are too many watches), say so once
    and leave it to the poll.
    """
    from watchfiles import awatch  # noqa: PLC0415  (loads native code: only where a folder is watched)

    def counts(_change: object, path: str) -> bool:
        below = Path(path)
        return not below.is_relative_to(folder) or ".git" not in below.relative_to(folder).parts

    try:
        async for _changes in awatch(
            folder,
            watch_filter=counts,
            debounce=DEBOUNCE,
            step=STEP,
            stop_event=stop,
            ignore_permission_denied=True,
        ):
            ring()
    except (OSError, RuntimeError) as error:
        log.warning("folder not watched", words=str(error), remedy="changes are seen at the next poll")
    await stop.wait()
