"""Puts a file in its place as a whole: whoever reads it sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file beside its place, wait until it is on disk, and move it there.

    Args:
        path: its folder has to be there; a link is followed.
        data: all of it.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    with replace_atomically(path, mode=mode) as beside:
        beside.write_bytes(data)


@contextmanager
def replace_atomically(path: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """An empty file beside a place for the block to fill; it is moved there once it is on disk.

    Args:
        path: its folder has to be there; a link is followed.
        mode: its permissions, once it is in its place; before, only this user may read it.

    Raises:
        OSError: it cannot be made or moved. Where the block raises, what was there is there still.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    os.close(descriptor)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.chmod(mode)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
