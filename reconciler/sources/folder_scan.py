"""The files in a folder on disk, each with the mark that shows a later change."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources.content_limits import SMALLER, ByteBudget, ScanCounts, SourceLimits, check_file_size
from reconciler.sources.layout import Layout, LayoutFiles
from reconciler.text.one_line import decode_name, format_size

PASSED_OVER = (
    ".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__", ".idea", ".vscode", ".DS_Store", "._*",
    ".*.sw?", ".#*", "#*#", "*~", "4913",
)  # fmt: skip
"""Names that are never desired state: of version control, environments, editors and desktops."""

SKIPPED = re.compile("|".join(fnmatch.translate(pattern) for pattern in PASSED_OVER))
SETTLED = 2_000_000_000
"""Nanoseconds after which a change shows in the time stamps: FAT counts in steps of two seconds."""

Mark: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a folder.

    Args:
        path: on disk.
        mark: differs after the file was changed or replaced.
        bytes: its size.
        settled: whether the last change is old enough for the mark to be reliable.
    """

    path: str
    mark: Mark
    bytes: int
    settled: bool = field(compare=False)


def scan_folder(
    folder: Path, *, ignored: Collection[str], kept: Collection[str] = (), limits: SourceLimits
) -> Layout:
    """All files and links of a folder, without `PASSED_OVER` and `ignored`; links are not followed.

    Args:
        folder: to scan.
        ignored: paths below it to leave out; folders end with `/`.
        kept: ignored files to include all the same, because they are committed.
        limits: all but the sizes apply.

    Raises:
        SourceError: it cannot be read, has too many files, or is nested too deep.
    """
    # An ignored folder is entered only on the way to a file that is committed in it.
    entered = set(kept)
    for path in kept:
        while (path := path.rpartition("/")[0]) and path not in entered:
            entered.add(path)
    walk = _Walk(frozenset(path.rstrip("/") for path in ignored), entered, ScanCounts(str(folder), limits))
    todo = [(str(folder), "", "./" in ignored)]
    while todo:
        place, prefix, hidden = todo.pop()
        try:
            with os.scandir(place) as entries:
                todo.extend(walk.add(entries, prefix, hidden=hidden))
        except OSError as error:
            raise SourceError(
                f"{error.filename or place} cannot be read: {error.strerror}",
                remedy="check its permissions, or choose another folder",
            ) from error
    return Layout(str(folder), walk.files, walk.links, walk.closed, most=limits.files)


