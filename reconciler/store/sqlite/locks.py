"""The locks of a state folder: one for short work such as creating tables, and one for each cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path

from reconciler.errors import ClusterBusy, StateError
from reconciler.host.files import give_to_owner_of
from reconciler.host.locks import open_lock_file, try_lock, try_lock_within, wait_lock

LOCKS = "locks"
"""Folder of the locks of clusters in the state folder."""

_LONGEST = 200
"""Characters of the name of a cluster in the name of its lock file, which may have 255 bytes."""


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Wait for the lock on a file and hold it: for short work such as creating tables.

    Raises:
        StateError: the file cannot be created or locked.
    """
    with _open_lock(path) as number:
        try:
            wait_lock(number)
        except OSError as error:
            raise _make_error(path, error) from error
        yield


@contextmanager
def hold_cluster_lock(folder: Path, fleet: int, cluster: str) -> Iterator[None]:
    """Hold the lock of one cluster of a fleet, or fail at once.

    Raises:
        ClusterBusy: another run holds it, in this process or another one.
        StateError: the lock file cannot be created or locked.
    """
    with _hold(folder / _name_lock_file(fleet, cluster), f"cluster {cluster} is being changed by"):
        yield


@contextmanager
def hold_operations_lock(folder: Path, fleet: int, cluster: str) -> Iterator[None]:
    """Hold the lock of a cluster's operations, or fail at once; errors as in `hold_cluster_lock`."""
    name = _name_lock_file(fleet, cluster).removesuffix(".lock")  # no cluster's name has a "+"
    with _hold(folder / f"{name}+operations.lock", f"operations of cluster {cluster} are performed by"):
        yield


@contextmanager
def hold_statuses_lock(folder: Path, place: str) -> Iterator[None]:
    """Hold the lock of those who write commit statuses to a place; errors as in `hold_cluster_lock`."""
    path = folder / f"+{sha256(place.encode()).hexdigest()[:16]}+statuses.lock"
    with _hold(path, "commit statuses are written by"):
        yield


@asynccontextmanager
async def wait_for_questions_lock(
    folder: Path, fleet: int, cluster: str, seconds: float
) -> AsyncIterator[None]:
    """Wait for the lock of questions about the nodes of a cluster, and hold it.

    Raises:
        ClusterBusy: it was not free in time.
        StateError: the lock file cannot be created or locked.
    """
    name = _name_lock_file(fleet, cluster).removesuffix(".lock")
    path = folder / f"{name}+questions.lock"
    with _open_lock(path) as number:
        try:
            is_free = await try_lock_within(number, seconds)
        except OSError as error:
            raise _make_error(path, error) from error
        if not is_free:
            raise ClusterBusy(
                f"another question about cluster {cluster} is being answered",
                remedy="ask again; its lock is released even if the process that answers is killed",
            )
        yield


@contextmanager
def _hold(path: Path, subject: str) -> Iterator[None]:
    with _open_lock(path) as number:
        try:
            is_free = try_lock(number)
        except OSError as error:
            raise _make_error(path, error) from error
        # The file is never removed: a process that waits for a removed file would get a lock that nobody else
        # sees.
        if not is_free:
            holder = os.pread(number, 20, 0).decode(errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise ClusterBusy(
                f"{subject} {who}", remedy="wait until it ends; its lock is released even if it is killed"
            )
        # For the message above only: the kernel holds the lock, so a stale number locks nobody out.
        os.truncate(number, 0)
        os.pwrite(number, str(os.getpid()).encode(), 0)
        yield


@contextmanager
def _open_lock(path: Path) -> Iterator[int]:
    with ExitStack() as stack:
        try:
            number = stack.enter_context(open_lock_file(path))
            state = path.parent.parent if path.parent.name == LOCKS else path.parent
            for made in {path.parent, path} - {state}:
                give_to_owner_of(state, made)
        except OSError as error:
            raise _make_error(path, error) from error
        yield number


def _make_error(path: Path, error: OSError) -> StateError:
    return StateError(
        f"the state folder cannot be used: {path}: {error.strerror}",
        remedy="give a writable folder on a local disk with --state",
    )


def _name_lock_file(fleet: int, cluster: str) -> str:
    owner = f"{fleet}+" if fleet else ""  # no cluster's name has a "+"
    if len(cluster) <= _LONGEST:
        return f"{owner}{cluster}.lock"
    return f"{owner}{cluster[:_LONGEST]}-{sha256(cluster.encode()).hexdigest()[:16]}.lock"
