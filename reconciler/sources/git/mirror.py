"""The local copy of a remote repository: as much of it as the wanted commit needs, fetched when it moves."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import SourceError, StateError
from reconciler.sources.address import Address
from reconciler.sources.git import errors, refs, tree
from reconciler.sources.git.command import LISTING, OUTPUT, Git, GitFailed, Repository
from reconciler.sources.git.refs import Ref, Refs
from reconciler.sources.limits import LIMITS
from reconciler.text.one_line import size

if TYPE_CHECKING:
    import pygit2

FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")


@dataclass(frozen=True, slots=True)
class Copy:
    """A bare repository in the cache; whoever calls holds its lock.

    Nothing about the remote is stored in it: address and identity are given to every command. The
    newest commit alone is fetched where that is enough; an abbreviated id needs the whole history.

    Args:
        folder: where it lies.
        place: the remote repository.
        git: how git is run to reach it.
    """

    folder: Path
    place: Address
    git: Git

    async def commit(self, ref: str) -> tuple[str, str]:
        """The full id of the commit that a ref means now, and of what the ref names: it, or its tag.

        The commit's files are here afterwards.

        Args:
            ref: a branch, a tag, a commit id; empty for the default branch.

        Raises:
            SourceError: the remote has no such ref, or refuses.
            SourceUnreachable: the remote does not answer.
        """
        await self._prepare()
        id_ = ref.lower()
        full = len(id_) == refs.FULL and refs.COMMIT_ID.fullmatch(id_)
        if full and (known := self._known(id_)):
            return known, id_  # an id cannot come to mean anything else: no need to ask
        listed = await self._list()
        found = refs.wanted(listed, ref, where=self.place.shown)
        if found is not None:
            return await self._at(found)
        head = "HEAD" in listed.ids
        commit = await (self._exact(id_, head=head) if full else self._abbreviated(id_, head=head))
        if commit is None:
            raise refs.unknown(listed, ref, where=self.place.shown)
        return commit, id_ if full else commit

    async def history(self, commit: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from, fetched as far as need be; None if not there.

        Raises:
            SourceUnreachable: the remote does not answer.
        """
        await self._prepare()
        if self._known(commit) is None:
            return None
        if not self._complete:
            refs = await self._list()
            await self._everything(head="HEAD" in refs.ids)
        if (self.folder / "shallow").is_file():  # it is on no branch and no tag
            with suppress(GitFailed):
                spec = f"+{commit}:refs/sources/{commit}"
                await self._run(*FETCH, "--unshallow", "--", self.place.url, spec)
        found = (await self._local("rev-list", commit, "--")).decode().split()
        shallow = self.folder / "shallow"
        cut = set(shallow.read_text().split()) if shallow.is_file() else set()
        return None if cut & set(found) else frozenset(found)

    async def find(self, name: str) -> str | None:
        """The full id of what a branch, a tag or a commit id means; None where the remote has none.

        Call it after `history`, so that the commit itself is here.

        Raises:
            SourceUnreachable: the remote does not answer.
        """
        listed = await self._list()
        places = ("refs/heads/", "refs/tags/", "refs/remotes/origin/", "")
        found = next(
            (listed.ids[f"{place}{name}"] for place in places if f"{place}{name}" in listed.ids), None
        )
        if found is None:
            known = refs.COMMIT_ID.fullmatch(name) and self._known(name)
            return known or None
        if self._known(found) is None:
            await self._everything(head="HEAD" in listed.ids)
        return found

    def open(self) -> pygit2.Repository:
        """The repository, for reading.

        Raises:
            Damaged: it is none any more.
        """
        return tree.opened(str(self.folder), where=self.place.shown)

    async def clear(self) -> None:
        """Remove it: whatever is wrong with it, a fetch makes it anew."""
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def _list(self) -> Refs:
        """What the remote offers now."""
        listing = await self._run("ls-remote", "--symref", "--", self.place.url, limit=LISTING)
        return refs.listed(listing.decode("utf-8", "replace"))

    async def _prepare(self) -> None:
        if (self.folder / "HEAD").is_file() and (self.folder / "objects").is_dir():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateError(
                f"the cache folder {self.folder} cannot be made: {error.strerror}",
                remedy="Look at its permissions and at the free space.",
            ) from error
        await self._local("init", "--quiet", "--bare", "--template=")

    async def _at(self, ref: Ref) -> tuple[str, str]:
        local = f"refs/sources/{hashlib.sha256(ref.name.encode()).hexdigest()[:16]}"
        repository = self.open()
        there = repository.references.get(local)
        if there is None or str(there.target) != ref.id:
            await self._newest(f"+{ref.name}:{local}")
            repository = self.open()
        fetched = repository.references.get(local)
        if fetched is None:
            raise tree.Damaged(self.place.shown, str(self.folder))
        target = tree.stored(repository, fetched.target, tree.Place(self.place.shown, "", LIMITS))
        return self._peeled(target, ref.name), str(fetched.target)

    async def _exact(self, id_: str, *, head: bool) -> str | None:
        """A commit by its full id: asked for alone, and where a server will not, with everything."""
        try:
            await self._newest(f"+{id_}:refs/sources/{id_}")
        except GitFailed as failed:
            if not errors.UNADVERTISED.search(failed.words):
                raise
            await self._everything(head=head)
        return self._known(id_)

    async def _abbreviated(self, id_: str, *, head: bool) -> str | None:
        known = self._known(id_) if self._complete else None
        if known is None:
            await self._everything(head=head)
            known = self._known(id_)
        return known

    def _known(self, id_: str) -> str | None:
        repository = self.open()
        try:
            found = repository.get(id_)  # a prefix of an id, too
        except ValueError:
            raise SourceError(
                f"{self.place.shown}: the id '{id_}' begins several objects", remedy="Give more digits."
            ) from None
        return None if found is None else self._peeled(found, id_)

    def _peeled(self, found: pygit2.Object, name: str) -> str:
        import pygit2  # noqa: PLC0415  (only git sources pay for it)

        try:
            return str(found.peel(pygit2.Commit).id)
        except (pygit2.InvalidSpecError, ValueError):
            raise SourceError(
                f"{self.place.shown}: '{name}' names no commit", remedy="Name a branch, a tag or a commit."
            ) from None

    @property
    def _complete(self) -> bool:
        return (self.folder / "complete").is_file() and not (self.folder / "shallow").is_file()

    async def _newest(self, refspec: str) -> None:
        """One commit without its history; from servers that cannot do that, with it."""
        if self._complete:
            await self._run(*FETCH, "--", self.place.url, refspec)
            return
        try:
            await self._run(*FETCH, "--depth=1", "--", self.place.url, refspec)
        except GitFailed as failed:
            if not errors.SHALLOW.search(failed.words):
                raise
            await self._run(*FETCH, "--", self.place.url, refspec)

    async def _everything(self, *, head: bool) -> None:
        """All branches and tags with their history."""
        deepen = ("--unshallow",) if (self.folder / "shallow").is_file() else ()
        detached = ("+HEAD:refs/sources/all/HEAD",) if head else ()
        refspecs = (*detached, *(f"+refs/{kind}/*:refs/sources/all/{kind}/*" for kind in ("heads", "tags")))
        await self._run(*FETCH, "--prune", *deepen, "--", self.place.url, *refspecs)
        (self.folder / "complete").touch()

    async def _local(self, *arguments: str) -> bytes:
        """What needs neither the credential nor the network gets neither."""
        git = Git.local(self.git.environment, Repository(str(self.folder)), seconds=self.git.seconds)
        return await git.run(*arguments)

    async def _run(self, *arguments: str, limit: int = OUTPUT) -> bytes:
        git = replace(self.git, repository=Repository(str(self.folder)))
        try:
            return await git.run(*arguments, limit=limit)
        except GitFailed:
            # The signal that ends a program at the bound leaves no word of it.
            if any(left.stat().st_size >= git.pack for left in self._left()):
                raise SourceError(
                    f"{self.place.shown}: what it sends is larger than {size(git.pack)}, which is the most "
                    "that is fetched",
                    remedy="Keep large files out of its history, or use a repository of its own for the "
                    "desired state.",
                ) from None
            raise
        finally:
            for left in self._left():
                left.unlink(missing_ok=True)

    def _left(self) -> list[Path]:
        """What a fetch leaves that was ended or failed; whoever holds the lock is alone here."""
        return list(self.folder.glob("objects/pack/tmp_*"))
