"""The files of the store on disk: readable by their owner alone, and still the ones that were opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.errors import StateError

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside its file while it is open; they get the mode of the file itself."""

_OTHERS = 0o077


def prepare_file(path: Path) -> None:
    """Make an empty file that nobody else may read, or take others' rights from the one that is there.

    Raises:
        StateError: it is not a regular file, or its mode cannot be set.
    """
    try:
        # Only a new file is opened here: closing any descriptor of one that SQLite has open in this
        # process would release SQLite's locks on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        give_to_owner_of(path.parent, path)
    except FileExistsError:
        _narrow(path)
    except OSError as error:
        raise StateError(
            f"the state file {path} cannot be created: {error.strerror}",
            remedy="give a writable folder on a local disk with --state",
        ) from error


def _narrow(path: Path) -> None:
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


def give_to_owner_of(folder: Path, file: Path) -> None:
    """Let the owner of a state folder use a file that root makes in it; nothing for anybody else.

    A command that root gives must not leave a file which the watch, under a user of its own, cannot open.
    """
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


class FileIdentity:
    """Tells whether the files under their names are still those that were opened.

    A file that was removed can be written to for as long as it is open, and everything in it is lost
    afterwards: a journal in it is none.

    Args:
        path: the file that is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        real = path.resolve()
        self._files = (path, *(real.with_name(f"{real.name}{end}") for end in BESIDE))
        self._known: dict[Path, tuple[int, int]] = {}
        self.check()

    def check(self) -> None:
        """Nothing, where all is as it was.

        Raises:
            StateError: a file is gone, or another one has its name.
        """
        for file in self._files:
            known = self._known.get(file)
            try:
                found = file.stat()
            except FileNotFoundError:
                if known is None and file != self._path:
                    continue
                raise _gone(file, "was removed or moved while it was in use") from None
            except OSError as error:
                raise _gone(file, f"can no longer be accessed: {error.strerror}") from error
            if known is None:
                self._known[file] = (found.st_dev, found.st_ino)
            elif known != (found.st_dev, found.st_ino):
                raise _gone(file, "was replaced by another file while it was in use")


def _gone(file: Path, what: str) -> StateError:
    return StateError(
        f"the state file {file} {what}",
        remedy="nothing is sent without a record: put the same file back in its place, or stop all that uses "
        "it and start again with what is there now",
    )
