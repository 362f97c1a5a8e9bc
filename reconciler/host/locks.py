"""One process at a time in a folder of the cache."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from reconciler.errors import SourceUnreachable, StateError

PAUSE = 0.05


@asynccontextmanager
async def locked(file: Path, *, seconds: float) -> AsyncIterator[None]:
    """Hold the lock file while the block runs; it is free again when the process ends, however it ends.

    Args:
        file: made if it is not there, and left there.
        seconds: to wait for whoever holds it.

    Raises:
        SourceUnreachable: another process holds it for longer.
        StateError: the folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"the cache folder {file.parent} cannot be written: {error.strerror}",
            remedy="Look at its permissions and at the free space.",
        ) from error
    try:
        try:
            async with asyncio.timeout(seconds):
                while not _taken(descriptor):  # noqa: ASYNC110  (another process gives no event)
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise SourceUnreachable(
                f"another process has been fetching the same repository for {seconds:g} seconds",
                remedy="Wait for it, or end it.",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
