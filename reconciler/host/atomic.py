"""Puts a file in its place as a whole: whoever reads it sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def put(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file beside its place, wait until it is on disk, and move it there.

    Args:
        path: its folder has to be there; a link is followed.
        data: all of it.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    descriptor, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
