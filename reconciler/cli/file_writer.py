"""Write files that a command makes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.errors import StateError, UsageError
from reconciler.host.atomic_write import create_file, write_atomically


def write_new_file(file: Path, content: bytes) -> None:
    """Write the file of an option `--output`, which only this user can read.

    Raises:
        UsageError: there is such a file.
        StateError: it cannot be written.
    """
    try:
        create_file(file, content)
    except FileExistsError:
        raise UsageError(
            f"{file} exists; nothing was overwritten", remedy="name another file with --output"
        ) from None
    except OSError as error:
        raise StateError(
            f"cannot write {file}: {error.strerror}", remedy="name another file with --output"
        ) from error


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write generated files into a folder, which is created if missing; existing files are replaced.

    Raises:
        UsageError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror or error}", remedy="choose another folder"
        ) from error


def write_files(folder: Path, before: Mapping[str, bytes], after: Mapping[str, str]) -> None:
    """Write files, each atomically; if one cannot be written, the ones before it are restored.

    Args:
        folder: created if missing.
        before: file -> content that it must still have.
        after: file -> its new text; missing folders are created.

    Raises:
        StateError: a file changed in the meantime, or cannot be written; the folder is as before.
    """
    # All files are checked before the first is written: minutes may lie between reading and confirmation.
    for name in after:
        _check_unchanged(folder / name, before.get(name))
    done: list[str] = []
    try:
        for name, text in after.items():
            done.append(name)
            _write(folder / name, text.encode())
    except OSError as error:
        left = _restore(folder, done, before)
        remedy = (
            f"check {', '.join(left)}: the old content could not be restored"
            if left
            else "nothing was changed"
        )
        raise StateError(
            f"cannot write {folder / done[-1]}: {error.strerror or error}", remedy=remedy
        ) from error
    except BaseException:  # Ctrl-C must not leave half of the files new
        _restore(folder, done, before)
        raise


def _restore(folder: Path, names: Iterable[str], before: Mapping[str, bytes]) -> list[str]:
    """Restore files; gives those that could not be restored."""
    left = []
    for name in names:
        try:
            if name in before:
                _write(folder / name, before[name])
            else:
                (folder / name).unlink(missing_ok=True)
        except OSError:
            left.append(name)
    return left


def _check_unchanged(path: Path, before: bytes | None) -> None:
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


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    umask = os.umask(0o077)  # the only way to read it is to set it
    os.umask(umask)
    write_atomically(path, data, mode=path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
