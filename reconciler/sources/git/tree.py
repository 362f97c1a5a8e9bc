"""The files of one commit, read from the object database on demand."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from typing import TYPE_CHECKING

from reconciler.core.plan import Revision
from reconciler.errors import SourceError
from reconciler.ports.source import FLEET_FILES, Snapshot
from reconciler.sources.content_limits import ByteBudget, ScanCounts, SourceLimits, check_file_size
from reconciler.sources.folder_scan import is_passed_over
from reconciler.sources.layout import Layout, LayoutFiles
from reconciler.text.one_line import SHORT_ID, decode_name, quote_path, take_first_line

if TYPE_CHECKING:  # it loads the library, which callers that only use the types do not need
    from reconciler.sources.git.objects import ObjectReader, TreeEntry

LINK = 0o120000
TREE = 0o040000
SUBMODULE = 0o160000


@dataclass(frozen=True, slots=True)
class TreeLocation:
    """A folder of a repository.

    Args:
        where: the repository, for messages.
        path: the folder in it; empty for its root.
        limits: bounds on what is read.
    """

    where: str
    path: str
    limits: SourceLimits


@dataclass(frozen=True)
class CommitFiles(LayoutFiles):
    """The files of a commit."""

    objects: ObjectReader
    location: TreeLocation
    budget: ByteBudget

    def _load(self, full: str, path: str) -> bytes:
        files = self.layout.files
        # The files from this one on are likely to be read next.
        near = (files[other] for other in dropwhile(lambda other: other != full, files))
        data = _read_blob(self.objects, files[full], self.location, path, near=near)
        self.budget.spend(full, len(data))
        return data


def make_snapshot(objects: ObjectReader, commit: str, location: TreeLocation) -> Snapshot:
    """The files of a commit that is in the repository.

    Raises:
        SourceError: the commit has no such folder, or too many files.
    """
    found = objects.commit(commit)
    tree = objects.tree(found.tree)
    layout = _read_layout(objects, tree, location, commit[:SHORT_ID])
    revision = Revision(
        source=f"{location.where}//{location.path}" if location.path else location.where,
        id=commit,
        short=commit[:SHORT_ID],
        title=take_first_line(found.message.decode("utf-8", "replace")),
    )
    budget = ByteBudget(location.where, location.limits)
    above = _find_fleet_above(objects, tree, location.path)
    return Snapshot(revision, CommitFiles(layout, objects, location, budget), above)


@dataclass(frozen=True, slots=True)
class CommittedFolder:
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


def read_committed_folder(
    objects: ObjectReader, commit: str, location: TreeLocation
) -> CommittedFolder | None:
    """What a commit has in a folder; None if it does not have the folder. Submodules are left out.

    Raises:
        SourceError: there are too many files, or an object is missing.
    """
    if objects.kind(commit) != "commit":
        raise SourceError(f"{location.where}: {commit} is not a commit", remedy="run `git fsck`")
    found = objects.commit(commit)
    tree = _find_subtree(objects, objects.tree(found.tree), location)
    if tree is None:
        return None
    counts = ScanCounts(location.where, location.limits)
    ids: dict[int, dict[str, str]] = {LINK: {}, 0: {}}
    for path, entry in _walk(objects, tree, "", location, counts):
        counts.file(path)
        if entry.mode != SUBMODULE:
            ids[LINK if entry.mode == LINK else 0][path] = entry.id
    return CommittedFolder(
        commit, take_first_line(found.message.decode("utf-8", "replace")), ids[0], ids[LINK]
    )


def hash_blob(data: bytes) -> str:
    """The id that git gives to a file's contents."""
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


def list_changed(layout: Layout, ids: Mapping[str, str], head: CommittedFolder) -> list[str]:
    """Paths at which a folder differs from the commit, sorted.

    - Contents count as they are on disk. No filter is run, so a file whose line ends were converted, or that
      Git LFS or git-crypt put in the place of a pointer, differs: its bytes are not those of the commit.
    - A link and a file differ. Whether a file may be executed does not count: nothing here executes it.
    - The index does not count: neither what is staged nor `assume-unchanged`.
    - Files in a submodule differ, since the commit does not have them.

    Args:
        layout: what is in the folder.
        ids: path -> id of the contents; a file without one is too large to be read, and counts as unchanged
            if the commit has the path.
        head: what the commit has there.
    """
    files = {path: ids[path] if path in ids else head.files.get(path, "") for path in layout.files}
    links = {path: hash_blob(target.encode()) for path, target in layout.links.items()}
    return sorted(
        path
        for here, there in ((files, head.files), (links, head.links))
        for path in {*here, *(path for path in there if not is_passed_over(path))}
        if here.get(path) != there.get(path)
    )


