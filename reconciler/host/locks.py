"""Locks between processes as files that the kernel releases when their holder ends, however it ends.

Why not the library filelock: where a file system has no `flock`, it makes a marker file unless told not to,
which a killed run leaves behind; here such a place is refused. And its versions before 4 empty the file that
they open, which is where a run that is refused reads who holds the cluster.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from reconciler.errors import SourceUnreachable, StateError

PAUSE = 0.05


@contextmanager
def open_lock_file(path: Path) -> Iterator[int]:
    """Open the file of a lock; with the block's end it is closed, and the lock is free.

    Args:
        path: made with its folder if it is not there, and left there: to remove it would let two processes
            hold the locks of two files of one name.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, unless somebody else holds it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_lock(descriptor: int) -> None:
    """Take the lock of an open file, however long somebody else holds it.

    Raises:
        OSError: the file system has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX)


@asynccontextmanager
async def hold_folder_lock(file: Path, *, seconds: float) -> AsyncIterator[None]:
    """Hold the lock of a folder of the cache while the block runs.

    Args:
        file: made if it is not there, and left there.
        seconds: to wait for whoever holds it.

    Raises:
        SourceUnreachable: another process holds it for longer.
        StateError: the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(open_lock_file(file))
        except OSError as error:
            raise StateError(
                f"the cache folder {file.parent} cannot be written: {error.strerror}",
                remedy="Look at its permissions and at the free space.",
            ) from error
        try:
            async with asyncio.timeout(seconds):
                while not try_lock(descriptor):  # noqa: ASYNC110  (another process gives no event)
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise SourceUnreachable(
                f"another process has been fetching the same repository for {seconds:g} seconds",
                remedy="Wait for it, or end it.",
            ) from None
        yield
