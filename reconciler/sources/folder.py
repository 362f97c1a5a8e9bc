"""An existing folder as a source, read as it lies on disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from reconciler.core.plan import Revision
from reconciler.core.ports import Snapshot
from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources import worktree
from reconciler.sources.content import Budget
from reconciler.sources.layout import Layout
from reconciler.sources.limits import LIMITS, Limits
from reconciler.sources.scan import Digests, FolderFiles, scan
from reconciler.sources.trust import UNSIGNED, Signer, Trust, refusal, signed
from reconciler.sources.vouch import git_signer
from reconciler.sources.worktree import Standing

SHORT = 12
SHORT_CHANGE = 8
TRIES = 3
UNCOMMITTED = "+ uncommitted changes"


class FolderSource:
    """The files of a folder; implements `core.ports.Source`.

    Inside a git working tree the revision is the commit that is checked out, and with changes that are
    not committed `COMMIT+DIGEST`, the digest being that of the files; what git ignores is left out, so
    that the folder shows what the commit will. Elsewhere the revision is the digest of the files.

    Args:
        folder: where it is.
        limits: bounds on what is read.
        trust: whose signature the commit has to have, whose files have to be exactly these; None where
            none is asked.
    """

    def __init__(self, folder: Path, *, limits: Limits = LIMITS, trust: Trust | None = None) -> None:
        self.folder = folder.resolve()
        self.limits = limits
        self._trust = trust
        self._digests = Digests(limits)
        self._title = ("", "")
        self._last: Snapshot | None = None

    async def snapshot(self) -> Snapshot:
        """The files as they are now.

        Raises:
            SourceError: the folder cannot be read or holds too much, or git refuses to look at it.
            SourceUnreachable: it was being changed all the while.
            Untrusted: a signature is asked for, and there is none that counts for these files.
        """
        if not self.folder.is_dir():
            raise SourceError(f"there is no folder {self.folder}", remedy="Look at the path.")
        for _ in range(TRIES):
            before = await self._standing()
            ignored = before.ignored if before else ()
            layout = await asyncio.to_thread(scan, self.folder, ignored=ignored, limits=self.limits)
            if before and before.clean and await self._standing() != before:
                continue
            revision = await self._revision(before, layout)
            if self._last and self._same(self._last, revision, layout):
                return self._last
            signer = await self._signer(self._trust, before, layout) if self._trust else None
            files = FolderFiles(layout, self.limits, Budget(str(self.folder), self.limits))
            self._last = signed(Snapshot(revision, files), signer)
            return self._last
        raise SourceUnreachable(f"{self.folder} is being changed all the while", remedy="Try again.")

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None where that is not known here."""
        return await worktree.history(self.folder, revision) if worktree.top_of(self.folder) else None

    async def _standing(self) -> Standing | None:
        top = worktree.top_of(self.folder)
        return await worktree.standing(self.folder, top, os.environ) if top else None

    async def _revision(self, standing: Standing | None, layout: Layout) -> Revision:
        digest = ""
        if standing is None or not standing.clean:
            digest = await asyncio.to_thread(self._digests.of, layout)
        if standing is None:
            return Revision(str(self.folder), digest, digest[:SHORT])
        commit = standing.commit
        if self._title[0] != commit:
            self._title = (commit, await worktree.title(self.folder, commit, os.environ))
        title = self._title[1]
        if standing.clean:
            return Revision(str(self.folder), commit, commit[:SHORT], title)
        return Revision(
            source=str(self.folder),
            id=f"{commit}+{digest}",
            short=f"{commit[:SHORT]}+{digest[:SHORT_CHANGE]}",
            title=f"{title} {UNCOMMITTED}",
        )

    async def _signer(self, trust: Trust, standing: Standing | None, layout: Layout) -> Signer:
        """Who signed the commit that has exactly these files."""
        what = str(self.folder)
        if standing is None:
            raise refusal(UNSIGNED, what, "is a folder that no commit has, so that nobody signed it")
        if not standing.clean:
            raise refusal(UNSIGNED, what, "has changes that are not committed, and nobody signed them")
        commit = standing.commit
        signer = await git_signer(str(self.folder), commit, commit, trust, where=what)
        if strays := await worktree.strays(self.folder, commit, layout):
            raise refusal(UNSIGNED, what, f"has files that are not the commit's: {', '.join(strays[:3])}")
        return signer

    @staticmethod
    def _same(last: Snapshot, revision: Revision, layout: Layout) -> bool:
        return (
            last.revision.id == revision.id
            and isinstance(last.files, FolderFiles)
            and last.files.layout.files == layout.files
            and last.files.layout.links == layout.links
        )
