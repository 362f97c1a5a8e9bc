"""The paths of a revision and the targets of its symbolic links, never outside it: pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from reconciler.errors import SourceError
from reconciler.sources.content_limits import LIMITS
from reconciler.text.one_line import quote_path

POINTER = b"version https://git-lfs.github.com/spec/"
HOPS = 40
"""Links followed for one path; the limit of Linux."""
STEPS = 1000
"""Parts of paths followed for one path: forty links of a thousand folders each would take long."""


def clean_path(path: str) -> str | None:
    """A relative path without `.` and doubled slashes; None where it is absolute or has a `..`."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return None if path.startswith("/") or ".." in parts else "/".join(parts)


@dataclass(frozen=True)
class Layout:
    """The files and links of one revision, by path from its root, and the folder that is read.

    Links are followed inside the root only; they may leave `base`. A link to a folder is listed with the
    files below it. A folder that takes two such links to reach can be read and is not listed.

    Args:
        where: the source, for messages.
        files: path -> what its owner needs to read it.
        links: path -> target of the link, as written.
        closed: path -> why it cannot be read, nor anything below it (a submodule …).
        base: the folder to which the paths of `names` and `find` are relative; empty for the root.
        most: paths of `names` at most.
    """

    where: str
    files: Mapping[str, Any]
    links: Mapping[str, str] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    most: int = LIMITS.files

    def names(self) -> tuple[str, ...]:
        """All paths below `base`, sorted, relative to it.

        Raises:
            SourceError: with those behind links they are more than `most`.
        """
        return self._names

    @cached_property
    def _names(self) -> tuple[str, ...]:
        start = f"{self.base}/" if self.base else ""
        found = {path[len(start) :] for path in self.files if path.startswith(start)}
        looked_at = 0
        for link in sorted(path for path in self.links if path.startswith(start)):
            for path in self._list_through(link):
                looked_at += 1
                if path is not None:
                    found.add(path[len(start) :])
                # Paths without a result count too: a link to a folder of broken links takes time for nothing.
                if max(looked_at, len(found)) > self.most:
                    raise SourceError(
                        f"{self.where}: its links lead to more than {self.most:,} files",
                        remedy=f"check the link {quote_path(link)}",
                    )
        return tuple(sorted(found))

    def _list_through(self, link: str) -> Iterator[str | None]:
        """The paths that a link adds; None for each one that adds nothing."""
        try:
            end = self._follow(link)
        except SourceError:
            yield link  # listed: reading it reports what is wrong
            return
        if end in self.files or end not in self._folders:
            yield link
            return
        below = f"{end}/" if end else ""
        first, last = (bisect_left(self._paths, edge) for edge in (below, f"{below}{chr(0x10FFFF)}"))
        for path in self._paths[first:last]:
            leads = path in self.files or self._leads_to_file(path)
            yield f"{link}/{path[len(below) :]}" if leads else None

    def _leads_to_file(self, link: str) -> bool:
        if link not in self._ends:
            try:
                self._ends[link] = self._follow(link) in self.files
            except SourceError:
                self._ends[link] = False
        return self._ends[link]

    @cached_property
    def _ends(self) -> dict[str, bool]:
        """Link -> whether it leads to a file; filled on demand."""
        return {}

    @cached_property
    def _paths(self) -> list[str]:
        return sorted((*self.files, *self.links))

    @cached_property
    def _folders(self) -> frozenset[str]:
        found = {""}
        for path in (*self.files, *self.links):
            while path := path.rpartition("/")[0]:
                if path in found:
                    break
                found.add(path)
        return frozenset(found)

    def below(self, path: str) -> Layout | None:
        """The same revision with another base, given from the root; None where there is no such folder.

        Raises:
            SourceError: a link on the way points outside, or the path is closed.
        """
        end = self._follow(path)
        return replace(self, base=end) if end in self._folders else None

    def find_above(self, names: Sequence[str]) -> str:
        """The nearest file with one of these names in a folder above `base`, as `../NAME`; empty for none."""
        folder, steps = self.base, ""
        while folder:
            folder, steps = folder.rpartition("/")[0], f"{steps}../"
            for name in names:
                if (f"{folder}/{name}" if folder else name) in self.files:
                    return f"{steps}{name}"
        return ""

    def find(self, path: str) -> str:
        """The path, from the root, of the file at a path below `base`.

        Raises:
            FileNotFoundError: there is none.
            SourceError: a link on the way is broken or points outside, or the path is closed.
        """
        wanted = clean_path(path)
        if not wanted:
            raise FileNotFoundError(path)
        full = f"{self.base}/{wanted}" if self.base else wanted
        # First without links: most files are reached directly, and a fleet has thousands.
        if full in self.files:
            return full
        end = self._follow(full)
        if end in self.files:
            return end
        if full in self.links and end not in self._folders:
            raise SourceError(
                f"{self.where}: {quote_path(full)} is a link to {quote_path(self.links[full])}, "
                "which does not exist",
                remedy="fix the link, or replace it with the file",
            )
        raise FileNotFoundError(path)

    def _follow(self, path: str) -> str:
        # Part by part, as the kernel does: `link/..` is the folder above the target of the link.
        todo = path.split("/")[::-1]
        done: list[str] = []
        hops = steps = 0
        while todo:
            part = todo.pop()
            steps += 1
            if steps > STEPS:
                raise SourceError(
                    f"{self.where}: the links at {quote_path(path)} lead through too many folders"
                )
            if part in ("", "."):
                continue
            if part == "..":
                if not done:
                    raise self._make_outside_error(path)
                done.pop()
                continue
            done.append(part)
            here = "/".join(done)
            if here in self.closed:
                inside = f"it is in {quote_path(here)}, and " if here != path else ""
                raise SourceError(
                    f"{self.where}: {quote_path(path)} cannot be read: {inside}{self.closed[here]}",
                    remedy="name a file that the source itself contains",
                )
            if here in self.links:
                hops += 1
                target = self.links[here]
                if target.startswith("/"):
                    raise self._make_outside_error(path)
                if hops > HOPS:
                    raise SourceError(f"{self.where}: the links at {quote_path(path)} form a loop")
                done.pop()
                todo.extend(target.split("/")[::-1])
        return "/".join(done)

    def _make_outside_error(self, path: str) -> SourceError:
        return SourceError(
            f"{self.where}: the link at {quote_path(path)} points outside the source",
            remedy="put the file itself into the source; only links inside the source are followed",
        )


@dataclass(frozen=True)
class LayoutFiles(ABC):
    """The files of a layout; implements `ports.source.SourceFiles`."""

    layout: Layout

    def names(self) -> tuple[str, ...]:
        """Paths of all files, sorted."""
        return self.layout.names()

    def read(self, path: str) -> bytes:
        """The bytes of one file.

        Raises:
            FileNotFoundError: there is no such file.
            SourceUnreachable: it was changed after the folder was scanned.
            SourceError: it is too large, a Git LFS pointer, closed, or behind a wrong link.
        """
        data = self._load(self.layout.find(path), path)
        if data.startswith(POINTER):
            where = f"{self.layout.where}: {quote_path(path)}"
            raise SourceError(
                f"{where} is a Git LFS pointer; its content is stored elsewhere",
                remedy="store it as a regular file (git lfs untrack, then commit); in a folder, "
                "run `git lfs pull`",
            )
        return data

    @abstractmethod
    def _load(self, full: str, path: str) -> bytes:
        """The bytes of the file at a path from the root; `path` is the one that was asked for."""
