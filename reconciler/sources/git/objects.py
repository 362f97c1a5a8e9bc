"""Objects, refs and ancestry of a repository whose configuration this program wrote, by GitPython's `Repo`.

Refs and ancestry come from the library. Objects are read by the same command class, `Git.cat`, in batches,
instead of by `Repo.odb`: that keeps a process and asks it for one object at a time, which for 3,000 files on
a busy machine takes 1 to 4 seconds, where a batch takes 0.05. It also blocks on an object that is shorter
than its header says, which anyone can make. Its own reader of pack files (GitDB) is deprecated.

Commits and trees are parsed here, from the bytes: `Repo.commit` decodes a message by the encoding that the
commit itself declares, and `Tree` has decoded names without their bytes.
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

BATCH = LARGEST + 1024
"""Bytes of one batch: enough for the first object, if it is not larger than `LARGEST`."""

KEPT = 4 * LARGEST
"""Bytes of recent objects in memory."""

AT_ONCE = 5_000
"""Objects of one batch."""

FULL_ID = re.compile("[0-9a-f]{40}")
_ID_BYTES = 20


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: ids of its tree and of its parents, and its message as written."""

    tree: str
    parents: tuple[str, ...]
    message: bytes


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """An entry of a tree: its name as written, its mode, and the id of its object."""

    name: bytes
    mode: int
    id: str


@dataclass(frozen=True, slots=True)
class _Found:
    """An object: kind, bytes, and contents; None for contents that are too large."""

    kind: str
    size: int
    data: bytes | None


class OwnRepository(Repo):
    """A repository of ours, which GitPython reads by our command class alone."""

    GitCommandWrapperType = Git
    git: Git

    def __init__(self, settings: GitSettings) -> None:
        assert settings.repository is not None
        directory = settings.repository.directory
        super().__init__(directory, expand_vars=False)
        # The library takes these from the environment of this process, where a hook of git may have set them.
        self._common_dir = ""
        self._working_tree_dir = None
        self.git = Git(directory, settings=settings)
        self.odb = GitCmdObjectDB(os.path.join(directory, "objects"), self.git)  # noqa: PTH118  (the library's)


