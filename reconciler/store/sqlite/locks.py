"""Locks between processes as files that the kernel releases when their holder ends, however it ends.

Why not the library filelock: where a file system has no `flock`, it makes a marker file unless told not to,
which a killed run leaves behind; here such a place is refused. And its versions before 4 empty the file that
they open, which is where a run that is refused reads who holds the cluster.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from reconciler.errors import ClusterBusy, StateError

_LONGEST = 200
"""Characters of a cluster's name that its lock file keeps: file names end at 255 bytes."""


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold the lock on a file, waiting for it: for moments such as making the tables.

    Raises:
        StateError: the file cannot be made or locked.
    """
    with _opened(path) as number:
        _locked(path, number, fcntl.LOCK_EX)
        yield


@contextmanager
def holding(folder: Path, cluster: str) -> Iterator[None]:
    """Hold one cluster's lock, or fail at once.

    Raises:
        ClusterBusy: another run holds it, in this process or another one.
        StateError: the lock file cannot be made or locked.
    """
    path = folder / _name(cluster)
    with _opened(path) as number:
        try:
            _locked(path, number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(cluster, number) from None
        os.truncate(number, 0)
        os.pwrite(number, str(os.getpid()).encode(), 0)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield number
    finally:
        os.close(number)


def _locked(path: Path, number: int, how: int) -> None:
    try:
        fcntl.flock(number, how)
    except BlockingIOError:
        raise
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"the state folder cannot be used: {path}: {error.strerror}",
        remedy="name a writable folder on a local disk with --state",
    )


def _busy(cluster: str, number: int) -> ClusterBusy:
    holder = os.pread(number, 20, 0).decode(errors="replace").strip()
    who = f"process {holder}" if holder else "another process"
    return ClusterBusy(
        f"cluster {cluster} is being changed by {who}",
        remedy="wait for its end; its lock is released even if it is killed",
    )


def _name(cluster: str) -> str:
    if len(cluster) <= _LONGEST:
        return f"{cluster}.lock"
    return f"{cluster[:_LONGEST]}-{sha256(cluster.encode()).hexdigest()[:16]}.lock"
