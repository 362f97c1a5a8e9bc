"""Keeps what this program writes out of what it reads as desired state: state, log, plan file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import UsageError


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that this process writes besides the state.

    Args:
        what: it is, in words.
        place: where.
        is_final: whether it is written once, so that it is in the way of a folder alone that no commit dates.
    """

    what: str
    place: Path
    is_final: bool = False


def refuse_written_inside(folder: Path, written: WrittenFile) -> None:
    """Nothing, where a file that this process writes lies outside a folder whose files are read.

    Raises:
        UsageError: it lies inside. A log would ask for the next pass by each of its lines, and the revision
            of a plan would be gone once the plan is written.
    """
    if _is_inside(written.place, folder):
        raise UsageError(
            f"{written.what} {written.place} is inside the source {folder}: each write would create a new "
            "revision",
            remedy="choose a path outside the source",
        )


def refuse_state_inside(folder: Path, state: Path) -> None:
    """Nothing, where the state folder lies outside a folder that is read as desired state.

    Inside, each write to the journal would be a new revision, which asks for the next pass: a loop without
    end, in which no revision is ever the one that failed. In a work tree whose commits are read it could be
    committed, and `git clean` would remove it.

    Args:
        folder: what is read.
        state: the state folder, which need not exist yet.

    Raises:
        UsageError: it lies inside, however either of them is spelt.
    """
    if _is_inside(state, folder):
        raise UsageError(
            f"the state folder {state} is inside the source {folder}: each write would be a new revision",
            remedy="choose a folder outside it with --state, RECONCILE_STATE or the host configuration",
        )


def _is_inside(inner: Path, outer: Path) -> bool:
    """Whether a folder is another one or lies below it; by identity, for links give it many names."""
    try:
        found = outer.stat()
        real = inner.resolve()
    except (OSError, RuntimeError):  # whoever opens them says why they cannot be used
        return False
    for step in (real, *real.parents):
        try:
            same = step.stat()
        except OSError:  # not made yet, or closed to this user: a folder above it decides
            continue
        if (same.st_dev, same.st_ino) == (found.st_dev, found.st_ino):
            return True
    return False
