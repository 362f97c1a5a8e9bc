"""The local copy of a remote repository: as much as the wanted commit needs, fetched when that changes."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError, StateError
from reconciler.sources.git import errors, refs
from reconciler.sources.git.command import Git, GitCommandFailed, GitDirectory, GitSettings
from reconciler.sources.git.objects import LARGEST, ObjectReader
from reconciler.sources.git.refs import Ref, Refs
from reconciler.sources.source_address import SourceAddress
from reconciler.text.one_line import format_size

FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A bare repository in the cache; the caller holds its lock. It blocks: see `run_blocking`.

    It stores nothing about the remote: every command gets address and credentials. Only the newest commit is
    fetched where that is enough; an abbreviated id needs the whole history.

    Args:
        folder: of the copy.
        address: the remote repository.
        git: reaches the remote.
    """

    folder: Path
    address: SourceAddress
    git: Git

    def commit(self, ref: str) -> tuple[str, str]:
        """The full id of the commit that a ref means now, and of the object it names: the commit or a tag.

        Afterwards the copy has the files of the commit.

        Args:
            ref: a branch, a tag, a commit id; empty for the default branch.

        Raises:
            SourceError: the remote does not have the ref, or refuses.
            SourceUnreachable: the remote does not answer.
        """
        self._prepare()
        id_ = ref.lower()
        full = len(id_) == refs.FULL and refs.COMMIT_ID.fullmatch(id_)
        if full and (known := self._find_commit(id_)):
            return known, id_  # an id never changes its meaning: no need to ask the remote
        listed = self._list()
        found = refs.find_ref(listed, ref, where=self.address.shown)
        if found is not None:
            return self._fetch_ref(found)
        head = "HEAD" in listed.ids
        commit = self._fetch_commit(id_, head=head) if full else self._fetch_abbreviated(id_, head=head)
        if commit is None:
            raise refs.make_unknown_ref_error(listed, ref, where=self.address.shown)
        return commit, id_ if full else commit

    def history(self, commit: str) -> frozenset[str] | None:
        """Ids of a commit and of its ancestors, fetched as needed; None if it is missing or incomplete.

        Raises:
            SourceUnreachable: the remote does not answer.
        """
        self._prepare()
        if self._find_commit(commit) is None:
            return None
        if not self._is_complete:
            refs = self._list()
            self._fetch_all(head="HEAD" in refs.ids)
        if (self.folder / "shallow").is_file():  # the commit is on no branch or tag
            with suppress(GitCommandFailed):
                spec = f"+{commit}:refs/sources/{commit}"
                self._run(*FETCH, "--unshallow", "--", self.address.url, spec)
        found = self.open().history(commit)
        # git lists a shallow commit as if it had no parents: an ancestry that reaches one is incomplete.
        shallow = self.folder / "shallow"
        cut = set(shallow.read_text().split()) if shallow.is_file() else set()
        return None if found is None or cut & found else found

    def find(self, name: str) -> str | None:
        """The full id of the object that a branch, a tag or a commit id means; None if there is none.

        Call it after `history`, so that the commit itself has been fetched.

        Raises:
            SourceUnreachable: the remote does not answer.
        """
        listed = self._list()
        places = ("refs/heads/", "refs/tags/", "refs/remotes/origin/", "")
        found = next(
            (listed.ids[f"{place}{name}"] for place in places if f"{place}{name}" in listed.ids), None
        )
        if found is None:
            known = refs.COMMIT_ID.fullmatch(name) and self._find_commit(name)
            return known or None
        if self._find_commit(found) is None:
            self._fetch_all(head="HEAD" in listed.ids)
        return found

    def open(self) -> ObjectReader:
        """Its objects, as they are now.

        Raises:
            DamagedMirror: it is not a repository any more.
            SourceError: it uses objects of another repository.
        """
        environment = self.git.settings.environment
        return ObjectReader(GitDirectory(str(self.folder)), environment, where=self.address.shown)

    def clear(self) -> None:
        """Remove it; the next fetch creates it again."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _list(self) -> Refs:
        """The refs of the remote."""
        arguments = ("ls-remote", "--symref", "--", self.address.url)
        found = refs.parse_ls_remote(self._run(*arguments).decode("utf-8", "replace"))
        # Git takes a web page for an empty repository of a plain file server. Only git's own protocol has
        # packets, also where there is nothing to list.
        if not found.ids and self.address.url.startswith(("http://", "https://")):
            traced = self.git.changed(environment={**self.git.settings.environment, "GIT_TRACE_PACKET": "1"})
            if " packet: " not in traced.run_for_errors(*arguments):
                raise SourceError(f"{self.address.shown}: {errors.NO_GIT}", remedy=errors.NO_GIT_REMEDY)
        return found

    def _prepare(self) -> None:
        if (self.folder / "HEAD").is_file() and (self.folder / "objects").is_dir():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateError(
                f"the cache folder {self.folder} cannot be created: {error.strerror}",
                remedy="check its permissions and the free disk space",
            ) from error
        # Without credentials and network; without a template, which could bring hooks.
        settings = GitSettings.local(self.git.settings.environment, GitDirectory(str(self.folder)))
        Git(settings=settings).run("init", "--quiet", "--bare", "--template=")

    def _fetch_ref(self, ref: Ref) -> tuple[str, str]:
        # A hash: refs `a` and `a/b` of two moments cannot both be files.
        local = f"refs/sources/{hashlib.sha256(ref.name.encode()).hexdigest()[:16]}"
        if self.open().ref(local) != ref.id:
            self._fetch_newest(f"+{ref.name}:{local}")
        objects = self.open()
        fetched = objects.ref(local)
        if fetched is None:
            raise objects.damaged()
        return self._peel(objects, fetched, ref.name), fetched

    def _fetch_commit(self, id_: str, *, head: bool) -> str | None:
        """A commit by its full id; if the server does not give a single commit, everything is fetched."""
        try:
            self._fetch_newest(f"+{id_}:refs/sources/{id_}")
        except GitCommandFailed as failed:
            # A server may refuse an id that none of its refs names, until all of its history is asked for.
            if not errors.UNADVERTISED.search(failed.output):
                raise
            self._fetch_all(head=head)
        return self._find_commit(id_)

    def _fetch_abbreviated(self, id_: str, *, head: bool) -> str | None:
        known = self._find_commit(id_) if self._is_complete else None
        if known is None:
            self._fetch_all(head=head)
            known = self._find_commit(id_)
        return known

    def _find_commit(self, id_: str) -> str | None:
        """The commit of an id or its first digits; None if the copy does not have it."""
        if not refs.COMMIT_ID.fullmatch(id_):
            return None
        objects = self.open()
        matching = [id_] if len(id_) == refs.FULL else objects.matching(id_)
        if len(matching) > 1:
            raise SourceError(
                f"{self.address.shown}: the id '{id_}' matches several objects", remedy="give more digits"
            )
        if not matching or objects.resolve(matching[0]) is None:
            return None
        return self._peel(objects, matching[0], id_)

    def _peel(self, objects: ObjectReader, id_: str, name: str) -> str:
        """The commit that an object is, or that a tag names."""
        if objects.kind(id_) == "commit":
            return id_
        if (count := objects.size(id_)) > LARGEST:  # git reads the whole tag into memory
            raise SourceError(
                f"{self.address.shown}: '{name}' is an object of {format_size(count)}; "
                f"the limit is {format_size(LARGEST)}",
                remedy="give a branch, a tag or a commit",
            )
        found = objects.resolve(f"{id_}^{{commit}}")
        if found is None:
            raise SourceError(
                f"{self.address.shown}: '{name}' is not a commit", remedy="give a branch, a tag or a commit"
            )
        return found[0]

    @property
    def _is_complete(self) -> bool:
        return (self.folder / "complete").is_file() and not (self.folder / "shallow").is_file()

    def _fetch_newest(self, refspec: str) -> None:
        """One commit without its history; with history from servers that cannot leave it out."""
        if self._is_complete:
            self._run(*FETCH, "--", self.address.url, refspec)
            return
        try:
            self._run(*FETCH, "--depth=1", "--", self.address.url, refspec)
        except GitCommandFailed as failed:
            if not errors.SHALLOW.search(failed.output):
                raise
            self._run(*FETCH, "--", self.address.url, refspec)

    def _fetch_all(self, *, head: bool) -> None:
        """All branches and tags with their history."""
        deepen = ("--unshallow",) if (self.folder / "shallow").is_file() else ()
        detached = ("+HEAD:refs/sources/all/HEAD",) if head else ()
        refspecs = (*detached, *(f"+refs/{kind}/*:refs/sources/all/{kind}/*" for kind in ("heads", "tags")))
        self._run(*FETCH, "--prune", *deepen, "--", self.address.url, *refspecs)
        # Last: if the process dies before, the next fetch asks for everything again.
        (self.folder / "complete").touch()

    def _run(self, *arguments: str) -> bytes:
        git = self.git.changed(repository=GitDirectory(str(self.folder)))
        try:
            return git.run(*arguments)
        except GitCommandFailed:
            # A signal ends git at the size limit, so it cannot report it; the size of the leftover shows it.
            most = git.settings.pack
            if any(left.stat().st_size >= most for left in self._list_leftovers()):
                raise SourceError(
                    f"{self.address.shown}: it sends more than the limit of {format_size(most)}",
                    remedy="keep large files out of its history, or use a separate repository for the "
                    "desired state",
                ) from None
            raise
        finally:
            for left in self._list_leftovers():
                left.unlink(missing_ok=True)

    def _list_leftovers(self) -> list[Path]:
        """Files that a failed fetch left; the lock makes sure that no other fetch is running."""
        return list(self.folder.glob("objects/pack/tmp_*"))
