"""The files of one commit, read from the object database as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.core.plan import Revision
from reconciler.errors import SourceError
from reconciler.ports.source import Snapshot
from reconciler.sources import content
from reconciler.sources.content import Counts
from reconciler.sources.git.command import Repository
from reconciler.sources.git.discovery import check_objects
from reconciler.sources.layout import Layout
from reconciler.sources.limits import LIMITS, Limits
from reconciler.sources.text import line, name, shown
from reconciler.text.one_line import SHORT_ID, size

if TYPE_CHECKING:
    import pygit2

LINK = 0o120000
TREE = 0o040000
SUBMODULE = 0o160000
LARGEST = LIMITS.file_bytes
"""Bytes of any object at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is looked at.

    Args:
        where: the repository, for messages.
        path: the folder in it; empty for its root.
        limits: bounds on what is read.
    """

    where: str
    path: str
    limits: Limits


@dataclass(frozen=True)
class CommitFiles:
    """The files of a commit; implements `ports.source.Files`."""

    repository: pygit2.Repository
    layout: Layout
    place: Place
    budget: content.Budget

    def names(self) -> Iterable[str]:
        """Paths of all files, sorted."""
        return self.layout.names()

    def read(self, path: str) -> bytes:
        """The bytes of one file as they were committed.

        Raises:
            FileNotFoundError: there is no such file.
            SourceError: it is a Git LFS pointer, too large, in a submodule or behind a wrong link.
        """
        full = self.layout.find(path)
        blob = _blob(self.repository, self.layout.files[full], self.place, path)
        self.budget.spend(full, blob.size)
        return content.whole(blob.data, where=self.layout.where, path=path)


def snapshot(repository: pygit2.Repository, commit: str, place: Place) -> Snapshot:
    """The files of a commit, which has to be in the repository.

    Raises:
        SourceError: the commit has no such folder, or too many files.
    """
    found = stored(repository, commit, place)
    layout = _looked_at(repository, stored(repository, found.tree_id, place), place, commit[:SHORT_ID])
    revision = Revision(
        source=f"{place.where}//{place.path}" if place.path else place.where,
        id=commit,
        short=commit[:SHORT_ID],
        title=line(found.raw_message.decode("utf-8", "replace")),
    )
    budget = content.Budget(place.where, place.limits)
    return Snapshot(revision, CommitFiles(repository, layout, place, budget))


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has in one folder.

    Args:
        commit: its full id.
        title: the first line of its message.
        files: path from the folder -> id of the contents.
        links: path from the folder -> id of the target's text.
    """

    commit: str
    title: str
    files: Mapping[str, str]
    links: Mapping[str, str]


def committed(repository: pygit2.Repository, commit: str, place: Place) -> Committed | None:
    """What a commit has in a folder; None where it has no such folder. Submodules are left out.

    Raises:
        SourceError: it has too much there, or an object is missing.
    """
    found = stored(repository, commit, place)
    if not hasattr(found, "tree_id"):
        raise SourceError(f"{place.where}: {commit} is not a commit", remedy="Run `git fsck`.")
    tree = _subtree(repository, stored(repository, found.tree_id, place), place)
    if tree is None:
        return None
    counts = Counts(place.where, place.limits)
    ids: dict[int, dict[str, str]] = {LINK: {}, 0: {}}
    for path, entry in _walk(repository, tree, "", place, counts):
        counts.file(path)
        if entry.filemode != SUBMODULE:
            ids[LINK if entry.filemode == LINK else 0][path] = str(entry.id)
    return Committed(commit, line(found.raw_message.decode("utf-8", "replace")), ids[0], ids[LINK])


def _looked_at(repository: pygit2.Repository, tree: pygit2.Tree, place: Place, commit: str) -> Layout:
    """The wanted folder alone, or all of the commit where links lead out of that folder."""
    alone = _subtree(repository, tree, place)
    if alone is not None:
        layout = _layout(repository, alone, place, place.path)
        if not layout.links:
            return layout
    found = _layout(repository, tree, place, "").below(place.path)
    if found is None:
        raise SourceError(
            f"{place.where}: there is no folder {shown(place.path)} at {commit}",
            remedy=f"Commit it, or look at the path; at the top are: {', '.join(_top(tree))}.",
        )
    return found


def _subtree(repository: pygit2.Repository, tree: pygit2.Tree, place: Place) -> pygit2.Tree | None:
    for part in place.path.split("/") if place.path else ():
        named = [entry for entry in tree if name(entry.raw_name or b"") == part]
        if not named or named[0].filemode != TREE:
            return None
        tree = stored(repository, named[0].id, place)
    return tree


