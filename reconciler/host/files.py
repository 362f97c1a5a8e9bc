"""Reads configuration and secret files safely: only regular files, with a size limit, without blocking.

Paths are resolved folder by folder with file descriptors, so that no attacker can replace a folder by a link
between the check and the use.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from reconciler.host.config_fields import NEVER

LINKS: Final = 40
"""Links on one path, as many as the kernel allows."""

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK, opening a FIFO without a writer would block without end."""


class FileRefused(Exception):
    """A file is not read; the text continues a sentence that begins with the file name."""


class FileAbsent(FileRefused):
    """There is no such file."""


class FileExposed(FileRefused):
    """Every user of this machine may read a file with a secret."""


def read_regular(path: Path, *, limit: int) -> bytes:
    """The bytes, at most `limit`, of a file that an operator names; links are followed.

    Raises:
        FileRefused: it is not a regular file, is too large, or cannot be read.
    """
    try:
        descriptor = os.open(path, _FILE)
    except (OSError, ValueError) as error:
        raise _make_refusal(error) from None
    return _read_and_close(descriptor, limit)


def read_trusted(path: Path, *, limit: int) -> tuple[bytes, Path]:
    """The bytes and the real path of a file that only root and this user may write or replace.

    Args:
        path: the file; links are followed, and every folder on the way is checked.
        limit: bytes that it may have.

    Raises:
        FileRefused: another user may write it or a folder above it; or as for `read_regular`.
    """
    descriptor, real = _open_trusted(path)
    return _read_and_close(descriptor, limit), real


def read_private(path: Path, *, limit: int) -> bytes:
    """The bytes of a file with a secret, which only root and this user may write, and not everybody read.

    Args:
        path: the file; links are followed, and every folder on the way is checked.
        limit: bytes that it may have.

    Raises:
        FileExposed: every user of this machine may read it.
        FileRefused: another user may write it or a folder above it; or as for `read_regular`.
    """
    descriptor, _ = _open_trusted(path)
    # Of the open file, which is the one that is read: another one may be at its path by now.
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & stat.S_IROTH:
        os.close(descriptor)
        raise FileExposed(f"can be read by every user of this machine (mode {mode:04o})")
    return _read_and_close(descriptor, limit)


def _open_trusted(path: Path) -> tuple[int, Path]:
    """Open a file that only root and this user may write or replace; also its real path."""
    with closing(_Walk()) as walk:
        walk.to(path.absolute())
        parent, name = walk.end()
        _check_writers(parent, walk.path, sticky=False)
        try:
            # All links are resolved already: a link here was created in the meantime, by an attacker.
            descriptor = os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            raise _make_refusal(error) from None
        real = walk.path / name
        try:
            _check_writers(descriptor, real, sticky=False)
        except FileRefused:
            os.close(descriptor)
            raise
        return descriptor, real


