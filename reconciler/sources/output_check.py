"""Refuses to write into the folder that is read as desired state: state, log, plan file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import UsageError


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that this process writes besides the state.

    Args:
        what: its name in messages.
        place: its path.
        is_final: whether it is written once, at the end; then a folder in a work tree may contain it, because
            its revision is a commit.
    """

    what: str
    place: Path
    is_final: bool = False


def refuse_written_inside(folder: Path, written: WrittenFile) -> None:
    """Refuse a file that this process writes into a folder that it reads.

    Each line of a log would trigger the next pass, and a plan file would change the revision of its plan.

    Raises:
        UsageError: the file is inside the folder.
    """
    _refuse_inside(folder, written.place, written.what, "choose a path outside the source")


def refuse_state_inside(folder: Path, state: Path) -> None:
    """Refuse a state folder, which may not exist yet, inside a folder that is read as desired state.

    Each write to the journal would be a new revision and trigger the next pass: an endless loop, in which no
    revision is ever known to have failed. In a work tree the state could be committed, and `git clean` would
    remove it.

    Raises:
        UsageError: it is inside, whatever paths are given.
    """
    remedy = "choose a folder outside it with --state, RECONCILE_STATE or the host configuration"
    _refuse_inside(folder, state, "the state folder", remedy)


def _refuse_inside(folder: Path, place: Path, what: str, remedy: str) -> None:
    if _is_inside(place, folder):
        raise UsageError(
            f"{what} {place} is inside the source {folder}: each write would create a new revision",
            remedy=remedy,
        )


def _is_inside(inner: Path, outer: Path) -> bool:
    """Whether a folder is another one or is below it, by device and inode: links give it many names."""
    try:
        found = outer.stat()
        real = inner.resolve()
    except (OSError, RuntimeError):  # opening them later reports why
        return False
    for step in (real, *real.parents):
        try:
            same = step.stat()
        except OSError:  # not created yet, or not readable: a folder above it decides
            continue
        if (same.st_dev, same.st_ino) == (found.st_dev, found.st_ino):
            return True
    return False
