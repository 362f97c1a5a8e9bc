"""Writes several files of a folder as one change: all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.errors import StateError
from reconciler.host.atomic_write import write_atomically


def write_files(folder: Path, before: Mapping[str, bytes], after: Mapping[str, str]) -> None:
    """Write files, each put in place as a whole; where one cannot be, those before it are put back.

    Args:
        folder: made where it is missing.
        before: file -> what it has to hold still.
        after: file -> its new text; folders on the way are made.

    Raises:
        StateError: a file changed meanwhile, or cannot be written; the folder is as it was.
    """
    for name in after:
        _unchanged(folder / name, before.get(name))
    done: list[str] = []
    try:
        for name, text in after.items():
            done.append(name)
            _put(folder / name, text.encode())
    except OSError as error:
        left = _put_back(folder, done, before)
        remedy = (
            f"check {', '.join(left)}: the old content could not be restored"
            if left
            else "nothing was changed"
        )
        raise StateError(
            f"cannot write {folder / done[-1]}: {error.strerror or error}", remedy=remedy
        ) from error
    except BaseException:
        _put_back(folder, done, before)
        raise


def _put_back(folder: Path, names: Iterable[str], before: Mapping[str, bytes]) -> list[str]:
    """Let files be as they were; gives those that cannot be."""
    left = []
    for name in names:
        try:
            if name in before:
                _put(folder / name, before[name])
            else:
                (folder / name).unlink(missing_ok=True)
        except OSError:
            left.append(name)
    return left


def _unchanged(path: Path, before: bytes | None) -> None:
    try:
        now = path.read_bytes()
    except FileNotFoundError:
        now = None
    except OSError as error:
        raise StateError(
            f"cannot read {path}: {error.strerror or error}", remedy="nothing was written"
        ) from error
    if before is None and now is not None:
        raise StateError(
            f"{path} already exists, and the fleet does not use it",
            remedy="nothing was written; move the file away, or import into another folder",
        )
    if now != before:
        raise StateError(
            f"{path} changed in the meantime", remedy="nothing was written; run the command again"
        )


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, mode=path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_mask())


def _mask() -> int:
    """What the user's umask takes from new files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
