"""What a file's bytes must satisfy whichever source they come from: pure."""

from __future__ import annotations

from reconciler.errors import SourceError
from reconciler.sources.limits import Limits, size
from reconciler.sources.text import shown

POINTER = b"version https://git-lfs.github.com/spec/"


def within(limits: Limits, *, where: str, path: str, count: int) -> None:
    """Refuse a file that is too large to be desired state.

    Raises:
        SourceError: it has more bytes than `limits.file_bytes`.
    """
    if count > limits.file_bytes:
        raise SourceError(
            f"{where}: {shown(path)} has {size(count)}, more than the {size(limits.file_bytes)} "
            "that a file of desired state may have",
            remedy="Keep large files out of the desired state.",
        )


def whole(data: bytes, *, where: str, path: str) -> bytes:
    """The same bytes, unless they only stand for contents that Git LFS keeps elsewhere.

    Raises:
        SourceError: the file is a Git LFS pointer.
    """
    if data.startswith(POINTER):
        raise SourceError(
            f"{where}: {shown(path)} is a Git LFS pointer, its contents are kept elsewhere",
            remedy="Store it as an ordinary file (git lfs untrack, then commit), or, in a folder, "
            "run `git lfs pull`.",
        )
    return data
