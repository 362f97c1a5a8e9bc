"""The fleet file in the commits before one, read from the object database along first parents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.prior import EarlierFile, EarlierFiles
from reconciler.errors import SourceError, UsageError
from reconciler.sources.text import shown
from reconciler.text.one_line import SHORT_ID

if TYPE_CHECKING:
    import pygit2

COMMITS: Final = 500
"""Commits that are walked back."""

VERSIONS: Final = 20
"""Different versions of the fleet file that are read."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of one earlier fleet file."""

_BLOB: Final = {0o100644, 0o100664, 0o100755}

SHALLOW: Final = "the commits before {commit} are not in this clone, which is shallow or damaged"


def earlier_files(
    repository: pygit2.Repository,
    revision: str,
    names: Sequence[str],
    *,
    path: str,
    base: str = "",
    applied: Sequence[str] = (),
) -> EarlierFiles:
    """The fleet files before a revision.

    Parents are read from the commits themselves: the library leaves out those that a shallow clone lacks,
    which would look like the beginning of the history.

    Args:
        repository: has the commit itself.
        revision: full id of a commit; with `+` and a digest behind it, of uncommitted changes on top of it.
        names: what a fleet file may be called.
        path: the folder in which it lies; empty for the root.
        base: full id of the commit into which the revision is to be merged; empty for the first parent.
        applied: ids of commits to look at besides.
    """
    commit, _, changes = revision.partition("+")
    start, unread = _start(repository, commit, base, changed=bool(changes))
    found: list[EarlierFile] = []
    last: Any = None
    if start and not unread:
        for id_, tree in _walk(repository, start):
            if tree is None:
                unread = SHALLOW.format(commit=id_[:SHORT_ID])
                break
            file = _file(tree, names, path)
            if file is not None and file[1] != last:
                found.append(EarlierFile(id_, file[0], _data(repository, file[1])))
            last = file[1] if file is not None else None
            if len(found) >= VERSIONS:
                break
    at: dict[str, EarlierFile] = {}
    for id_ in applied:
        own = _commit(repository, id_)
        file = _file(own.tree, names, path) if own is not None else None
        if file is not None:
            at[id_] = EarlierFile(id_, file[0], _data(repository, file[1]))
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


def _start(repository: pygit2.Repository, commit: str, base: str, *, changed: bool) -> tuple[str, str]:
    """The commit to begin at, and why none is known; both are empty where nothing came before."""
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    own = _commit(repository, commit)
    if own is None:
        return "", f"the commit {commit[:SHORT_ID]} is not in this clone"
    if changed:
        return commit, ""
    if base:
        try:
            target = _commit(repository, base)
            shared = repository.merge_base(commit, target.id) if target is not None else None
        except (KeyError, ValueError, pygit2.GitError):
            shared = None
        if shared is None:
            return (
                "",
                f"this clone does not have the commit where {commit[:SHORT_ID]} leaves {base[:SHORT_ID]}",
            )
        if str(shared) != commit:
            return str(shared), ""
    return next(iter(_parents(own)), ""), ""


def _walk(repository: pygit2.Repository, start: str) -> Iterator[tuple[str, Any]]:
    """(id, tree) along first parents; the tree is None where the commit is missing, which ends it."""
    id_ = start
    for _ in range(COMMITS):
        commit = _commit(repository, id_)
        yield id_, commit.tree if commit is not None else None
        if commit is None:
            return
        id_ = next(iter(_parents(commit)), "")
        if not id_:
            return


def _commit(repository: pygit2.Repository, id_: str) -> Any:
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        found = repository.get(id_)
        return found.peel(pygit2.Commit) if found is not None else None
    except (ValueError, KeyError, pygit2.GitError):
        return None


def _parents(commit: Any) -> list[str]:
    """Ids of the parents as the commit itself names them."""
    head = commit.read_raw().partition(b"\n\n")[0].decode("utf-8", "replace")
    return [line.removeprefix("parent ") for line in head.splitlines() if line.startswith("parent ")]


def _file(tree: Any, names: Sequence[str], path: str) -> tuple[str, Any] | None:
    """The name and the id of the fleet file in a folder of a tree; None where it is not there as a file."""
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        for part in path.split("/") if path else ():
            tree = tree[part]
        found = [name for name in names if name in tree and tree[name].filemode in _BLOB]
    except (KeyError, TypeError, pygit2.GitError):
        return None
    return (found[0], tree[found[0]].id) if found else None


def _data(repository: pygit2.Repository, id_: Any) -> bytes:
    """The content of a file; what is too large or missing is empty, and so no fleet file."""
    import pygit2  # noqa: PLC0415  (only git sources pay for it)

    try:
        _, size = repository.odb.read_header(id_)
        blob: Any = repository[id_] if size <= LARGEST else None
        return bytes(blob.data) if blob is not None else b""
    except (KeyError, ValueError, pygit2.GitError):
        return b""