@dataclass
class _Walk:
    ignored: Collection[str]
    kept: Collection[str]
    counts: ScanCounts
    files: dict[str, FoundFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    now: int = field(default_factory=time.time_ns)

    def add(
        self, entries: Iterator[os.DirEntry[str]], prefix: str, *, hidden: bool
    ) -> Iterator[tuple[str, str, bool]]:
        """Sort the entries of a folder; gives its folders: place, prefix, whether ignored."""
        for entry in entries:
            path = prefix + decode_name(os.fsencode(entry.name))
            if SKIPPED.fullmatch(entry.name):
                continue
            is_ignored = hidden or path in self.ignored
            if is_ignored and path not in self.kept:
                # Not just left out: whoever reads it anyway gets the reason.
                self.closed[path] = "git ignores it (.gitignore)"
            elif entry.is_symlink():
                target = decode_name(os.fsencode(Path(entry.path).readlink()))
                self.counts.link(path, target)
                self.links[path] = target
            elif entry.is_dir(follow_symlinks=False):
                self.counts.folder(path)
                yield entry.path, f"{path}/", is_ignored
            else:
                self.counts.file(path)
                self._file(path, entry)

    def _file(self, path: str, entry: os.DirEntry[str]) -> None:
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            self.closed[path] = "this is not a regular file"
            return
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < self.now - SETTLED
        self.files[path] = FoundFile(entry.path, make_mark(status), status.st_size, settled)


def is_passed_over(path: str) -> bool:
    """Whether a part of a path has a name of `PASSED_OVER`."""
    return any(SKIPPED.fullmatch(part) for part in path.split("/"))


def make_mark(status: os.stat_result) -> Mark:
    """The mark of a file: device, inode, size in bytes, times of change in nanoseconds."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_found_file(found: FoundFile) -> bytes:
    """The bytes of a file that did not change since the scan.

    Raises:
        SourceUnreachable: it was changed or removed.
        SourceError: it cannot be read.
    """
    try:
        # O_NONBLOCK: a pipe may have replaced the file since the scan, and opening one would block.
        # The mark is compared before and after reading: a writer may come in between.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(found.path, flags), "rb") as file:
            same = make_mark(os.fstat(file.fileno())) == found.mark
            data = file.read(found.bytes + 1) if same else b""
            same = same and make_mark(os.fstat(file.fileno())) == found.mark and len(data) == found.bytes
    except FileNotFoundError:
        same = False
    except OSError as error:
        raise SourceError(
            f"{found.path} cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    if not same:
        raise SourceUnreachable(
            f"{found.path} was changed while the folder was being read", remedy="try again"
        )
    return data


def hash_sha256(data: bytes) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class DigestCache:
    """Digests of a folder's files, kept from one scan to the next for files that did not change.

    Args:
        limits: `file_bytes` and `total_bytes` apply.
        hash_data: contents -> digest.
        known: path -> mark and digest at the last scan.
    """

    limits: SourceLimits
    hash_data: Callable[[bytes], str] = hash_sha256
    known: dict[str, tuple[Mark, str]] = field(default_factory=dict)

    def update(self, layout: Layout) -> dict[str, str]:
        """Path -> digest; without files beyond `limits.file_bytes`, which nobody can read.

        Raises:
            SourceError: the files are more than `limits.total_bytes`, or one cannot be read.
            SourceUnreachable: one was changed meanwhile.
        """
        files: Mapping[str, FoundFile] = layout.files
        readable = {path: found for path, found in files.items() if found.bytes <= self.limits.file_bytes}
        if (total := sum(found.bytes for found in readable.values())) > self.limits.total_bytes:
            raise SourceError(
                f"{layout.where} contains {format_size(total)} of files; the limit is "
                f"{format_size(self.limits.total_bytes)}",
                remedy=SMALLER,
            )
        digests: dict[str, tuple[Mark, str]] = {}
        for path, found in sorted(readable.items()):
            mark, digest = self.known.get(path, ((), ""))
            # A write within the same clock tick leaves size and times as they are, so that the mark of a file
            # that was changed a moment ago proves nothing: such a file is read again.
            if not found.settled or mark != found.mark:
                digest = self.hash_data(read_found_file(found))
            digests[path] = (found.mark, digest)
        self.known = digests
        return {path: digest for path, (_, digest) in digests.items()}


def hash_folder(layout: Layout, digests: Mapping[str, str]) -> str:
    """SHA-256 over all paths, contents and links of a folder, in hexadecimal.

    Args:
        layout: what is in the folder.
        digests: of `DigestCache.update`; a file without one counts by its size.
    """
    whole = hashlib.sha256()
    for path, found in sorted(layout.files.items()):
        content = bytes.fromhex(digests.get(path, "")) or hashlib.sha256(b"%d bytes" % found.bytes).digest()
        whole.update(b"file\0%s\0%s" % (path.encode(), content))
    for path, target in sorted(layout.links.items()):
        whole.update(b"link\0%s\0%s\0" % (path.encode(), target.encode()))
    return whole.hexdigest()


@dataclass(frozen=True)
class FolderFiles(LayoutFiles):
    """The files of a folder as a scan found them."""

    limits: SourceLimits
    budget: ByteBudget

    def _load(self, full: str, path: str) -> bytes:
        found: FoundFile = self.layout.files[full]
        check_file_size(self.limits, where=self.layout.where, path=path, count=found.bytes)
        self.budget.spend(full, found.bytes)
        return read_found_file(found)
