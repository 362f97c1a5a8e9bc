"""The fleet files of earlier commits, read from the object database along first parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from reconciler.core.prior_revisions import PriorFile, PriorFiles
from reconciler.errors import SourceError, UsageError
from reconciler.ports.source import Snapshot
from reconciler.sources.git.refs import COMMIT_ID, FULL
from reconciler.sources.git.tree import TREE, TreeLocation, make_snapshot
from reconciler.text.one_line import SHORT_ID, decode_name, quote_path

if TYPE_CHECKING:  # it loads the library, which `make_empty_history` does not need
    from reconciler.sources.git.objects import Commit, ObjectReader, TreeEntry

COMMITS: Final = 500
"""Earlier commits to look at, at most."""

MOST_BASES: Final = 16
"""Common ancestors of a revision and its base at most; merges in both directions leave several."""

DEEPEST: Final = 32
"""Nested folders to compare, at most."""

VERSIONS: Final = 20
"""Different versions of the fleet file to read, at most."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of one earlier fleet file at most."""

MOST_OTHERS: Final = 2_000
"""Files to read that an earlier revision has with other contents, at most."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all these files at most."""

_SETTINGS: Final = (b".json", b".yaml", b".yml", b".conf")
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

    Parents are read from the commits themselves: git hides those that a shallow clone lacks, which would look
    like the start of the history.

    Args:
        objects: of a repository that has the commit itself.
        revision: full id of a commit; followed by `+` and a digest, uncommitted changes on top of it.
        names: possible names of a fleet file.
        path: its folder; empty for the root.
        base: full id of the commit that the revision is to be merged into; empty for the first parent.
        applied: ids of further commits to look at.
    """
    commit, _, changes = revision.partition("+")
    starts, unread = _find_starts(objects, commit, base, changed=bool(changes))
    start = next(iter(starts), "")
    # Without names only the settings files are compared, and those with the one commit before.
    line = _walk_line(objects, start, COMMITS if names else 1) if start and not unread else []
    further = {id_: own for id_ in (*starts[1:], *applied) if (own := _find_commit(objects, id_, applied))}
    trees = [own.tree for _, own in (*line, *further.items()) if own is not None]
    files = _find_fleet_files(objects, trees, names, path)
    near = [blob for _, blob in files.values()]

    def read(id_: str, tree: str) -> PriorFile:
        name, blob = files[tree]
        return PriorFile(id_, name, _read_file(objects, blob, near))

    found: list[PriorFile] = []
    last = ""
    for id_, earlier in line:
        if earlier is None:
            unread = SHALLOW.format(commit=id_[:SHORT_ID])
            break
        _, blob = files.get(earlier.tree, ("", ""))
        # A commit that left the file as it was is no version of its own.
        if blob and blob != last:
            found.append(read(id_, earlier.tree))
        last = blob
        if len(found) >= VERSIONS:
            break
    there = {id_: own.tree for id_, own in further.items() if own.tree in files}
    bases = tuple(read(id_, there[id_]) for id_ in starts[1:] if id_ in there)
    at = {id_: read(id_, there[id_]) for id_ in applied if id_ in there}
    compared = {id_: earlier.tree for id_, earlier in line[:1] if earlier is not None}
    compared |= {id_: further[id_].tree for id_ in applied if id_ in further}
    now = None if changes else _find_commit(objects, commit)
    others = _list_replaced_files(objects, now.tree if now else "", compared, path)
    return PriorFiles(tuple(found), at, unread, tuple(others), base, bases)


def _list_replaced_files(
    objects: ObjectReader, now: str, trees: Mapping[str, str], path: str
) -> Iterator[PriorFile]:
    """The settings files below a folder that earlier trees have and the present one lacks or changed.

    Args:
        objects: of the repository.
        now: the present tree; empty if it is unknown.
        trees: commit -> its tree.
        path: the folder.
    """
    budget, known = MOST_BYTES, set[str]()
    present = _find_subtree(objects, now, path) if now else ""
    for commit, tree in trees.items():
        todo = [("", _find_subtree(objects, tree, path), present)]
        while todo:
            folder, old, new = todo.pop()
            if not old or old == new or folder.count("/") > DEEPEST:
                continue
            there = _list_entries(objects, new, ()) if new else {}
            for name, entry in sorted(_list_entries(objects, old, ()).items()):
                other = there.get(name)
                if other is not None and other.id == entry.id:
                    continue
                if entry.mode == TREE:
                    below = other.id if other is not None and other.mode == TREE else ""
                    todo.append((f"{folder}{decode_name(name)}/", entry.id, below))
                elif entry.mode in _BLOB and name.endswith(_SETTINGS) and entry.id not in known:
                    data = _read_file(objects, entry.id, ())
                    known.add(entry.id)
                    budget -= len(data)
                    if budget < 0 or len(known) > MOST_OTHERS:
                        return
                    yield PriorFile(commit, folder + decode_name(name), data)


def _find_subtree(objects: ObjectReader, tree: str, path: str) -> str:
    """The id of the tree of a folder within a tree; empty if there is none."""
    for part in path.split("/") if path else ():
        entry = _list_entries(objects, tree, ()).get(part.encode())
        if entry is None or entry.mode != TREE:
            return ""
        tree = entry.id
    return tree


def walk_first_parents(
    objects: ObjectReader, commit: str, location: TreeLocation, most: int
) -> Iterator[Snapshot]:
    """A commit and those before it along first parents, until one is missing or lacks the folder.

    Args:
        objects: of a repository.
        commit: its id, or its first digits, as in a stamp.
        location: the folder.
        most: commits at most.
    """
    found = [commit] if len(commit) == FULL else []
    if not found and COMMIT_ID.fullmatch(commit):
        # The digits may also begin the id of a file or a tree; of two commits neither is meant.
        near = ((id_, objects.resolve(id_)) for id_ in objects.matching(commit))
        found = [id_ for id_, known in near if known is not None and known[1] == "commit"]
    for id_, own in _walk_line(objects, found[0], COMMITS)[:most] if len(found) == 1 else ():
        if own is None:
            return
        try:
            yield make_snapshot(objects, id_, location)
        except SourceError:
            return


def make_empty_history(where: str, base: str) -> PriorFiles:
    """The prior files of a source without a history.

    Raises:
        UsageError: a base is given, which needs a git source.
    """
    if base:
        raise UsageError(
            f"--base {base} requires a git source, and {where} is not one",
            remedy="remove --base, or give a git repository",
        )
    return PriorFiles()


def read_fleet_files(
    objects: ObjectReader, commit: str, names: Sequence[str], folders: Sequence[str]
) -> dict[str, PriorFile]:
    """Folder -> its fleet file in a commit, for folders that have one.

    Args:
        objects: of a repository that has the commit itself.
        commit: its full id.
        names: possible names of a fleet file.
        folders: to look in.
    """
    own = _find_commit(objects, commit)
    found: dict[str, PriorFile] = {}
    for folder in folders if own is not None else ():
        assert own is not None
        for name, blob in _find_fleet_files(objects, [own.tree], names, folder).values():
            found[folder] = PriorFile(commit, name, _read_file(objects, blob, ()))
    return found


def make_unknown_base_error(base: str, where: str) -> SourceError:
    """The error for a base that does not exist."""
    return SourceError(
        f"{where} has no branch, tag or commit {quote_path(base)} to compare with",
        remedy="fetch it, or give another one with --base",
    )


def _find_starts(objects: ObjectReader, commit: str, base: str, *, changed: bool) -> tuple[list[str], str]:
    """The commits to start from, and why none is known; both are empty for a first commit."""
    own = _find_commit(objects, commit)
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


def _walk_line(objects: ObjectReader, start: str, most: int) -> list[tuple[str, Commit | None]]:
    """Id and commit along first parents; None for the last commit if it is missing."""
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


def _find_commit(objects: ObjectReader, id_: str, near: Iterable[str] = ()) -> Commit | None:
    """A commit by its id, its first digits or the id of its tag; None if it is missing."""
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


def _find_fleet_files(
    objects: ObjectReader, trees: Sequence[str], names: Sequence[str], path: str
) -> dict[str, tuple[str, str]]:
    """Tree -> name and id of the fleet file in a folder of it, for those that have one; level by level."""
    at = {tree: tree for tree in trees}
    for part in path.split("/") if path else ():
        below = {id_: _list_entries(objects, id_, at.values()).get(part.encode()) for id_ in set(at.values())}
        entries = {tree: below[id_] for tree, id_ in at.items()}
        at = {tree: entry.id for tree, entry in entries.items() if entry is not None and entry.mode == TREE}
    found: dict[str, tuple[str, str]] = {}
    for tree, id_ in at.items():
        entries_ = _list_entries(objects, id_, at.values())
        named = ((name, entries_.get(name.encode())) for name in names)
        file = next(((name, entry.id) for name, entry in named if entry and entry.mode in _BLOB), None)
        if file is not None:
            found[tree] = file
    return found


def _list_entries(objects: ObjectReader, tree: str, near: Iterable[str]) -> dict[bytes, TreeEntry]:
    """The entries of a tree by name; none if it is missing."""
    try:
        return {entry.name: entry for entry in objects.tree(tree, near)}
    except SourceError:
        return {}


def _read_file(objects: ObjectReader, id_: str, near: Iterable[str]) -> bytes:
    """The contents of a file; empty, which is not a fleet file, if it is too large or missing."""
    try:
        return objects.read(id_, "blob") if objects.size(id_, near) <= LARGEST else b""
    except SourceError:
        return b""
