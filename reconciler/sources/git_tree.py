"""The files of one commit, read from the object database as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.core.plan import Revision
from reconciler.core.ports import Snapshot
from reconciler.errors import SourceError
from reconciler.sources import content
from reconciler.sources.layout import Layout
from reconciler.sources.limits import Limits
from reconciler.sources.text import line, name, shown

if TYPE_CHECKING:
    import pygit2

SHORT = 12
LONGEST_LINK = 4096
LINK = 0o120000


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
    """The files of a commit; implements `core.ports.Files`."""

    repository: pygit2.Repository
    layout: Layout
    limits: Limits

    def names(self) -> Iterable[str]:
        """Paths of all files, sorted."""
        return self.layout.names()

    def read(self, path: str) -> bytes:
        """The bytes of one file as they were committed.

        Raises:
            FileNotFoundError: there is no such file.
            SourceError: it is a Git LFS pointer, too large, in a submodule or behind a wrong link.
        """
        blob = stored(self.repository, self.layout.files[self.layout.find(path)], where=self.layout.where)
        content.within(self.limits, where=self.layout.where, path=path, count=blob.size)
        return content.whole(blob.data, where=self.layout.where, path=path)


def snapshot(repository: pygit2.Repository, commit: str, place: Place) -> Snapshot:
    """The files of a commit, which has to be in the repository.

    Raises:
        SourceError: the commit has no such folder, or too many files.
    """
    found = stored(repository, commit, where=place.where)
    layout = _looked_at(repository, found.tree, place, commit[:SHORT])
    revision = Revision(
        source=f"{place.where}//{place.path}" if place.path else place.where,
        id=commit,
        short=commit[:SHORT],
        title=line(found.raw_message.decode("utf-8", "replace")),
    )
    return Snapshot(revision, CommitFiles(repository, layout, place.limits))


def _looked_at(repository: pygit2.Repository, tree: pygit2.Tree, place: Place, commit: str) -> Layout:
    """The wanted folder alone, or all of the commit where links lead out of that folder."""
    alone = _subtree(tree, place.path)
    if alone is not None:
        layout = _layout(repository, alone, place, place.path)
        if not layout.links:
            return layout
    found = _layout(repository, tree, place, "").below(place.path)
    if found is None:
        raise SourceError(
            f"{place.where}: there is no folder {shown(place.path)} at {commit}",
            remedy=f"Look at --path; at its top are: {', '.join(_top(tree))}.",
        )
    return found


def _subtree(tree: pygit2.Tree, path: str) -> pygit2.Tree | None:
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    for part in path.split("/") if path else ():
        if part not in tree:
            return None
        entry = tree[part]
        if not isinstance(entry, pygit2.Tree):
            return None
        tree = entry
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


def stored(repository: pygit2.Repository, key: pygit2.Oid | str, *, where: str) -> Any:
    """An object that has to be in the repository.

    Raises:
        Damaged: it is not, or cannot be read.
    """
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        return repository[key]
    except (KeyError, pygit2.GitError) as error:
        raise Damaged(where, repository.path) from error


@dataclass
class _Sorted:
    files: dict[str, pygit2.Oid] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)


def _layout(repository: pygit2.Repository, tree: pygit2.Tree, place: Place, base: str) -> Layout:
    found = _Sorted()
    for number, (path, entry) in enumerate(_walk(tree, f"{base}/" if base else ""), start=1):
        if number > place.limits.files:
            raise SourceError(
                f"{place.where} has more than {place.limits.files:,} files",
                remedy="Look at a folder of it with --path.",
            )
        if entry.filemode == LINK:
            target = stored(repository, entry.id, where=place.where)
            found.links[path] = name(target.data[:LONGEST_LINK])
        elif entry.type_str == "commit":
            found.closed[path] = "it is a submodule, and those are not fetched"
        else:
            found.files[path] = entry.id
    return Layout(place.where, found.files, found.links, found.closed, base, place.limits.files)


def _walk(tree: pygit2.Tree, prefix: str) -> Iterator[tuple[str, pygit2.Object]]:
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    for entry in tree:
        path = prefix + name(entry.raw_name or b"")
        if isinstance(entry, pygit2.Tree):
            yield from _walk(entry, f"{path}/")
        else:
            yield path, entry
