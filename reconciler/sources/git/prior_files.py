"""The fleet file in the commits before one, read from the object database along first parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from reconciler.core.prior_revisions import PriorFile, PriorFiles
from reconciler.errors import SourceError, UsageError
from reconciler.ports.source import Snapshot
from reconciler.sources.git.refs import COMMIT_ID, FULL
from reconciler.sources.git.tree import TREE, TreeLocation, make_snapshot
from reconciler.text.one_line import SHORT_ID, decode_name, quote_path

if TYPE_CHECKING:  # it loads the library, which `make_empty_history` has no need of
    from reconciler.sources.git.objects import Commit, ObjectReader, TreeEntry

COMMITS: Final = 500
"""Commits that are walked back."""

MOST_BASES: Final = 16
"""Commits that a revision and its base both descend from, of which merges both ways leave several."""

DEEPEST: Final = 32
"""Levels of folders that are compared."""

VERSIONS: Final = 20
"""Different versions of the fleet file that are read."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of one earlier fleet file."""

MOST_OTHERS: Final = 2_000
"""Files that an earlier revision has otherwise and that are read."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all of them."""

_SETTINGS: Final = (b".json", b".yaml", b".yml")
_BLOB: Final = {0o100644, 0o100664, 0o100755}

SHALLOW: Final = "this clone is shallow or damaged: it does not contain the commits before {commit}"


def read_prior_files(
    objects: ObjectReader,
    revision: str,
    names: Sequence[str],
    *,
    path: str,
    base: str = "",
    applied: Sequence[str] = (),
) -> PriorFiles:
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
    starts, unread = _starts(objects, commit, base, changed=bool(changes))
    start = next(iter(starts), "")
    # Where no fleet file is asked for, what counts is the one commit before.
    line = _line(objects, start, COMMITS if names else 1) if start and not unread else []
    files = _files(objects, [earlier.tree for _, earlier in line if earlier is not None], names, path)
    near = [file[1] for file in files.values()]
    found: list[PriorFile] = []
    last = ""
    for id_, earlier in line:
        if earlier is None:
            unread = SHALLOW.format(commit=id_[:SHORT_ID])
            break
        file = files.get(earlier.tree)
        if file is not None and file[1] != last:
            found.append(PriorFile(id_, file[0], _data(objects, file[1], near)))
        last = file[1] if file is not None else ""
        if len(found) >= VERSIONS:
            break
    bases = list(_at(objects, starts[1:], names, path))
    at: dict[str, PriorFile] = {}
    compared = {id_: earlier.tree for id_, earlier in line[:1] if earlier is not None}
    for id_ in applied:
        own = _commit(objects, id_, applied)
        if own is not None:
            compared[id_] = own.tree
        file = _files(objects, [own.tree], names, path).get(own.tree) if own is not None else None
        if file is not None:
            at[id_] = PriorFile(id_, file[0], _data(objects, file[1], near))
    now = None if changes else _commit(objects, commit)
    others = _others(objects, now.tree if now else "", compared, path)
    return PriorFiles(tuple(found), at, unread, tuple(others), base, tuple(bases))


def _at(
    objects: ObjectReader, commits: Sequence[str], names: Sequence[str], path: str
) -> Iterator[PriorFile]:
    """The fleet files that commits have, of those that have one."""
    for id_ in commits:
        own = _commit(objects, id_)
        file = _files(objects, [own.tree], names, path).get(own.tree) if own is not None else None
        if file is not None:
            yield PriorFile(id_, file[0], _data(objects, file[1], ()))


def _others(objects: ObjectReader, now: str, trees: Mapping[str, str], path: str) -> Iterator[PriorFile]:
    """The settings files below a folder that earlier trees have and another one has not, or not so.

    Args:
        objects: of the repository.
        now: the tree that is compared with; empty where what lies there is not known.
        trees: commit -> its tree.
        path: the folder.
    """
    budget, known = MOST_BYTES, set[str]()
    present = _below(objects, now, path) if now else ""
    for commit, tree in trees.items():
        todo = [("", _below(objects, tree, path), present)]
        while todo:
            folder, old, new = todo.pop()
            if not old or old == new or folder.count("/") > DEEPEST:
                continue
            there = _entries(objects, new, ()) if new else {}
            for name, entry in sorted(_entries(objects, old, ()).items()):
                other = there.get(name)
                if other is not None and other.id == entry.id:
                    continue
                if entry.mode == TREE:
                    below = other.id if other is not None and other.mode == TREE else ""
                    todo.append((f"{folder}{decode_name(name)}/", entry.id, below))
                elif entry.mode in _BLOB and name.endswith(_SETTINGS) and entry.id not in known:
                    data = _data(objects, entry.id, ())
                    known.add(entry.id)
                    budget -= len(data)
                    if budget < 0 or len(known) > MOST_OTHERS:
                        return
                    yield PriorFile(commit, folder + decode_name(name), data)


def _below(objects: ObjectReader, tree: str, path: str) -> str:
    """The id of a folder's tree within a tree; empty where there is none."""
    for part in path.split("/") if path else ():
        entry = _entries(objects, tree, ()).get(part.encode())
        if entry is None or entry.mode != TREE:
            return ""
        tree = entry.id
    return tree