def _top(tree: pygit2.Tree) -> list[str]:
    return [shown(name(entry.raw_name or b"")) for entry in tree if entry.type_str == "tree"][:8] or [
        "no folders"
    ]


class Damaged(SourceError):
    """The local copy lacks what it should have; made anew it is whole again."""

    def __init__(self, where: str, folder: str) -> None:
        super().__init__(
            f"{where}: the local copy of the repository is damaged", remedy=f"Delete {folder} and try again."
        )


def opened(folder: str, *, where: str) -> pygit2.Repository:
    """The bare repository in a folder.

    Raises:
        Damaged: it is none.
    """
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        return pygit2.Repository(folder, pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as error:
        raise Damaged(where, folder) from error


def seen(own: Repository, *, where: str) -> pygit2.Repository:
    """A git directory of ours with the objects of another repository, for reading.

    Raises:
        Damaged: it is none.
        SourceError: something in the place of an object cannot be read.
    """
    repository = opened(own.directory, where=where)
    if own.objects:
        check_objects(Path(own.objects))
        repository.odb.add_disk_alternate(own.objects)
    return repository


def stored(repository: pygit2.Repository, key: pygit2.Oid | str, place: Place) -> Any:
    """An object that has to be in the repository.

    Raises:
        Damaged: it is not, or cannot be read.
        SourceError: it is larger than anything that is read.
    """
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        # The header first: an object of gigabytes packs into kilobytes, and is whole in memory once read.
        _, count = repository.odb.read_header(key if isinstance(key, pygit2.Oid) else pygit2.Oid(hex=key))
        if count <= LARGEST:
            return repository[key]
    except (KeyError, pygit2.GitError) as error:
        raise Damaged(place.where, repository.path) from error
    raise SourceError(
        f"{place.where}: the object {key} of the commit has {size(count)}, more than the "
        f"{size(LARGEST)} that are read",
        remedy="Keep large files out of the desired state.",
    )


def _blob(repository: pygit2.Repository, key: pygit2.Oid, place: Place, path: str) -> Any:
    """A file's contents; as `stored`, with the file's name in the message."""
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        _, count = repository.odb.read_header(key)
    except (KeyError, pygit2.GitError) as error:
        raise Damaged(place.where, repository.path) from error
    content.within(place.limits, where=place.where, path=path, count=count)
    return stored(repository, key, place)


@dataclass
class _Sorted:
    files: dict[str, pygit2.Oid] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)


def _layout(repository: pygit2.Repository, tree: pygit2.Tree, place: Place, base: str) -> Layout:
    """What is below a tree, sorted."""
    found, counts = _Sorted(), Counts(place.where, place.limits)
    for path, entry in _walk(repository, tree, f"{base}/" if base else "", place, counts):
        if entry.filemode == LINK:
            target = name(_blob(repository, entry.id, place, path).data)
            counts.link(path, target)
            found.links[path] = target
        elif entry.filemode == SUBMODULE:
            counts.file(path)
            found.closed[path] = "it is a submodule, and those are not fetched"
        else:
            counts.file(path)
            found.files[path] = entry.id
    return Layout(place.where, found.files, found.links, found.closed, base, place.limits.files)


def _walk(
    repository: pygit2.Repository, tree: pygit2.Tree, prefix: str, place: Place, counts: Counts
) -> Iterator[tuple[str, pygit2.Object]]:
    """Everything below a tree that is not a folder, by its path.

    A commit of a few kilobytes can nest trees without end for a walk: thousands of levels, or one tree
    that holds another ten times, which holds another ten times. So the walk has no recursion, and folders
    count, also empty ones.
    """
    todo = [(tree, prefix)]
    while todo:
        folder, before = todo.pop()
        for path, entry in _entries(folder, before, place.where):
            if entry.filemode == TREE:
                counts.folder(path)
                todo.append((stored(repository, entry.id, place), f"{path}/"))
            else:
                yield path, entry


def _entries(tree: pygit2.Tree, prefix: str, where: str) -> Iterator[tuple[str, pygit2.Object]]:
    """The entries of one tree by their paths.

    Raises:
        SourceError: two have the same name, or one has a name that no file can have.
    """
    before: set[str] = set()
    for entry in tree:
        own = name(entry.raw_name or b"")
        # git writes no such tree, but everybody can: `a/b` in one tree stands for what another tree holds.
        if own in ("", ".", "..") or "/" in own or own in before:
            raise SourceError(
                f"{where}: the commit is damaged: a folder of it has the entry {shown(prefix + own)}, "
                "which is a name that no file can have, or is there twice",
                remedy="Make the commit anew; `git fsck` tells more.",
            )
        before.add(own)
        yield prefix + own, entry
