"""The files of the store on disk: readable only by their owner, and checked to be those that were opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.errors import StateError
from reconciler.host.files import give_to_owner_of

BESIDE = ("-wal", "-shm")
"""Endings of the files that SQLite keeps next to an open file, with the same mode."""

_OTHERS = 0o077


def prepare_file(path: Path) -> None:
    """Create an empty file for its owner only, or restrict an existing one to its owner.

    Raises:
        StateError: it is not a regular file, or its mode cannot be set.
    """
    try:
        # O_EXCL, so that only a new file is opened: closing any descriptor of a file that SQLite has open in
        # this process releases the POSIX locks of SQLite.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        give_to_owner_of(path.parent, path)
    except FileExistsError:
        _restrict_mode(path)
    except OSError as error:
        raise StateError(
            f"the state file {path} cannot be created: {error.strerror}",
            remedy="give a writable folder on a local disk with --state",
        ) from error


def _restrict_mode(path: Path) -> None:
    for file in (path, *(path.with_name(f"{path.name}{end}") for end in BESIDE)):
        try:
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                raise StateError(
                    f"the state file {file} is not a regular file",
                    remedy="move it away, or give another folder with --state",
                )
            if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
                file.chmod(found.st_mode & ~_OTHERS)
        except FileNotFoundError:
            if file == path:
                remedy = "restore the target of the link, or remove the link"
                raise StateError(f"the state file {path} is a broken link", remedy=remedy) from None
        except OSError as error:
            raise StateError(f"the state file {file} cannot be used: {error.strerror}") from error


class FileIdentity:
    """Checks that the files are still those that were opened.

    A removed file can be written as long as it is open, and then everything in it is lost: a journal would
    record nothing.

    Args:
        path: the open file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite follows a link and puts its -wal next to the target, so these are checked there.
        real = path.resolve()
        self._files = (path, *(real.with_name(f"{real.name}{end}") for end in BESIDE))
        self._known: dict[Path, tuple[int, int]] = {}
        self.check()

    def check(self) -> None:
        """Compare all files.

        Raises:
            StateError: a file is gone or was replaced.
        """
        for file in self._files:
            known = self._known.get(file)
            try:
                found = file.stat()
            except FileNotFoundError:
                if known is None and file != self._path:
                    continue
                raise _make_lost_error(file, "was removed or moved while it was in use") from None
            except OSError as error:
                raise _make_lost_error(file, f"can no longer be accessed: {error.strerror}") from error
            if known is None:
                self._known[file] = (found.st_dev, found.st_ino)
            elif known != (found.st_dev, found.st_ino):
                raise _make_lost_error(file, "was replaced by another file while it was in use")


def _make_lost_error(file: Path, what: str) -> StateError:
    return StateError(
        f"the state file {file} {what}",
        remedy="nothing is sent without a record: put the same file back in its place, or stop all that uses "
        "it and start again with what is there now",
    )