class ObjectReader:
    """Reads one repository; objects are bounded, and their contents are checked against their ids.

    Args:
        repository: to read.
        environment: of this process.
        where: the repository, for messages.

    Raises:
        DamagedMirror: it is not a repository.
        SourceError: it uses objects of another repository, or an object cannot be read.
    """

    def __init__(self, repository: GitDirectory, environment: Mapping[str, str], *, where: str) -> None:
        self.where = where
        self.directory = repository.directory
        alternates = os.path.join(repository.directory, "objects/info/alternates")  # noqa: PTH118
        if os.path.lexists(alternates):
            # No option makes git ignore this file. A fetch never writes it, so somebody else did.
            raise SourceError(
                f"{where}: the local copy uses objects of another repository, which {alternates} names",
                remedy=f"find out who wrote that file, then delete {repository.directory}",
            )
        if repository.objects:
            check_objects(Path(repository.objects))
        try:
            self._repo = OwnRepository(GitSettings.local(environment, repository))
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise self.damaged() from error
        self._lock = threading.RLock()  # reentrant: the iterable `near` may itself read objects
        self._known: OrderedDict[str, _Found] = OrderedDict()
        self._held = 0

    def damaged(self) -> DamagedMirror:
        """The error for an object that must exist and does not."""
        return DamagedMirror(self.where, self.directory)

    def ref(self, name: str) -> str | None:
        """The id that a ref names; None if there is none, or it cannot be read."""
        try:
            return SymbolicReference.dereference_recursive(self._repo, name)
        except (AssertionError, OSError, ValueError):  # AssertionError: an empty file
            return None

    def resolve(self, name: str) -> tuple[str, str, int] | None:
        """Id, kind and bytes of an object by its id, or by `ID^{KIND}`; None if there is none.

        Raises:
            DamagedMirror: git cannot read it.
        """
        data = self._repo.git.cat([name], limit=BATCH)
        fields = data.partition(b"\n")[0].decode("ascii", "replace").split(" ")
        if fields[-1] == "missing":
            return None
        if len(fields) != 3 or not FULL_ID.fullmatch(fields[0]) or not fields[2].isdecimal():  # noqa: PLR2004
            raise self.damaged()
        return fields[0], fields[1], int(fields[2])

    def matching(self, prefix: str) -> list[str]:
        """Ids of all objects that begin with these digits."""
        found: str = self._repo.git.rev_parse(f"--disambiguate={prefix}")
        return found.split()

    def kind(self, id_: str, near: Iterable[str] = ()) -> str:
        """The kind of an object that must exist; see `size`."""
        return self._found(id_, near).kind

    def size(self, id_: str, near: Iterable[str] = ()) -> int:
        """The size in bytes of an object that must exist.

        Args:
            id_: its full id.
            near: ids of objects that are likely to be needed next.

        Raises:
            DamagedMirror: it is missing, or does not match its id.
        """
        return self._found(id_, near).size

    def read(self, id_: str, kind: str, near: Iterable[str] = ()) -> bytes:
        """The contents of an object that must exist.

        Args:
            id_: its full id.
            kind: `blob`, `commit` or `tree`.
            near: ids of objects that are likely to be needed next.

        Raises:
            DamagedMirror: it is missing, is of another kind, or does not match its id.
            SourceError: it is larger than `LARGEST`.
        """
        found = self._found(id_, near)
        if found.kind != kind:
            raise self.damaged()
        if found.data is None:
            raise SourceError(
                f"{self.where}: the object {id_} of the commit has {format_size(found.size)}; the limit is "
                f"{format_size(LARGEST)}",
                remedy="keep large files out of the desired state",
            )
        return found.data

    def commit(self, id_: str, near: Iterable[str] = ()) -> Commit:
        """A commit that must exist; see `read`.

        Raises:
            DamagedMirror: it is missing, or cannot be parsed.
            SourceError: it is larger than `LARGEST`.
        """
        head, _, message = self.read(id_, "commit", near).partition(b"\n\n")
        named = [line.partition(b" ")[::2] for line in head.split(b"\n")]
        trees = [_decode_ascii(value) for key, value in named if key == b"tree"]
        parents = [_decode_ascii(value) for key, value in named if key == b"parent"]
        # The author of a commit may write an option of git, or the name of another object, instead of an id.
        if not trees or not all(map(FULL_ID.fullmatch, (*trees, *parents))):
            raise self.damaged()
        return Commit(trees[0], tuple(parents), message)

    def tree(self, id_: str, near: Iterable[str] = ()) -> list[TreeEntry]:
        """The entries of a tree that must exist; see `read`.

        Raises:
            DamagedMirror: it is missing, or cannot be parsed.
            SourceError: it is larger than `LARGEST`.
        """
        data, offset, found = self.read(id_, "tree", near), 0, list[TreeEntry]()
        while offset < len(data):
            end = data.find(b"\0", offset)
            mode, blank, name = data[offset:end].partition(b" ")
            offset = end + 1 + _ID_BYTES
            if end < 0 or not blank or not mode or mode.strip(b"01234567") or offset > len(data):
                raise self.damaged()
            found.append(TreeEntry(name, int(mode, 8), data[end + 1 : offset].hex()))
        return found

    def _found(self, id_: str, near: Iterable[str]) -> _Found:
        with self._lock:
            if id_ not in self._known:
                more = islice((other for other in near if other not in self._known), AT_ONCE)
                self._read_batch(list(dict.fromkeys((id_, *more))))
            if id_ not in self._known:
                raise self.damaged()
            self._known.move_to_end(id_)
            return self._known[id_]

    def _read_batch(self, ids: Sequence[str]) -> None:
        """Read objects and keep those that fit a batch; the first one fits unless damaged or missing."""
        data, offset = self._repo.git.cat(ids, limit=BATCH), 0
        for id_ in ids:
            end = data.find(b"\n", offset)
            kind, _, count = data[offset:end].decode("ascii", "replace").partition(" ")[2].partition(" ")
            if end < 0 or not count.isdecimal():
                if kind == "" and data[offset:end].endswith(b" missing"):
                    offset = end + 1
                    continue
                return
            # The batch was cut within this object: where the next one begins is unknown.
            if int(count) > LARGEST:
                self._keep(id_, _Found(kind, int(count), None))
                return
            offset = end + 1 + int(count)
            whole = b"%s %s\0%s" % (kind.encode(), count.encode(), data[end + 1 : offset])
            # Git does not compare contents with the id: who can write into the object folder of a work tree
            # could put other files under a signed tree.
            if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != id_:
                return  # damaged, or cut at the limit: in both cases the start of the next one is unknown
            self._keep(id_, _Found(kind, int(count), data[end + 1 : offset]))
            offset += 1

    def _keep(self, id_: str, found: _Found) -> None:
        self._known[id_] = found
        self._held += len(found.data or b"")
        while self._held > KEPT and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._held -= len(oldest.data or b"")

    def line(self, commit: str, most: int) -> list[str]:
        """Ids of a commit and of those before it along first parents, as far as git has them."""
        options = ("--first-parent", f"--max-count={most}")
        git = self._repo.git
        _, out, _ = git.rev_list(*options, commit, "--", with_extended_output=True, with_exceptions=False)
        found: list[str] = out.split()
        return found

    def history(self, commit: str) -> frozenset[str] | None:
        """Ids of a commit and of its ancestors; None if some of them are missing."""
        try:
            return frozenset(self._repo.git.rev_list(commit, "--").split())
        except GitCommandFailed:  # git ends so if there is no such commit
            return None

    def roots(self, commit: str) -> tuple[str, ...]:
        """Ids of the first commits in the history of a commit, sorted; none if it is missing.

        A shallow clone gives the commits at its edge: call it only if the history is complete.
        """
        try:
            return tuple(sorted(self._repo.git.rev_list("--max-parents=0", commit, "--").split()))
        except GitCommandFailed:  # git ends so if there is no such commit
            return ()

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Ids of the nearest common ancestors; after merges in both directions there are several."""
        try:
            found: str = self._repo.git.merge_base("--all", one, other)
        except GitCommandFailed:  # one of them, or its history, is missing
            return []
        return found.split()


def _decode_ascii(value: bytes) -> str:
    return value.decode("ascii", "replace")
