"""How much a source may hold, and what its paths and files must satisfy: pure.

The bounds are against accidents and against archives and repositories that are made to exhaust this host.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.errors import SourceError
from reconciler.text.one_line import format_size, quote_path

MIB = 1024 * 1024

LONGEST_SHOWN = 80
SMALLER = "select only the folder with the desired state, by --path or as the source"


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Bounds on one snapshot; counts and bytes.

    Args:
        files: files (for an archive, members) at most.
        folders: folders at most; empty ones count, because a git tree can hold exponentially many.
        links: symbolic links at most.
        depth: nested folders at most.
        path_chars: characters of one path, and of one link's target, at most.
        file_bytes: bytes of one file at most; a larger one is refused where it is read.
        total_bytes: bytes of all files together at most; for an archive, of its unpacked form; for a
            commit, of all files that are read.
        pack_bytes: bytes that a fetch of a git repository may bring.
        download_bytes: bytes of an archive, as stored or downloaded, at most.
        ratio: unpacked bytes for each packed byte at most. A fleet of nearly equal settings reaches
            about 120, gzip itself can reach 1032.
        ratio_floor: unpacked bytes below which the ratio does not matter.
    """

    files: int = 50_000
    folders: int = 50_000
    links: int = 5_000
    depth: int = 64
    path_chars: int = 1024
    file_bytes: int = 16 * MIB
    total_bytes: int = 512 * MIB
    pack_bytes: int = 2048 * MIB
    download_bytes: int = 128 * MIB
    ratio: int = 300
    ratio_floor: int = 16 * MIB


LIMITS = SourceLimits()


@dataclass
class ScanCounts:
    """Counts of a walk over a source; every walk counts, so that each one ends.

    Args:
        where: the source, for messages.
        limits: the bounds.
    """

    where: str
    limits: SourceLimits
    files: int = 0
    links: int = 0
    folders: int = 0

    def file(self, path: str) -> None:
        """Count one file.

        Raises:
            SourceError: there are too many, or its path is too long.
        """
        self.files += 1
        self._check(self.files, self.limits.files, "files")
        self._check_path(path)

    def link(self, path: str, target: str) -> None:
        """Count one symbolic link, which counts as a file too.

        Raises:
            SourceError: there are too many, or its path or its target is too long.
        """
        self.file(path)
        self.links += 1
        self._check(self.links, self.limits.links, "symbolic links")
        # Each link is followed part by part: long targets would multiply the work of every look-up.
        if len(target) > self.limits.path_chars or target.count("/") > self.limits.depth:
            raise SourceError(
                f"{self.where}: the target of the link {quote_path(path)} is longer than "
                f"{self.limits.path_chars} characters or {self.limits.depth} folders",
                remedy="replace the link with the file",
            )

    def folder(self, path: str) -> None:
        """Count one folder.

        Raises:
            SourceError: there are too many, it is nested too deep, or its path is too long.
        """
        self.folders += 1
        self._check(self.folders, self.limits.folders, "folders")
        self._check_path(path)

    def _check(self, count: int, most: int, what: str) -> None:
        if count > most:
            raise SourceError(f"{self.where} contains more than {most:,} {what}", remedy=SMALLER)

    def _check_path(self, path: str) -> None:
        if path.count("/") > self.limits.depth:
            raise SourceError(
                f"{self.where}: {quote_path(path[:LONGEST_SHOWN])} … is nested more than "
                f"{self.limits.depth} folders deep",
                remedy="move the files to a higher folder",
            )
        if len(path) > self.limits.path_chars:
            raise SourceError(
                f"{self.where}: the path {quote_path(path[:LONGEST_SHOWN])} … has more than "
                f"{self.limits.path_chars:,} characters",
                remedy="use shorter names",
            )


@dataclass
class ByteBudget:
    """Bytes read of one snapshot; a file that is read again counts once."""

    where: str
    limits: SourceLimits
    spent: int = 0
    paths: set[str] = field(default_factory=set)

    def spend(self, path: str, count: int) -> None:
        """Count the bytes of a file before they are read.

        Raises:
            SourceError: all files read have more than `limits.total_bytes`.
        """
        if path not in self.paths:
            self.paths.add(path)
            self.spent += count
        if self.spent > self.limits.total_bytes:
            raise SourceError(
                f"{self.where}: the files to read have more than "
                f"{format_size(self.limits.total_bytes)} in total",
                remedy="keep large files out of the desired state",
            )


def check_file_size(limits: SourceLimits, *, where: str, path: str, count: int) -> None:
    """Refuse a file that is too large to be desired state.

    Raises:
        SourceError: it has more bytes than `limits.file_bytes`.
    """
    if count > limits.file_bytes:
        raise SourceError(
            f"{where}: {quote_path(path)} has {format_size(count)}; the limit for a file is "
            f"{format_size(limits.file_bytes)}",
            remedy="keep large files out of the desired state",
        )
