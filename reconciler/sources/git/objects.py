"""Objects, refs and ancestry of a repository whose configuration this program wrote, by GitPython's `Repo`.

Refs and ancestry come from it. What objects hold is read by the same command class, `Git.cat`, a bulk at a
time, in place of `Repo.odb`. The library keeps a process and asks it for one object after another: a turn
from process to process for each costs little on an idle machine, and for 3,000 files on a busy one 1 to
4 seconds, where a bulk takes 0.05. And it waits for ever where an object is shorter than its header says, as
everybody can make one. Its own reader of pack files (GitDB) is deprecated.

Commits and trees are taken apart here, from the bytes: `Repo.commit` decodes a message by whatever encoding
the commit itself names, and `Tree` has names without the bytes that they are made of.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.sources.content_limits import LIMITS
from reconciler.sources.git.command import Git, GitCommandFailed, GitDirectory, GitSettings
from reconciler.sources.git.discovery import check_objects
from reconciler.sources.git.errors import DamagedMirror
from reconciler.sources.git.library import (
    GitCmdObjectDB,
    InvalidGitRepositoryError,
    NoSuchPathError,
    Repo,
    SymbolicReference,
)
from reconciler.text.one_line import format_size

LARGEST = LIMITS.file_bytes
"""Bytes of any object at most."""

BULK = LARGEST + 1024
"""Bytes that are read at once, so that the first object of a bulk comes whole if it may be read at all."""

KEPT = 4 * LARGEST
"""Bytes of objects that are kept, the last ones that were asked for or came along."""

AT_ONCE = 5_000
"""Objects that are asked for at once."""

FULL_ID = re.compile("[0-9a-f]{40}")
_ID_BYTES = 20


@dataclass(frozen=True, slots=True)
class Commit:
    """What counts of a commit: ids of its tree and of its parents, and its message as it was written."""

    tree: str
    parents: tuple[str, ...]
    message: bytes


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """An entry of a tree: its name as it was written, its mode, and the id of what it names."""

    name: bytes
    mode: int
    id: str


@dataclass(frozen=True, slots=True)
class _Found:
    """An object: its kind and bytes, and what it holds; None where that is too large."""

    kind: str
    size: int
    data: bytes | None


class OwnRepository(Repo):
    """A repository of ours, which GitPython reads by our command class and nothing else."""

    GitCommandWrapperType = Git
    git: Git

    def __init__(self, settings: GitSettings) -> None:
        assert settings.repository is not None
        directory = settings.repository.directory
        super().__init__(directory, expand_vars=False)
        # The library takes these from this process's environment, which a hook of git may have set.
        self._common_dir = ""
        self._working_tree_dir = None
        self.git = Git(directory, settings=settings)
        self.odb = GitCmdObjectDB(os.path.join(directory, "objects"), self.git)  # noqa: PTH118  (the library's)


class ObjectReader:
    """Reads one repository; objects are bounded, and their contents are what their ids say.

    Args:
        repository: what is read.
        environment: of this process.
        where: the repository, for messages.

    Raises:
        Damaged: it is no repository.
        SourceError: it takes objects from elsewhere, or something in the place of an object cannot be read.
    """

    def __init__(self, repository: GitDirectory, environment: Mapping[str, str], *, where: str) -> None:
        self.where = where
        self.directory = repository.directory
        alternates = os.path.join(repository.directory, "objects/info/alternates")  # noqa: PTH118
        if os.path.lexists(alternates):
            # No option of git's keeps it from reading them. A fetch writes none, so somebody else did.
            raise SourceError(
                f"{where}: the local copy uses objects of another repository, which {alternates} names",
                remedy=f"Find out who wrote that file, then delete {repository.directory}.",
            )
        if repository.objects:
            check_objects(Path(repository.objects))
        try:
            self._repo = OwnRepository(GitSettings.local(environment, repository))
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise self.damaged() from error
        self._lock = threading.RLock()  # what is likely to be asked for next may come from objects, too
        self._known: OrderedDict[str, _Found] = OrderedDict()
        self._held = 0

    def damaged(self) -> DamagedMirror:
        """The error for what has to be there and is not."""
        return DamagedMirror(self.where, self.directory)

    def ref(self, name: str) -> str | None:
        """The id that a ref names; None where there is none, or none that can be read."""
        try:
            return SymbolicReference.dereference_recursive(self._repo, name)
        except (AssertionError, OSError, ValueError):  # AssertionError: an empty file
            return None

    def resolve(self, name: str) -> tuple[str, str, int] | None:
        """Id, kind and bytes of an object by its id, or by `ID^{KIND}`; None where there is none.

        Raises:
            Damaged: git cannot tell.
        """
        data = self._repo.git.cat([name], limit=BULK)
        fields = data.partition(b"\n")[0].decode("ascii", "replace").split(" ")
        if fields[-1] == "missing":
            return None
        if len(fields) != 3 or not FULL_ID.fullmatch(fields[0]) or not fields[2].isdecimal():  # noqa: PLR2004
            raise self.damaged()
        return fields[0], fields[1], int(fields[2])

    def matching(self, prefix: str) -> list[str]:
        """Ids of all objects that begin so."""
        found: str = self._repo.git.rev_parse(f"--disambiguate={prefix}")
        return found.split()

    def kind(self, id_: str, near: Iterable[str] = ()) -> str:
        """What kind of object it is that has to be there; see `size`."""
        return self._found(id_, near).kind

    def size(self, id_: str, near: Iterable[str] = ()) -> int:
        """The bytes of an object that has to be there.

        Args:
            id_: its full id.
            near: ids of objects that are likely to be asked for next.

        Raises:
            Damaged: it is not there, or not what its id says.
        """
        return self._found(id_, near).size

    def read(self, id_: str, kind: str, near: Iterable[str] = ()) -> bytes:
        """The contents of an object that has to be there.

        Args:
            id_: its full id.
            kind: `blob`, `commit` or `tree`.
            near: ids of objects that are likely to be asked for next.

        Raises:
            Damaged: it is not there, is of another kind, or is not what its id says.
            SourceError: it is larger than anything that is read.
        """
        found = self._found(id_, near)
        if found.kind != kind:
            raise self.damaged()
        if found.data is None:
            raise SourceError(
                f"{self.where}: the object {id_} of the commit has {format_size(found.size)}; the limit is "
                f"{format_size(LARGEST)}",
                remedy="Keep large files out of the desired state.",
            )
        return found.data

    def commit(self, id_: str, near: Iterable[str] = ()) -> Commit:
        """A commit that has to be there; see `read`.

        Raises:
            Damaged: it is not, or cannot be taken apart.
            SourceError: it is larger than anything that is read.
        """
        head, _, message = self.read(id_, "commit", near).partition(b"\n\n")
        named = [line.partition(b" ")[::2] for line in head.split(b"\n")]
        trees = [_text(value) for key, value in named if key == b"tree"]
        parents = [_text(value) for key, value in named if key == b"parent"]
        # Whoever makes a commit may write an option of git or the name of another object in place of an id.
        if not trees or not all(map(FULL_ID.fullmatch, (*trees, *parents))):
            raise self.damaged()
        return Commit(trees[0], tuple(parents), message)

    def tree(self, id_: str, near: Iterable[str] = ()) -> list[TreeEntry]:
        """The entries of a tree that has to be there; see `read`.

        Raises:
            Damaged: it is not, or cannot be taken apart.
            SourceError: it is larger than anything that is read.
        """
        data, place, found = self.read(id_, "tree", near), 0, list[TreeEntry]()
        while place < len(data):
            end = data.find(b"\0", place)
            mode, blank, name = data[place:end].partition(b" ")
            place = end + 1 + _ID_BYTES
            if end < 0 or not blank or not mode or mode.strip(b"01234567") or place > len(data):
                raise self.damaged()
            found.append(TreeEntry(name, int(mode, 8), data[end + 1 : place].hex()))
        return found

    def _found(self, id_: str, near: Iterable[str]) -> _Found:
        with self._lock:
            if id_ not in self._known:
                more = islice((other for other in near if other not in self._known), AT_ONCE)
                self._read_bulk(list(dict.fromkeys((id_, *more))))
            if id_ not in self._known:
                raise self.damaged()
            self._known.move_to_end(id_)
            return self._known[id_]

    def _read_bulk(self, ids: Sequence[str]) -> None:
        """Keep as many of some objects as come; the first comes, unless it is damaged or not there."""
        data, place = self._repo.git.cat(ids, limit=BULK), 0
        for id_ in ids:
            end = data.find(b"\n", place)
            kind, _, count = data[place:end].decode("ascii", "replace").partition(" ")[2].partition(" ")
            if end < 0 or not count.isdecimal():
                if kind == "" and data[place:end].endswith(b" missing"):
                    place = end + 1
                    continue
                return
            if int(count) > LARGEST:
                self._keep(id_, _Found(kind, int(count), None))
                return
            place = end + 1 + int(count)
            whole = b"%s %s\0%s" % (kind.encode(), count.encode(), data[end + 1 : place])
            # Git does not compare contents with the id: whoever writes into a work tree's object folder could
            # put other files under a tree that somebody signed.
            if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != id_:
                return  # or it was cut off; in both cases it is not known where the next one begins
            self._keep(id_, _Found(kind, int(count), data[end + 1 : place]))
            place += 1

    def _keep(self, id_: str, found: _Found) -> None:
        self._known[id_] = found
        self._held += len(found.data or b"")
        while self._held > KEPT and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._held -= len(oldest.data or b"")

    def line(self, commit: str, most: int) -> list[str]:
        """Ids of a commit and of those before it along first parents, as far as git says."""
        options = ("--first-parent", f"--max-count={most}")
        git = self._repo.git
        _, out, _ = git.rev_list(*options, commit, "--", with_extended_output=True, with_exceptions=False)
        found: list[str] = out.split()
        return found

    def history(self, commit: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None where some of them are not there."""
        try:
            return frozenset(self._repo.git.rev_list(commit, "--").split())
        except GitCommandFailed:  # its way to say that there is no such commit
            return None

    def roots(self, commit: str) -> tuple[str, ...]:
        """Ids of the commits that a commit descends from and that have no parent, sorted; none if not there.

        A shallow clone gives the commits at its edge: ask only where the history is whole.
        """
        try:
            return tuple(sorted(self._repo.git.rev_list("--max-parents=0", commit, "--").split()))
        except GitCommandFailed:  # its way to say that there is no such commit
            return ()

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Ids of the nearest commits that both descend from, of which merges both ways leave several."""
        try:
            found: str = self._repo.git.merge_base("--all", one, other)
        except GitCommandFailed:  # one of them, or what comes before, is not here
            return []
        return found.split()


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
