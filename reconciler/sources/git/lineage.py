"""The fleet file in the commits before one, read from the object database along first parents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from reconciler.core.prior import EarlierFile, EarlierFiles
from reconciler.errors import SourceError, UsageError
from reconciler.sources.git.refs import COMMIT_ID
from reconciler.sources.git.tree import TREE
from reconciler.sources.text import shown
from reconciler.text.one_line import SHORT_ID

if TYPE_CHECKING:  # it loads the library, which `no_history` has no need of
    from reconciler.sources.git.objects import Commit, Objects

COMMITS: Final = 500
"""Commits that are walked back."""

VERSIONS: Final = 20
"""Different versions of the fleet file that are read."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of one earlier fleet file."""

_BLOB: Final = {0o100644, 0o100664, 0o100755}

SHALLOW: Final = "the commits before {commit} are not in this clone, which is shallow or damaged"


def earlier_files(
    objects: Objects,
    revision: str,
    names: Sequence[str],
    *,
    path: str,
    base: str = "",
    applied: Sequence[str] = (),
) -> EarlierFiles:
    """The fleet files before a revision.

    Parents are read from the commits themselves: git leaves out those that a shallow clone lacks, which
    would look like the beginning of the history.

    Args:
        objects: of a repository that has the commit itself.
        revision: full id of a commit; with `+` and a digest behind it, of uncommitted changes on top of it.
        names: what a fleet file may be called.
        path: the folder in which it lies; empty for the root.
        base: full id of the commit into which the revision is to be merged; empty for the first parent.
        applied: ids of commits to look at besides.
    """
    commit, _, changes = revision.partition("+")
    start, unread = _start(objects, commit, base, changed=bool(changes))
    found: list[EarlierFile] = []
    last = ""
    if start and not unread:
        for id_, earlier in _walk(objects, start):
            if earlier is None:
                unread = SHALLOW.format(commit=id_[:SHORT_ID])
                break
            file = _file(objects, earlier.tree, names, path)
            if file is not None and file[1] != last:
                found.append(EarlierFile(id_, file[0], _data(objects, file[1])))
            last = file[1] if file is not None else ""
            if len(found) >= VERSIONS:
                break
    at: dict[str, EarlierFile] = {}
    for id_ in applied:
        own = _commit(objects, id_)
        file = _file(objects, own.tree, names, path) if own is not None else None
        if file is not None:
            at[id_] = EarlierFile(id_, file[0], _data(objects, file[1]))
    return EarlierFiles(tuple(found), at, unread)


def no_history(where: str, base: str) -> EarlierFiles:
    """What a source has that keeps no history.

    Raises:
        UsageError: a base is named, which only a git source has.
    """
    if base:
        raise UsageError(
            f"--base {base} is for a git source, and {where} is none",
            remedy="Leave --base out, or name a git repository.",
        )
    return EarlierFiles()


def unknown_base(base: str, where: str) -> SourceError:
    """The error for a base that is not there."""
    return SourceError(
        f"{where} has no branch, tag or commit {shown(base)} to compare with",
        remedy="Fetch it, or name another one with --base.",
    )


def _start(objects: Objects, commit: str, base: str, *, changed: bool) -> tuple[str, str]:
    """The commit to begin at, and why none is known; both are empty where nothing came before."""
    own = _commit(objects, commit)
    if own is None:
        return "", f"the commit {commit[:SHORT_ID]} is not in this clone"
    if changed:
        return commit, ""
    if base:
        shared = objects.merge_base(commit, base)
        if shared is None:
            return (
                "",
                f"this clone does not have the commit where {commit[:SHORT_ID]} leaves {base[:SHORT_ID]}",
            )
        if shared != commit:
            return shared, ""
    return next(iter(own.parents), ""), ""


def _walk(objects: Objects, start: str) -> Iterator[tuple[str, Commit | None]]:
    """Commits by their ids along first parents; None where one is missing, which ends it."""
    id_ = start
    for _ in range(COMMITS):
        commit = _commit(objects, id_)
        yield id_, commit
        if commit is None:
            return
        id_ = next(iter(commit.parents), "")
        if not id_:
            return


def _commit(objects: Objects, id_: str) -> Commit | None:
    """A commit, also by a tag of it or by the first digits of its id; None where it is not here."""
    if not COMMIT_ID.fullmatch(id_):
        return None
    try:
        found = objects.resolve(f"{id_}^{{commit}}")
        return objects.commit(found[0]) if found is not None else None
    except SourceError:
        return None


def _file(objects: Objects, tree: str, names: Sequence[str], path: str) -> tuple[str, str] | None:
    """The name and the id of the fleet file in a folder of a tree; None where it is not there as a file."""
    try:
        for part in path.split("/") if path else ():
            found = {entry.name: entry for entry in objects.tree(tree)}.get(part.encode())
            if found is None or found.mode != TREE:
                return None
            tree = found.id
        files = {entry.name: entry.id for entry in objects.tree(tree) if entry.mode in _BLOB}
    except SourceError:
        return None
    return next(((name, files[name.encode()]) for name in names if name.encode() in files), None)


def _data(objects: Objects, id_: str) -> bytes:
    """The content of a file; what is too large or missing is empty, and so no fleet file."""
    try:
        return objects.read(id_, "blob") if objects.size(id_) <= LARGEST else b""
    except SourceError:
        return b""
