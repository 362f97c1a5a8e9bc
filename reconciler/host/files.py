"""Read files that decide or hold secrets: regular ones, bounded, without waiting, by safe ways only.

Names are looked up folder by folder from file descriptors, so that nobody can put a link in the place of
a folder between the check and the use.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from reconciler.host.config import NEVER

LINKS: Final = 40
"""Links that one name may lead over, as in the kernel."""

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK, to open a FIFO that nobody writes to would hang for ever."""


class FileRefused(Exception):
    """A file is not read; the text says why, as the rest of a sentence after its name."""


class FileAbsent(FileRefused):
    """There is no such file."""


def read_regular(path: Path, *, limit: int) -> bytes:
    """The bytes of a file that the operator names; links are followed.

    Args:
        path: the file.
        limit: bytes that it may have.

    Raises:
        FileRefused: it is not a regular file, is too large, or cannot be read.
    """
    try:
        descriptor = os.open(path, _FILE)
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    return _contents(descriptor, limit)


def read_trusted(path: Path, *, limit: int) -> tuple[bytes, Path]:
    """The bytes of a file that nobody but root and this user may write or replace, and its real path.

    Args:
        path: the file; links on the way are followed, and every folder that they lead through counts.
        limit: bytes that it may have.

    Raises:
        FileRefused: somebody else may write it or a folder above it; or as for `read_regular`.
    """
    with _walk() as walk:
        walk.to(path.absolute())
        parent, name = walk.end()
        _check_writers(parent, walk.path, sticky=False)
        try:
            descriptor = os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            raise _refused(error) from None
        real = walk.path / name
        try:
            _check_writers(descriptor, real, sticky=False)
        except FileRefused:
            os.close(descriptor)
            raise
        return _contents(descriptor, limit), real


def read_below(folder: Path, name: str, *, limit: int) -> bytes:
    """The bytes of a file below a folder that nobody but root and this user may write.

    Links are followed as far as they stay below the folder, as Kubernetes lays out a volume of secrets.

    Args:
        folder: an absolute path; links on the way to it are followed.
        name: the file's path below it.
        limit: bytes that it may have.

    Raises:
        FileAbsent: there is no such folder, or no such file in it.
        FileRefused: a link leads out of the folder, or somebody else may write it; or as for `read_regular`.
    """
    if "\0" in name or ".." in name.split("/"):
        raise FileRefused("has a name that leads out of its folder")
    with _walk() as walk:
        walk.to(folder)
        walk.enter()
        if any(walk.path == Path(place) or Path(place) in walk.path.parents for place in NEVER):
            raise FileRefused("is in /proc, /dev or /sys")
        walk.close_to_above()
        walk.to(Path(name))
        parent, last = walk.end()
        try:
            descriptor = os.open(last, _FILE | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            raise _refused(error) from None
        if os.fstat(descriptor).st_dev in _kernel_devices():
            os.close(descriptor)
            raise FileRefused("is in /proc, /dev or /sys")
        return _contents(descriptor, limit)


class _Walk:
    """A way through folders, each held open; what is at its end is not opened yet."""

    def __init__(self) -> None:
        self._open = [os.open("/", _FOLDER)]
        self._names: list[str] = []
        self._floor = 0
        self._pending: deque[str] = deque()
        self._last = ""
        self._links = 0

    @property
    def path(self) -> Path:
        """The real path of the folder that was reached."""
        return Path("/", *self._names)

    def to(self, path: Path) -> None:
        """Go along a path, up to the folder that holds its last name."""
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
        """The folder that was reached, and the name in it of what the path leads to."""
        if not self._last:
            raise FileRefused("is a folder")
        return self._open[-1], self._last

    def enter(self) -> None:
        """What the path leads to is a folder: go into it."""
        if self._last:
            self._down(self._last)
            self._last = ""

    def close_to_above(self) -> None:
        """From now on nothing leads above the folder that was reached, and nobody else may write in it."""
        self._floor = len(self._names)
        _check_writers(self._open[-1], self.path, sticky=False)

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def _link(self, part: str) -> str | None:
        """Where a link leads; None for anything else."""
        try:
            info = os.stat(part, dir_fd=self._open[-1], follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode):
                return None
            target = os.readlink(part, dir_fd=self._open[-1])
        except (OSError, ValueError) as error:
            raise _refused(error) from None
        if info.st_uid not in (0, os.geteuid()):  # in a folder such as /tmp
            raise FileRefused(f"is not safe: the link {self.path / part} belongs to the user {info.st_uid}")
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
            raise _refused(error) from None
        self._open.append(descriptor)
        self._names.append(part)
        _check_writers(descriptor, self.path, sticky=not self._floor)

    def _up(self) -> None:
        if len(self._names) <= self._floor:
            if self._floor:
                raise FileRefused("is reached through a symbolic link that leads out of its folder")
            return
        os.close(self._open.pop())
        self._names.pop()


@contextmanager
def _walk() -> Iterator[_Walk]:
    walk = _Walk()
    try:
        yield walk
    finally:
        walk.close()


def _check_writers(descriptor: int, path: Path, *, sticky: bool) -> None:
    """Refuse what somebody other than root and this user may write.

    The group's bits also stand for the entries of an access control list. In a folder such as /tmp, whose
    sticky bit keeps people from each other's files, only what belongs to root or this user is passed.

    Args:
        descriptor: of the file or folder, opened.
        path: its real path, for the message.
        sticky: whether such a folder passes.
    """
    info = os.fstat(descriptor)
    if info.st_uid not in (0, os.geteuid()):
        raise FileRefused(f"is not safe: {path} belongs to the user {info.st_uid}, who may change it")
    others = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not others or (sticky and info.st_mode & stat.S_ISVTX):
        return
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:  # such as a volume of secrets in Kubernetes
        return
    raise FileRefused(
        f"is not safe: others may write {path} (mode {stat.S_IMODE(info.st_mode):04o}); run chmod go-w {path}"
    )


def _contents(descriptor: int, limit: int) -> bytes:
    """The bytes of an open file, which is closed."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileRefused("is not a regular file")
        data = bytearray()
        while len(data) <= limit and (piece := os.read(descriptor, limit + 1 - len(data))):
            data += piece
    except OSError as error:
        raise _refused(error) from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise FileRefused(f"has more than {limit:,} bytes")
    return bytes(data)


def _kernel_devices() -> set[int]:
    """Numbers of the file systems mounted at /proc, /dev and /sys, where they are mounts of their own."""
    found = set()
    for place in NEVER:
        with suppress(OSError):
            found.add(Path(place).stat().st_dev)
    return found - {Path("/").stat().st_dev}


def _refused(error: OSError | ValueError) -> FileRefused:
    if isinstance(error, FileNotFoundError):
        return FileAbsent("does not exist")
    if isinstance(error, IsADirectoryError):
        return FileRefused("is a folder")
    return FileRefused(f"cannot be read: {getattr(error, 'strerror', None) or 'its name holds a NUL'}")
