"""Writes files atomically: a reader sees the old or the new content, never a part."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file atomically.

    Args:
        path: in an existing folder; a link is followed.
        data: the new content.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; the old content remains.
    """
    with replace_atomically(path, mode=mode) as beside:
        beside.write_bytes(data)


@contextmanager
def replace_atomically(path: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """A new empty file for the block to fill; it replaces `path` at the end of the block.

    Args:
        path: in an existing folder; a link is followed.
        mode: permissions of the final file; until then only this user may read it.

    Raises:
        OSError: it cannot be created or moved. If the block raises, the old content remains.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    os.close(descriptor)
    beside = Path(name)
    try:
        yield beside
        # On disk before the rename: after a power failure some file systems would show an empty file.
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.chmod(mode)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def create_file(path: Path, data: bytes) -> None:
    """Write a new file that only this user may read; a link, a device or an existing file is refused.

    Raises:
        FileExistsError: there is something with this name.
        OSError: it cannot be written; nothing remains.
    """
    # Exclusive: nobody else can have opened it before, or have put a link to another place there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
