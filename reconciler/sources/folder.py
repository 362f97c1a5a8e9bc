"""A folder as a source, read as it is on disk."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import PriorFiles
from reconciler.core.revision import COMMIT
from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.subprocesses import run_blocking
from reconciler.ports.source import FLEET_FILES, Snapshot, Source, SourceOrigin
from reconciler.sources.content_limits import LIMITS, ByteBudget, SourceLimits
from reconciler.sources.folder_scan import DigestCache, FolderFiles, hash_folder, scan_folder
from reconciler.sources.git.discovery import WorkTree, find_work_tree
from reconciler.sources.git.prior_files import (
    make_empty_history,
    make_unknown_base_error,
    read_fleet_files,
    read_prior_files,
    walk_first_parents,
)
from reconciler.sources.git.tree import CommittedFolder, TreeLocation, hash_blob, list_changed
from reconciler.sources.layout import Layout
from reconciler.sources.signatures.trust import UNSIGNED, Signer, Trust, add_signer, make_untrusted_error
from reconciler.text.one_line import SHORT_ID, make_one_line

if TYPE_CHECKING:  # it loads the library; here that is done where a repository is read
    from reconciler.sources.git.objects import ObjectReader

T = TypeVar("T")

SHORT_CHANGE = 8
TRIES = 3
NAMED = 3
"""Changed files that a message names."""
UNCOMMITTED = "+ uncommitted changes"


def find_fleet_above(folder: Path, top: Path | None) -> str:
    """The nearest fleet file in a folder above, as `../NAME`; empty for none.

    Args:
        folder: resolved.
        top: of the work tree, above which nothing belongs to the same repository; None without one.
    """
    steps = ""
    for above in folder.parents:
        if top is not None and not above.is_relative_to(top):
            break
        steps += "../"
        for name in FLEET_FILES:
            with suppress(OSError):  # a folder that this user cannot read
                if (above / name).is_file():
                    return f"{steps}{name}"
    return ""


class FolderSource(Source):
    """The files of a folder.

    In a work tree the revision is the commit that is checked out; with uncommitted changes it is
    `COMMIT+DIGEST`, with the digest of the files. Files that git ignores are left out, so that the folder has
    what a commit of it would have. Elsewhere, and where the commit does not have the folder, the revision is
    the digest of the files. The files on disk are read, never those of the commit.

    Args:
        folder: its path.
        limits: bounds on what is read.
        trust: whose signature the commit must have, which must have exactly these files; None for no check.
    """

    has_history = True

    def __init__(self, folder: Path, *, limits: SourceLimits = LIMITS, trust: Trust | None = None) -> None:
        self.folder = folder.resolve()
        self.limits = limits
        self._trust = trust
        self._digests = DigestCache(limits)
        self._blob_ids = DigestCache(limits, hash_blob)
        self._head: CommittedFolder | None = None
        self._last: Snapshot | None = None
        self._origins: dict[tuple[str, tuple[str, ...]], SourceOrigin] = {}

    async def snapshot(self) -> Snapshot:
        """The files as they are now; SourceUnreachable if they kept changing."""
        try:
            is_folder = self.folder.is_dir()
        except OSError as error:  # such as a name that is too long for any file
            shown = make_one_line(str(self.folder), 300)
            why = (error.strerror or "it is not a valid path").lower()
            raise SourceError(f"there is no folder {shown}: {why}", remedy="check the path") from error
        if not is_folder:
            raise SourceError(f"there is no folder {self.folder}", remedy="check the path")
        self._last = await run_blocking(self._take)
        return self._last

    def _take(self) -> Snapshot:
        for _ in range(TRIES):
            work = find_work_tree(self.folder)
            head, layout = self._look(work)
            changed = list_changed(layout, self._blob_ids.update(layout), head) if head else []
            if work and head and work.head() != head.commit:
                continue  # a commit or checkout came in between: files and commit may not belong together
            revision = self._revision(head, changed, layout)
            if self._last and self._is_same(self._last, revision, layout):
                return self._last
            signer = self._signer(self._trust, work, head, changed) if self._trust else None
            files = FolderFiles(layout, self.limits, ByteBudget(str(self.folder), self.limits))
            above = find_fleet_above(self.folder, work.top if work else None)
            return add_signer(Snapshot(revision, files, above), signer)
        raise SourceUnreachable(f"{self.folder} keeps changing while it is read", remedy="try again")

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """See `ports.source.Source`."""

        def read(work: WorkTree, objects: ObjectReader) -> frozenset[str] | None:
            return None if work.is_shallow else objects.history(revision)

        return await self._use_history(revision, read)

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """See `ports.source.Source`."""
        work = find_work_tree(self.folder)
        if work is None:
            yield iter(())
            return
        from reconciler.sources.git.worktree import open_objects  # noqa: PLC0415  (loads the library)

        location = TreeLocation(str(work.top), work.locate(self.folder), self.limits)
        with open_objects(work) as objects:
            yield walk_first_parents(objects, revision, location, most)

    async def read_origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """See `ports.source.Source`."""
        commit = revision.partition("+")[0]
        key = (commit, tuple(folders))

        def read(work: WorkTree, objects: ObjectReader) -> SourceOrigin:
            path = work.locate(self.folder)
            roots = () if work.is_shallow else objects.roots(commit)
            others = read_fleet_files(objects, commit, names, [one for one in folders if one != path])
            return SourceOrigin(roots, path, "", others)

        if key not in self._origins:
            found = await self._use_history(commit, read)
            if found is None:
                return SourceOrigin()
            kept = {known: origin for known, origin in self._origins.items() if known[0] == commit}
            self._origins = {**kept, key: found}
        return self._origins[key]

    async def read_prior_files(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """See `ports.source.Source`."""

        def read(work: WorkTree, objects: ObjectReader) -> PriorFiles:
            target = work.find(base) if base else ""
            if target is None:
                raise make_unknown_base_error(base, str(work.top))
            path = work.locate(self.folder)
            return read_prior_files(objects, revision, names, path=path, base=target, applied=applied)

        found = await self._use_history(revision.partition("+")[0], read)
        return make_empty_history(str(self.folder), base) if found is None else found

    async def _use_history(self, commit: str, read: Callable[[WorkTree, ObjectReader], T]) -> T | None:
        """What `read` finds in the repository; None if there is none, or the revision is not a commit."""

        def work_with_objects() -> T | None:
            work = find_work_tree(self.folder)
            if work is None or not COMMIT.fullmatch(commit):
                return None
            from reconciler.sources.git.worktree import open_objects  # noqa: PLC0415  (loads the library)

            with open_objects(work) as objects:
                return read(work, objects)

        return await run_blocking(work_with_objects)

    def _look(self, work: WorkTree | None) -> tuple[CommittedFolder | None, Layout]:
        """What the commit has in the folder, None for nothing, and what is on disk."""
        head, ignored = None, frozenset[str]()
        if work:
            from reconciler.sources.git import worktree  # noqa: PLC0415  (loads the library)

            head = worktree.read_head_folder(work, self.folder, self.limits, self._head, os.environ)
            ignored = worktree.list_ignored(work, self.folder, os.environ) if head else ignored
        self._head = head
        # A committed file counts although .gitignore names it: git itself goes by the index.
        kept = {*head.files, *head.links} if head else set()
        return head, scan_folder(self.folder, ignored=ignored, kept=kept, limits=self.limits)

    def _revision(self, head: CommittedFolder | None, changed: list[str], layout: Layout) -> Revision:
        if head and not changed:
            return Revision(str(self.folder), head.commit, head.commit[:SHORT_ID], head.title)
        digest = hash_folder(layout, self._digests.update(layout))
        if not head:
            return Revision(str(self.folder), digest, digest[:SHORT_ID])
        return Revision(
            source=str(self.folder),
            id=f"{head.commit}+{digest}",
            short=f"{head.commit[:SHORT_ID]}+{digest[:SHORT_CHANGE]}",
            title=f"{head.title} {UNCOMMITTED}",
        )

    def _signer(
        self, trust: Trust, work: WorkTree | None, head: CommittedFolder | None, changed: list[str]
    ) -> Signer:
        """The signer of the commit that has exactly these files."""
        what = str(self.folder)
        if not (work and head):
            raise make_untrusted_error(
                UNSIGNED, what, "is a folder that no commit contains, so it has no signature"
            )
        if changed:
            names = ", ".join(changed[:NAMED])
            raise make_untrusted_error(
                UNSIGNED, what, f"has uncommitted changes, which nobody signed: {names}"
            )
        from reconciler.sources.git.signer import find_git_signer  # noqa: PLC0415  (loads the library)
        from reconciler.sources.git.worktree import open_own_view  # noqa: PLC0415

        with open_own_view(work) as repository:
            return find_git_signer(repository, head.commit, head.commit, trust, where=what)

    @staticmethod
    def _is_same(last: Snapshot, revision: Revision, layout: Layout) -> bool:
        return (
            # The marks as well: of new files with the same contents the old snapshot could read nothing.
            last.revision.id == revision.id
            and isinstance(last.files, FolderFiles)
            and last.files.layout.files == layout.files
            and last.files.layout.links == layout.links
        )
