"""The local copy of a remote repository: as much of it as the wanted commit needs, fetched when it moves."""

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
    """A bare repository in the cache; whoever calls holds its lock. It blocks: see `run_blocking`.

    Nothing about the remote is stored in it: address and identity are given to every command. The
    newest commit alone is fetched where that is enough; an abbreviated id needs the whole history.

    Args:
        folder: where it lies.
        place: the remote repository.
        git: how git is run to reach it.
    """

    folder: Path
    place: SourceAddress
    git: Git

    def commit(self, ref: str) -> tuple[str, str]:
        """The full id of the commit that a ref means now, and of what the ref names: it, or its tag.

        The commit's files are here afterwards.

        Args:
            ref: a branch, a tag, a commit id; empty for the default branch.

        Raises:
            SourceError: the remote has no such ref, or refuses.
            SourceUnreachable: the remote does not answer.
        """
        self._prepare()
        id_ = ref.lower()
        full = len(id_) == refs.FULL and refs.COMMIT_ID.fullmatch(id_)
        if full and (known := self._known(id_)):
            return known, id_  # an id cannot come to mean anything else: no need to ask
        listed = self._list()
        found = refs.find_ref(listed, ref, where=self.place.shown)
        if found is not None:
            return self._at(found)
        head = "HEAD" in listed.ids
        commit = self._exact(id_, head=head) if full else self._abbreviated(id_, head=head)
        if commit is None:
            raise refs.make_unknown_ref_error(listed, ref, where=self.place.shown)
        return commit, id_ if full else commit

    def history(self, commit: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from, fetched as far as need be; None if not there.

        Raises:
            SourceUnreachable: the remote does not answer.
        """
        self._prepare()
        if self._known(commit) is None:
            return None
        if not self._complete:
            refs = self._list()
            self._everything(head="HEAD" in refs.ids)
        if (self.folder / "shallow").is_file():  # it is on no branch and no tag
            with suppress(GitCommandFailed):
                spec = f"+{commit}:refs/sources/{commit}"
                self._run(*FETCH, "--unshallow", "--", self.place.url, spec)
        found = (self._local("rev-list", commit, "--")).decode().split()
        shallow = self.folder / "shallow"
        cut = set(shallow.read_text().split()) if shallow.is_file() else set()
        return None if cut & set(found) else frozenset(found)

    def find(self, name: str) -> str | None:
        """The full id of what a branch, a tag or a commit id means; None where the remote has none.

        Call it after `history`, so that the commit itself is here.

        Raises:
            SourceUnreachable: the remote does not answer.
        """
        listed = self._list()
        places = ("refs/heads/", "refs/tags/", "refs/remotes/origin/", "")
        found = next(
            (listed.ids[f"{place}{name}"] for place in places if f"{place}{name}" in listed.ids), None
        )
        if found is None:
            known = refs.COMMIT_ID.fullmatch(name) and self._known(name)
            return known or None
        if self._known(found) is None:
            self._everything(head="HEAD" in listed.ids)
        return found

    def open(self) -> ObjectReader:
        """What it has now.

        Raises:
            Damaged: it is no repository any more.
            SourceError: it takes objects from elsewhere.
        """
        environment = self.git.settings.environment
        return ObjectReader(GitDirectory(str(self.folder)), environment, where=self.place.shown)

    def clear(self) -> None:
        """Remove it: whatever is wrong with it, a fetch makes it anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _list(self) -> Refs:
        """What the remote offers now."""
        listing = self._run("ls-remote", "--symref", "--", self.place.url)
        return refs.parse_ls_remote(listing.decode("utf-8", "replace"))

    def _prepare(self) -> None:
        if (self.folder / "HEAD").is_file() and (self.folder / "objects").is_dir():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateError(
                f"the cache folder {self.folder} cannot be created: {error.strerror}",
                remedy="Check its permissions and the free disk space.",
            ) from error
        self._local("init", "--quiet", "--bare", "--template=")

    def _at(self, ref: Ref) -> tuple[str, str]:
        local = f"refs/sources/{hashlib.sha256(ref.name.encode()).hexdigest()[:16]}"
        if self.open().ref(local) != ref.id:
            self._newest(f"+{ref.name}:{local}")
        objects = self.open()
        fetched = objects.ref(local)
        if fetched is None:
            raise objects.damaged()
        return self._peeled(objects, fetched, ref.name), fetched

    def _exact(self, id_: str, *, head: bool) -> str | None:
        """A commit by its full id: asked for alone, and where a server will not, with everything."""
        try:
            self._newest(f"+{id_}:refs/sources/{id_}")
        except GitCommandFailed as failed:
            if not errors.UNADVERTISED.search(failed.words):
                raise
            self._everything(head=head)
        return self._known(id_)

    def _abbreviated(self, id_: str, *, head: bool) -> str | None:
        known = self._known(id_) if self._complete else None
        if known is None:
            self._everything(head=head)
            known = self._known(id_)
        return known

    def _known(self, id_: str) -> str | None:
        """The commit that an id, or the first digits of one, means; None where it is not here."""
        if not refs.COMMIT_ID.fullmatch(id_):
            return None
        objects = self.open()
        matching = [id_] if len(id_) == refs.FULL else objects.matching(id_)
        if len(matching) > 1:
            raise SourceError(
                f"{self.place.shown}: the id '{id_}' matches several objects", remedy="Give more digits."
            )
        if not matching or objects.resolve(matching[0]) is None:
            return None
        return self._peeled(objects, matching[0], id_)

    def _peeled(self, objects: ObjectReader, id_: str, name: str) -> str:
        """The commit that an object is, or that a tag names."""
        if objects.kind(id_) == "commit":
            return id_
        if (count := objects.size(id_)) > LARGEST:  # git reads a tag whole to see what it names
            raise SourceError(
                f"{self.place.shown}: '{name}' is an object of {format_size(count)}; "
                f"the limit is {format_size(LARGEST)}",
                remedy="Give a branch, a tag or a commit.",
            )
        found = objects.resolve(f"{id_}^{{commit}}")
        if found is None:
            raise SourceError(
                f"{self.place.shown}: '{name}' is not a commit", remedy="Give a branch, a tag or a commit."
            )
        return found[0]

    @property
    def _complete(self) -> bool:
        return (self.folder / "complete").is_file() and not (self.folder / "shallow").is_file()

    def _newest(self, refspec: str) -> None:
        """One commit without its history; from servers that cannot do that, with it."""
        if self._complete:
            self._run(*FETCH, "--", self.place.url, refspec)
            return
        try:
            self._run(*FETCH, "--depth=1", "--", self.place.url, refspec)
        except GitCommandFailed as failed:
            if not errors.SHALLOW.search(failed.words):
                raise
            self._run(*FETCH, "--", self.place.url, refspec)

    def _everything(self, *, head: bool) -> None:
        """All branches and tags with their history."""
        deepen = ("--unshallow",) if (self.folder / "shallow").is_file() else ()
        detached = ("+HEAD:refs/sources/all/HEAD",) if head else ()
        refspecs = (*detached, *(f"+refs/{kind}/*:refs/sources/all/{kind}/*" for kind in ("heads", "tags")))
        self._run(*FETCH, "--prune", *deepen, "--", self.place.url, *refspecs)
        (self.folder / "complete").touch()

    def _local(self, *arguments: str) -> bytes:
        """What needs neither the credential nor the network gets neither."""
        settings = self.git.settings
        own = GitSettings.local(
            settings.environment, GitDirectory(str(self.folder)), seconds=settings.seconds
        )
        return Git(settings=own).run(*arguments)

    def _run(self, *arguments: str) -> bytes:
        git = self.git.changed(repository=GitDirectory(str(self.folder)))
        try:
            return git.run(*arguments)
        except GitCommandFailed:
            # The signal that ends a program at the bound leaves no word of it.
            most = git.settings.pack
            if any(left.stat().st_size >= most for left in self._left()):
                raise SourceError(
                    f"{self.place.shown}: it sends more than the limit of {format_size(most)}",
                    remedy="Keep large files out of its history, or use a separate repository for the "
                    "desired state.",
                ) from None
            raise
        finally:
            for left in self._left():
                left.unlink(missing_ok=True)

    def _left(self) -> list[Path]:
        """What a fetch leaves that was ended or failed; whoever holds the lock is alone here."""
        return list(self.folder.glob("objects/pack/tmp_*"))