def _read_layout(objects: ObjectReader, tree: list[TreeEntry], location: TreeLocation, commit: str) -> Layout:
    """The wanted folder alone; the whole commit if the folder has links, which may point out of it."""
    alone = _find_subtree(objects, tree, location)
    if alone is not None:
        layout = _layout(objects, alone, location, location.path)
        if not layout.links:
            return layout
    found = _layout(objects, tree, location, "").below(location.path)
    if found is None:
        top = [quote_path(decode_name(entry.name)) for entry in tree if entry.mode == TREE][:8]
        raise SourceError(
            f"{location.where}: there is no folder {quote_path(location.path)} at {commit}",
            remedy=f"commit it, or check the path; folders at the top: {', '.join(top) or 'none'}",
        )
    return found


def _find_fleet_above(objects: ObjectReader, tree: list[TreeEntry], path: str) -> str:
    """The nearest fleet file in a folder above `path`, as `../NAME`; empty for none."""
    found, parts = "", path.split("/") if path else []
    for depth, part in enumerate(parts):
        here = {decode_name(entry.name): entry for entry in tree}
        name = next((name for name in FLEET_FILES if name in here and here[name].mode != TREE), "")
        found = f"{'../' * (len(parts) - depth)}{name}" if name else found
        if part not in here or here[part].mode != TREE:  # a link, which `_read_layout` follows
            break
        tree = objects.tree(here[part].id)
    return found


def _find_subtree(
    objects: ObjectReader, tree: list[TreeEntry], location: TreeLocation
) -> list[TreeEntry] | None:
    for part in location.path.split("/") if location.path else ():
        named = [entry for entry in tree if decode_name(entry.name) == part]
        if not named or named[0].mode != TREE:
            return None
        tree = objects.tree(named[0].id)
    return tree


def _read_blob(
    objects: ObjectReader, key: str, location: TreeLocation, path: str, *, near: Iterable[str]
) -> bytes:
    """The contents of a file; like `ObjectReader.read`, with the path in its messages."""
    check_file_size(location.limits, where=location.where, path=path, count=objects.size(key, near))
    return objects.read(key, "blob")


def _layout(objects: ObjectReader, tree: list[TreeEntry], location: TreeLocation, base: str) -> Layout:
    """The files, links and submodules below a tree."""
    counts = ScanCounts(location.where, location.limits)
    files, links, closed = dict[str, str](), dict[str, str](), dict[str, str]()
    for path, entry in _walk(objects, tree, f"{base}/" if base else "", location, counts):
        if entry.mode == LINK:
            links[path] = entry.id
            if len(links) > location.limits.links:
                break  # the loop below refuses them
        elif entry.mode == SUBMODULE:
            counts.file(path)
            closed[path] = "this is a submodule; submodules are not fetched"
        else:
            counts.file(path)
            files[path] = entry.id
    targets: dict[str, str] = {}
    for path, id_ in links.items():
        target = decode_name(_read_blob(objects, id_, location, path, near=links.values()))
        counts.link(path, target)
        targets[path] = target
    return Layout(location.where, files, targets, closed, base, location.limits.files)


def _walk(
    objects: ObjectReader, tree: list[TreeEntry], prefix: str, location: TreeLocation, counts: ScanCounts
) -> Iterator[tuple[str, TreeEntry]]:
    """Everything below a tree except folders, by path."""
    # A commit of a few kilobytes can keep a walk busy without end: thousands of nested trees, or a tree that
    # contains another ten times, which contains another ten times. So there is no recursion, and every folder
    # counts, empty ones too.
    known: dict[str, list[TreeEntry]] = {}
    todo = deque([("", prefix)])
    while todo:
        id_, before = todo.popleft()
        if id_ and id_ not in known:
            known[id_] = objects.tree(id_, near=(other for other, _ in todo))
        for path, entry in _entries(known[id_] if id_ else tree, before, location.where):
            if entry.mode == TREE:
                counts.folder(path)
                todo.append((entry.id, f"{path}/"))
            else:
                yield path, entry


def _entries(tree: list[TreeEntry], prefix: str, where: str) -> Iterator[tuple[str, TreeEntry]]:
    """The entries of one tree, by path.

    Raises:
        SourceError: a name is invalid or used twice.
    """
    before: set[str] = set()
    for entry in tree:
        own = decode_name(entry.name)
        # git writes no such tree, but anyone can: `a/b` in one tree would hide the file of another tree.
        if own in ("", ".", "..") or "/" in own or own in before:
            raise SourceError(
                f"{where}: the commit is damaged: a folder in it has the entry {quote_path(prefix + own)}, "
                "whose name is invalid or used twice",
                remedy="create the commit again; `git fsck` shows details",
            )
        before.add(own)
        yield prefix + own, entry