def read_below(folder: Path, name: str, *, limit: int) -> bytes:
    """The bytes of a file below a folder that only root and this user may write.

    Links are followed if they stay below the folder, as in a Kubernetes secret volume.

    Args:
        folder: an absolute path; links to it are followed.
        name: path of the file below it.
        limit: bytes that it may have.

    Raises:
        FileAbsent: the folder or the file does not exist.
        FileRefused: a link leads out of the folder, or another user may write it; or as for `read_regular`.
    """
    if "\0" in name or ".." in name.split("/"):
        raise FileRefused("has a name that leads out of its folder")
    with closing(_Walk()) as walk:
        walk.to(folder)
        walk.enter()
        if any(walk.path == Path(place) or Path(place) in walk.path.parents for place in NEVER):
            raise FileRefused("is in /proc, /dev or /sys")
        walk.set_floor()
        walk.to(Path(name))
        parent, last = walk.end()
        try:
            descriptor = os.open(last, _FILE | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            raise _make_refusal(error) from None
        # By device as well as by path: a bind mount can show /proc under any other name.
        if os.fstat(descriptor).st_dev in _kernel_devices():
            os.close(descriptor)
            raise FileRefused("is in /proc, /dev or /sys")
        return _read_and_close(descriptor, limit)


class _Walk:
    """A path through folders, each held open by a descriptor; its last name is not opened."""

    def __init__(self) -> None:
        self._open = [os.open("/", _FOLDER)]
        self._names: list[str] = []
        self._floor = 0
        self._pending: deque[str] = deque()
        self._last = ""
        self._links = 0

    @property
    def path(self) -> Path:
        """The real path of the current folder."""
        return Path("/", *self._names)

    def to(self, path: Path) -> None:
        """Follow a path to the folder of its last name."""
        self._pending.extend(part for part in path.parts if part != "/")
        self._last = ""
        while self._pending:
            part = self._pending.popleft()
            if part == "..":
                self._up()
                continue
            target = self._link(part)
            if target is not None:
                self._follow(target)
            elif self._pending:
                self._down(part)
            else:
                self._last = part

    def end(self) -> tuple[int, str]:
        """The current folder and the last name of the path in it."""
        if not self._last:
            raise FileRefused("is a folder")
        return self._open[-1], self._last

    def enter(self) -> None:
        """Enter the folder that the path leads to."""
        if self._last:
            self._down(self._last)
            self._last = ""

    def set_floor(self) -> None:
        """Refuse every path above the current folder from now on; check who may write in it."""
        self._floor = len(self._names)
        _check_writers(self._open[-1], self.path, sticky=False)

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def _link(self, part: str) -> str | None:
        """Target of a link; None if this is not a link."""
        try:
            info = os.stat(part, dir_fd=self._open[-1], follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode):
                return None
            target = os.readlink(part, dir_fd=self._open[-1])
        except (OSError, ValueError) as error:
            raise _make_refusal(error) from None
        # In a folder such as /tmp another user could point his link at a file that only this user may read.
        if info.st_uid not in (0, os.geteuid()):
            raise FileRefused(f"is not safe: the link {self.path / part} belongs to user {info.st_uid}")
        return target

    def _follow(self, target: str) -> None:
        self._links += 1
        if self._links > LINKS:
            raise FileRefused("is reached through too many symbolic links")
        parts = list(Path(target).parts)
        if target.startswith("/"):
            above = ["/", *self._names[: self._floor]]
            if parts[: len(above)] != above:
                raise FileRefused(
                    f"is reached through a symbolic link that leads out of its folder, to {target}"
                )
            parts = parts[len(above) :]
            while len(self._names) > self._floor:
                self._up()
        self._pending.extendleft(reversed(parts))

    def _down(self, part: str) -> None:
        try:
            descriptor = os.open(part, _FOLDER, dir_fd=self._open[-1])
        except NotADirectoryError:
            raise FileRefused(f"is reached through {self.path / part}, which is not a folder") from None
        except OSError as error:
            raise _make_refusal(error) from None
        self._open.append(descriptor)
        self._names.append(part)
        # On the way to a secret folder /tmp is acceptable, since its entries belong to root or this user;
        # inside the folder nothing that others can write is.
        _check_writers(descriptor, self.path, sticky=not self._floor)

    def _up(self) -> None:
        if len(self._names) <= self._floor:
            if self._floor:
                raise FileRefused("is reached through a symbolic link that leads out of its folder")
            return
        os.close(self._open.pop())
        self._names.pop()


def _check_writers(descriptor: int, path: Path, *, sticky: bool) -> None:
    """Refuse what a user other than root and this user may write.

    Args:
        descriptor: of the open file or folder.
        path: its real path, for the message.
        sticky: whether to accept a folder such as /tmp, in which users cannot replace files of others.
    """
    info = os.fstat(descriptor)
    if info.st_uid not in (0, os.geteuid()):
        raise FileRefused(f"is not safe: {path} belongs to user {info.st_uid}, who may change it")
    # With an access control list, the group bits are its mask: they show what any entry may allow.
    others = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not others or (sticky and info.st_mode & stat.S_ISVTX):
        return
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:  # such as a Kubernetes secret volume
        return
    raise FileRefused(
        f"is not safe: others may write {path} (mode {stat.S_IMODE(info.st_mode):04o}); run chmod go-w {path}"
    )


def _read_and_close(descriptor: int, limit: int) -> bytes:
    """Read and close an open file."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileRefused("is not a regular file")
        data = bytearray()
        # One byte more than the limit shows that the file is too large, even if it grows while it is read.
        while len(data) <= limit and (piece := os.read(descriptor, limit + 1 - len(data))):
            data += piece
    except OSError as error:
        raise _make_refusal(error) from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise FileRefused(f"has more than {limit:,} bytes")
    return bytes(data)


def _kernel_devices() -> set[int]:
    """Device numbers of /proc, /dev and /sys, if they are mounts."""
    found = set()
    for place in NEVER:
        with suppress(OSError):
            found.add(Path(place).stat().st_dev)
    return found - {Path("/").stat().st_dev}


def _make_refusal(error: OSError | ValueError) -> FileRefused:
    if isinstance(error, FileNotFoundError):
        return FileAbsent("does not exist")
    if isinstance(error, IsADirectoryError):
        return FileRefused("is a folder")
    reason = getattr(error, "strerror", None) or "its name contains a NUL byte"
    return FileRefused(f"cannot be read: {reason}")


def give_to_owner_of(folder: Path, file: Path) -> None:
    """Give a file that root creates in a state folder to the owner of the folder."""
    # A command that root runs must not leave a file that the watch, under its own user, cannot open.
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
