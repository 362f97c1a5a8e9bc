"""A git repository as a source, over file, http(s) or ssh; its revision is the commit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from reconciler.core.prior_revisions import PriorFiles
from reconciler.errors import SourceError, SourceUnreachable, UntrustedRevision
from reconciler.host.locks import hold_folder_lock
from reconciler.host.subprocesses import run_blocking
from reconciler.ports.source import Snapshot, Source, SourceOrigin
from reconciler.sources.content_limits import LIMITS, SourceLimits
from reconciler.sources.git import errors, tree
from reconciler.sources.git.discovery import WorkTree, find_repository
from reconciler.sources.git.errors import DamagedMirror
from reconciler.sources.git.prior_files import (
    make_unknown_base_error,
    read_fleet_files,
    read_prior_files,
    walk_first_parents,
)
from reconciler.sources.git.refs import check_ref
from reconciler.sources.git.tree import TreeLocation
from reconciler.sources.proxy import find_proxy_variable
from reconciler.sources.signatures.trust import Signer, Trust, add_signer
from reconciler.sources.source_address import SourceAddress

if TYPE_CHECKING:  # it loads the library; here that is done where a repository is read
    from reconciler.sources.git.command import GitCommandFailed
    from reconciler.sources.git.mirror import Mirror

T = TypeVar("T")

SECONDS = 300.0
"""Seconds for one git command, and for the lock of another process."""

HISTORIES = 4
"""Commits whose ancestors stay in memory."""


class GitSource(Source):
    """The files of a repository at a ref.

    Args:
        address: address of the repository.
        ref: a branch, a tag or a commit id; empty for the default branch.
        path: the folder in it to read; empty for its root.
        cache: folder of the copies, one for each address.
        limits: bounds on what is read.
        seconds: for one git command, and for the fetch of another process.
        trust: whose signature a commit, or the tag that `ref` names, must have; None for no check.
        environment: of the process, with the credential.
        work: the work tree whose checked-out commit this is, where the next commit will show; None for none.
    """

    has_history = True

    def __init__(
        self,
        address: SourceAddress,
        *,
        ref: str = "",
        path: str = "",
        cache: Path,
        limits: SourceLimits = LIMITS,
        seconds: float = SECONDS,
        trust: Trust | None = None,
        environment: Mapping[str, str] = os.environ,
        work: WorkTree | None = None,
    ) -> None:
        self.address = address
        self.ref = check_ref(ref) if ref else ""
        self.seconds = seconds
        self.work = work
        self._location = TreeLocation(address.shown, path, limits)
        self._folder = cache / "git" / hashlib.sha256(address.url.encode()).hexdigest()[:32]
        self._trust = trust
        self._environment = environment
        self._last: tuple[str, Snapshot] | None = None
        self._refused: dict[str, UntrustedRevision] = {}
        self._histories: dict[str, frozenset[str]] = {}
        self._origins: dict[tuple[str, tuple[str, ...]], SourceOrigin] = {}
        self._earlier: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], PriorFiles] | None = None

    async def snapshot(self) -> Snapshot:
        """The files at the ref as the repository has it now."""
        self._last = await self._use_copy(self._fetch)
        return self._last[1]

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """See `ports.source.Source`; None also if the repository does not have the commit."""
        if revision not in self._histories:
            found = await self._use_copy(lambda copy: copy.history(revision))
            if found is None:
                return None
            # A history has the id of every commit, so only a few are kept.
            kept = list(self._histories.items())[-HISTORIES:]
            self._histories = {**dict(kept), revision: found}
        return self._histories[revision]

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """See `ports.source.Source`."""
        objects = await self._use_copy(lambda copy: copy.open())
        yield walk_first_parents(objects, revision, self._location, most)

    async def read_origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """See `ports.source.Source`."""
        key = (revision, tuple(folders))
        if key in self._origins:
            return self._origins[key]
        path = self._location.path

        def read(copy: Mirror) -> SourceOrigin:
            whole = copy.history(revision) is not None
            objects = copy.open()
            roots = objects.roots(revision) if whole else ()
            others = read_fleet_files(objects, revision, names, [one for one in folders if one != path])
            return SourceOrigin(roots, path, self.ref, others)

        found = await self._use_copy(read)
        # Of this revision only: a watch would otherwise keep one for each commit.
        kept = {known: origin for known, origin in self._origins.items() if known[0] == revision}
        self._origins = {**kept, key: found}
        return found

    async def read_prior_files(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """See `ports.source.Source`."""
        key = (revision, base, tuple(applied), tuple(names))
        if self._earlier and self._earlier[0] == key:
            return self._earlier[1]
        path = self._location.path

        def read(copy: Mirror) -> PriorFiles:
            copy.history(revision)
            target = copy.find(base) if base else ""
            if target is None:
                raise make_unknown_base_error(base, self.address.shown)
            return read_prior_files(copy.open(), revision, names, path=path, base=target, applied=applied)

        found = await self._use_copy(read)
        self._earlier = (key, found)
        return found

    def _translate(self, failed: GitCommandFailed) -> SourceError:
        """The error for the output of git, with the proxy variable, which git does not mention."""
        error = errors.translate_error(failed.output, self.address)
        if isinstance(error, SourceUnreachable) and self.address.scheme in ("http", "https"):
            variable, _ = find_proxy_variable(self.address.url, self._environment)
            error.remedy += f"; the variable {variable} sets a proxy for it" if variable else ""
        return error

    async def _use_copy(self, work: Callable[[Mirror], T]) -> T:
        """The result of blocking work on the local copy, under its lock; raises what `snapshot` raises."""
        # Beside the folder, not in it: `clear` removes the folder while the lock is held.
        async with hold_folder_lock(self._folder.with_suffix(".lock"), seconds=self.seconds):
            return await run_blocking(partial(self._with_copy, work))

    def _with_copy(self, work: Callable[[Mirror], T]) -> T:
        from reconciler.sources.git.command import Git, GitCommandFailed  # noqa: PLC0415
        from reconciler.sources.git.credentials import make_git_settings  # noqa: PLC0415  (loads the library)
        from reconciler.sources.git.mirror import Mirror  # noqa: PLC0415
        from reconciler.sources.git.worktree import open_served_view  # noqa: PLC0415

        try:
            settings = make_git_settings(self.address, self._environment)
            limits = self._location.limits
            git = Git(settings=replace(settings, seconds=self.seconds, pack=limits.pack_bytes))
            with ExitStack() as stack:
                address = self.address
                if address.scheme == "file":
                    # A fetch also starts git on the side that serves, which would obey the configuration
                    # there: the repository is served through a directory of ours.
                    folder = Path(unquote(address.url.removeprefix("file://")))
                    found = find_repository(folder)
                    if found is not None:
                        address = replace(address, url=stack.enter_context(open_served_view(found)).directory)
                return work(Mirror(self._folder, address, git))
        except GitCommandFailed as failed:
            raise self._translate(failed) from failed

    def _fetch(self, copy: Mirror) -> tuple[str, Snapshot]:
        """The snapshot, from a new copy if a power cut damaged the old one."""
        from reconciler.sources.git.command import GitCommandFailed  # noqa: PLC0415  (loads the library)

        try:
            return self._read(copy)
        except DamagedMirror:
            copy.clear()
        except GitCommandFailed as failed:
            if not errors.DAMAGED.search(failed.output):
                raise
            copy.clear()
        return self._read(copy)

    def _read(self, copy: Mirror) -> tuple[str, Snapshot]:
        commit, named = copy.commit(self.ref)
        # The same snapshot for the same commit: its files stay in memory, and its signature was checked.
        if self._last and (self._last[0], self._last[1].revision.id) == (named, commit):
            return self._last
        signer = self._signer(commit, named) if self._trust else None
        found = tree.make_snapshot(copy.open(), commit, self._location)
        return named, add_signer(found, signer)

    def _signer(self, commit: str, named: str) -> Signer:
        """The signer; a refusal is remembered until the file of signers changes."""
        from reconciler.sources.git.command import GitDirectory  # noqa: PLC0415  (loads the library)
        from reconciler.sources.git.signer import find_git_signer  # noqa: PLC0415

        assert self._trust is not None
        key = f"{named} {self._trust.mark()}"
        # Otherwise each poll would run the checking programs for a revision that stays refused.
        if key in self._refused:
            raise self._refused[key]
        try:
            return find_git_signer(
                GitDirectory(str(self._folder)), commit, named, self._trust, where=self.address.shown
            )
        except UntrustedRevision as refusal:
            self._refused[key] = refusal
            raise