def walk_first_parents(
    objects: ObjectReader, commit: str, place: TreeLocation, most: int
) -> Iterator[Snapshot]:
    """A commit and those before it along first parents, as far as they are here and have the folder.

    Args:
        objects: of a repository.
        commit: its id, or the first digits of it that a stamp has.
        place: the folder.
        most: how many at most.
    """
    start = commit if len(commit) == FULL else _full(objects, commit)
    for id_, own in _line(objects, start, COMMITS)[:most] if start else ():
        if own is None:
            return
        try:
            yield make_snapshot(objects, id_, place)
        except SourceError:
            return


def _full(objects: ObjectReader, digits: str) -> str:
    """The id of the one commit that begins so; empty where there is none, or several."""
    found = objects.matching(digits) if COMMIT_ID.fullmatch(digits) else []
    commits = [id_ for id_ in found if (known := objects.resolve(id_)) is not None and known[1] == "commit"]
    return commits[0] if len(commits) == 1 else ""


def make_empty_history(where: str, base: str) -> PriorFiles:
    """What a source has that keeps no history.

    Raises:
        UsageError: a base is named, which only a git source has.
    """
    if base:
        raise UsageError(
            f"--base {base} requires a git source, and {where} is not one",
            remedy="Remove --base, or give a git repository.",
        )
    return PriorFiles()


def read_fleet_files(
    objects: ObjectReader, commit: str, names: Sequence[str], folders: Sequence[str]
) -> dict[str, PriorFile]:
    """Folder -> the fleet file that a commit has there, of those that have one.

    Args:
        objects: of a repository that has the commit itself.
        commit: its full id.
        names: what a fleet file may be called.
        folders: to look into.
    """
    own = _commit(objects, commit)
    found: dict[str, PriorFile] = {}
    for folder in folders if own is not None else ():
        assert own is not None
        file = _files(objects, [own.tree], names, folder).get(own.tree)
        if file is not None:
            found[folder] = PriorFile(commit, file[0], _data(objects, file[1], ()))
    return found


def make_unknown_base_error(base: str, where: str) -> SourceError:
    """The error for a base that is not there."""
    return SourceError(
        f"{where} has no branch, tag or commit {quote_path(base)} to compare with",
        remedy="Fetch it, or give another one with --base.",
    )


def _starts(objects: ObjectReader, commit: str, base: str, *, changed: bool) -> tuple[list[str], str]:
    """The commits to begin at, and why none is known; both are empty where nothing came before."""
    own = _commit(objects, commit)
    if own is None:
        return [], f"the commit {commit[:SHORT_ID]} is not in this clone"
    if changed:
        return [commit], ""
    if base:
        shared = objects.merge_bases(commit, base)
        if not shared:
            words = f"this clone has no common ancestor of {commit[:SHORT_ID]} and {base[:SHORT_ID]}"
            return [], words
        if commit not in shared:
            return shared[:MOST_BASES], ""
    return list(own.parents[:1]), ""


def _line(objects: ObjectReader, start: str, most: int) -> list[tuple[str, Commit | None]]:
    """Commits by their ids along first parents; the last is None where it is missing."""
    near = objects.line(start, most)
    found: list[tuple[str, Commit | None]] = []
    id_ = start
    while id_ and len(found) < most:
        try:
            commit = objects.commit(id_, near)
        except SourceError:
            return [*found, (id_, None)]
        found.append((id_, commit))
        id_ = next(iter(commit.parents), "")
    return found


def _commit(objects: ObjectReader, id_: str, near: Iterable[str] = ()) -> Commit | None:
    """A commit, also by a tag of it or by the first digits of its id; None where it is not here."""
    if not COMMIT_ID.fullmatch(id_):
        return None
    try:
        full = (other for other in near if len(other) == FULL and COMMIT_ID.fullmatch(other))
        if len(id_) == FULL and objects.kind(id_, full) == "commit":
            return objects.commit(id_)
        found = objects.resolve(f"{id_}^{{commit}}")
        return objects.commit(found[0]) if found is not None else None
    except SourceError:
        return None


def _files(
    objects: ObjectReader, trees: Sequence[str], names: Sequence[str], path: str
) -> dict[str, tuple[str, str]]:
    """Name and id of the fleet file in a folder of trees, for those that have one; level by level."""
    at = {tree: tree for tree in trees}
    for part in path.split("/") if path else ():
        below = {id_: _entries(objects, id_, at.values()).get(part.encode()) for id_ in set(at.values())}
        entries = {tree: below[id_] for tree, id_ in at.items()}
        at = {tree: entry.id for tree, entry in entries.items() if entry is not None and entry.mode == TREE}
    found: dict[str, tuple[str, str]] = {}
    for tree, id_ in at.items():
        entries_ = _entries(objects, id_, at.values())
        named = ((name, entries_.get(name.encode())) for name in names)
        file = next(((name, entry.id) for name, entry in named if entry and entry.mode in _BLOB), None)
        if file is not None:
            found[tree] = file
    return found


def _entries(objects: ObjectReader, tree: str, near: Iterable[str]) -> dict[bytes, TreeEntry]:
    """The entries of a tree by their names; none where it is not here."""
    try:
        return {entry.name: entry for entry in objects.tree(tree, near)}
    except SourceError:
        return {}


def _data(objects: ObjectReader, id_: str, near: Iterable[str]) -> bytes:
    """The content of a file; what is too large or missing is empty, and so no fleet file."""
    try:
        return objects.read(id_, "blob") if objects.size(id_, near) <= LARGEST else b""
    except SourceError:
        return b""
