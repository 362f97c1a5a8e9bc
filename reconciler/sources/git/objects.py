"""Objects, refs and ancestry of a repository whose configuration this program wrote, by GitPython's `Repo`.

Objects are read through `Repo.odb`, whose two git processes answer one request after another: GitPython's
reader for pack files (GitDB) is deprecated, and a process for each object would cost milliseconds. 3,000
files of a mirror are read in about 0.1 s.

Commits and trees are taken apart here, from the bytes: `Repo.commit` decodes a message by whatever encoding
the commit itself names, and `Tree` has names without the bytes that they are made of.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.host.process import check_cancelled
from reconciler.sources.git.command import Git, GitFailed, GitSettings, Repository
from reconciler.sources.git.discovery import check_objects
from reconciler.sources.git.errors import Damaged
from reconciler.sources.git.library import (
    GitCmdObjectDB,
    InvalidGitRepositoryError,
    NoSuchPathError,
    Repo,
    SymbolicReference,
)
from reconciler.sources.limits import LIMITS
from reconciler.text.one_line import size

LARGEST = LIMITS.file_bytes
"""Bytes of any object at most."""

HEX = 40
"""Digits of an object's full id."""

_ID_BYTES = 20


@dataclass(frozen=True, slots=True)
class Commit:
    """What counts of a commit: ids of its tree and of its parents, and its message as it was written."""

    tree: str
    parents: tuple[str, ...]
    message: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a tree: its name as it was written, its mode, and the id of what it names."""

    name: bytes
    mode: int
    id: str


class OwnRepo(Repo):
    """A repository of ours, which GitPython reads by our command class and nothing else."""

    GitCommandWrapperType = Git

    def __init__(self, settings: GitSettings) -> None:
        assert settings.repository is not None
        directory = settings.repository.directory
        super().__init__(directory, expand_vars=False)
        # The library takes these from this process's environment, which a hook of git may have set.
        self._common_dir = ""
        self._working_tree_dir = None
        self.git = Git(directory, settings=settings)
        self.odb = GitCmdObjectDB(os.path.join(directory, "objects"), self.git)  # noqa: PTH118  (the library's)


class Objects:
    """Reads one repository; objects are bounded, and their contents are what their ids say.

    Args:
        repository: what is read.
        environment: of this process.
        where: the repository, for messages.

    Raises:
        Damaged: it is no repository.
        SourceError: it takes objects from elsewhere, or something in the place of an object cannot be read.
    """

    def __init__(self, repository: Repository, environment: Mapping[str, str], *, where: str) -> None:
        self.where = where
        self.directory = repository.directory
        alternates = os.path.join(repository.directory, "objects/info/alternates")  # noqa: PTH118
        if os.path.lexists(alternates):
            # No option of git's keeps it from reading them. A fetch writes none, so somebody else did.
            raise SourceError(
                f"{where}: the local copy takes objects from elsewhere, which {alternates} names",
                remedy=f"Find out who wrote that file, then delete {repository.directory}.",
            )
        if repository.objects:
            check_objects(Path(repository.objects))
        try:
            self._repo = OwnRepo(GitSettings.local(environment, repository))
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise self.damaged() from error
        self._lock = threading.Lock()
        # The library's parser of configuration is a circle that holds its Repo: without this the processes
        # would go on until the interpreter happens to look for circles.
        weakref.finalize(self, self._repo.git.clear_cache)

    def damaged(self) -> Damaged:
        """The error for what has to be there and is not."""
        return Damaged(self.where, self.directory)

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
        with self._lock:
            try:
                id_, kind, count = self._repo.git.get_object_header(name)
            except ValueError as error:
                if "missing" in str(error):
                    return None
                raise self._failed() from error
            except OSError as error:
                raise self._failed() from error
        return _text(id_), _text(kind), count

    def matching(self, prefix: str) -> list[str]:
        """Ids of all objects that begin so."""
        found: str = self._repo.git.rev_parse(f"--disambiguate={prefix}")
        return found.split()

    def size(self, id_: str) -> int:
        """The bytes of an object that has to be there.

        Raises:
            Damaged: it is not.
        """
        found = self.resolve(id_)
        if found is None:
            raise self.damaged()
        return found[2]

    def read(self, id_: str, kind: str) -> bytes:
        """The contents of an object that has to be there.

        Git itself does not compare them with the id: whoever writes into a work tree's object folder could
        put other files under a tree that somebody signed.

        Raises:
            Damaged: it is not there, is of another kind, or is not what its id says.
            SourceError: it is larger than anything that is read.
        """
        # The header first: an object of gigabytes packs into kilobytes, and is whole in memory once read.
        found = self.resolve(id_)
        if found is None or found[1] != kind:
            raise self.damaged()
        if (count := found[2]) > LARGEST:
            raise SourceError(
                f"{self.where}: the object {id_} of the commit has {size(count)}, more than the "
                f"{size(LARGEST)} that are read",
                remedy="Keep large files out of the desired state.",
            )
        with self._lock:
            try:
                data: bytes = self._repo.odb.stream(bytes.fromhex(id_)).read()
            except (OSError, ValueError) as error:
                raise self._failed() from error
        whole = b"%s %d\0%s" % (kind.encode(), count, data)
        if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != id_:
            raise self._failed()
        return data

    def commit(self, id_: str) -> Commit:
        """A commit that has to be there.

        Raises:
            Damaged: it is not, or cannot be taken apart.
            SourceError: it is larger than anything that is read.
        """
        head, _, message = self.read(id_, "commit").partition(b"\n\n")
        named = [line.partition(b" ")[::2] for line in head.split(b"\n")]
        trees = [_text(value) for key, value in named if key == b"tree"]
        if not trees:
            raise self.damaged()
        return Commit(trees[0], tuple(_text(value) for key, value in named if key == b"parent"), message)

    def tree(self, id_: str) -> Iterator[Entry]:
        """The entries of a tree that has to be there.

        Raises:
            Damaged: it is not, or cannot be taken apart.
            SourceError: it is larger than anything that is read.
        """
        data, place = self.read(id_, "tree"), 0
        while place < len(data):
            end = data.find(b"\0", place)
            mode, blank, name = data[place:end].partition(b" ")
            place = end + 1 + _ID_BYTES
            if end < 0 or not blank or mode.strip(b"01234567") or place > len(data):
                raise self.damaged()
            yield Entry(name, int(mode, 8), data[end + 1 : place].hex())

    def history(self, commit: str) -> frozenset[str] | None:
        """Ids of a commit and of all that it descends from; None where some of them are not there."""
        try:
            return frozenset(self._repo.git.rev_list(commit, "--").split())
        except GitFailed:  # its way to say that there is no such commit
            return None

    def merge_base(self, one: str, other: str) -> str | None:
        """The id of the nearest commit that both descend from; None where none is here."""
        try:
            found: str = self._repo.git.merge_base(one, other)
        except GitFailed:  # one of them, or what comes before, is not here
            return None
        return found

    def _failed(self) -> Damaged:
        """The error for a git that gave no answer; the next question gets a new one.

        Raises:
            WorkCancelled: it gave none because it was killed; what it read is as good as before.
        """
        self._repo.git.clear_cache()
        check_cancelled()
        return self.damaged()


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
