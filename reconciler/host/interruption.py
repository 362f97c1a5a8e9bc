"""Giving up at once what only reads or waits, as soon as a run is asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives; None where `stop` is set before it has ended, or was set already.

    Only for work that may be broken off anywhere: it reads, or it waits. It is cancelled and has ended
    when this returns, so that its connections and child processes are gone.

    Args:
        stop: the run's wish to end.
        work: is not even begun where `stop` is set.
    """
    if stop.is_set():
        work.close()
        return None
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # looked at, so that the event loop does not complain of it
