"""File locks between processes, which the kernel releases when their holder ends, even if it is killed.

Not the library filelock: on a file system without `flock` it falls back to a marker file, which a killed run
leaves behind; here such a file system is refused. Its versions before 4 also truncate the lock file, where a
refused run reads which run holds the cluster.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from reconciler.errors import SourceUnreachable, StateError

PAUSE = 0.05

_SHORT_PAUSE = 0.0005
"""Seconds between two looks at a byte, which is locked for milliseconds."""


@contextmanager
def open_lock_file(path: Path) -> Iterator[int]:
    """Open a lock file; at the end of the block it is closed and the lock released.

    Args:
        path: created with its folder if missing, and never removed.

    Raises:
        OSError: it cannot be created.
    """
    # Removing it would let two processes hold "the" lock: one on the deleted file, one on its successor.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file if it is free; gives whether it was.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def try_lock_within(descriptor: int, seconds: float) -> bool:
    """Take the lock of an open file as soon as it is free; gives whether it was within some seconds.

    Raises:
        OSError: the file system has no locks.
    """
    end = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(PAUSE)
    return True


def wait_lock(descriptor: int) -> None:
    """Take the lock of an open file; wait for it without limit.

    Raises:
        OSError: the file system has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def lock_byte(descriptor: int, byte: int, seconds: float) -> bool:
    """Wait for a byte of an open file, which other processes lock too; gives whether it is locked now.

    All descriptors of one process share these locks, and closing any of them releases all: use it for order,
    not for safety.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= end:
                return False
            time.sleep(_SHORT_PAUSE)
        except OSError:  # a file system without such locks
            return False
        else:
            return True


def unlock_byte(descriptor: int, byte: int) -> None:
    """Release a byte of an open file."""
    with suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)


@asynccontextmanager
async def hold_folder_lock(file: Path, *, seconds: float) -> AsyncIterator[None]:
    """Hold the lock of a cache folder while the block runs.

    Args:
        file: the lock file; created if missing.
        seconds: longest wait.

    Raises:
        SourceUnreachable: another process holds it for longer.
        StateError: the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(open_lock_file(file))
        except OSError as error:
            raise StateError(
                f"cannot write the cache folder {file.parent}: {error.strerror}",
                remedy="check its permissions and the free disk space",
            ) from error
        try:
            async with asyncio.timeout(seconds):
                while not try_lock(descriptor):  # noqa: ASYNC110  (there is no event from another process)
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise SourceUnreachable(
                f"another process has been fetching the same repository for {seconds:g} seconds",
                remedy="wait for that process, or stop it",
            ) from None
        yield
