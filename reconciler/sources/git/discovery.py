"""Which work tree of git a folder is in, found by looking at files, without running git.

Git accepts everything that looks like a repository: any folder with `HEAD`, `objects` and `refs` on the way
up, or a file `.git` that names another folder. A tree of desired state, or an unpacked archive, may contain
such parts, with a configuration that runs programs and with objects that differ from the files that a
reviewer sees. Here only `.git` counts:

- a folder with real `HEAD`, `objects` and `refs` in it;
- a file that names the git directory of a linked work tree or of a submodule, if that directory is outside
  and names this work tree in turn.

Its owner must be the user who runs this, root, or the owner of the folder that was given. Its configuration,
index, hooks and attributes are never used; `HEAD`, the refs and the objects are.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.sources.git.errors import SHA256, SHA256_REMEDY
from reconciler.text.one_line import quote_path, take_first_line

NAME = ".git"
PARTS = ("HEAD", "objects", "refs")
"""The parts of a git directory."""

INNARDS = frozenset({
    *PARTS, "branches", "config", "description", "FETCH_HEAD", "hooks", "index", "info", "logs", "ORIG_HEAD",
    "packed-refs", "shallow", "worktrees",
})  # fmt: skip
"""All parts of a bare repository."""

LONGEST_SHOWN = 300
"""Characters of a path in an error message."""

_ID = re.compile(r"[0-9a-f]{40}")
_LONGER_ID = re.compile(r"[0-9a-f]{64}")
_REF = re.compile(r"refs(/(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+(?<!\.lock))+")
_SYMBOLIC = 5
"""Refs that refer to one another in a row; the limit of git."""
_LARGEST_FILE = 64 * 1024
MOST_REFS = 500_000
"""Refs of one repository."""
_LARGEST_PACKED_REFS = 64 * 1024 * 1024
_UNLINKED = (
    "HEAD",
    "objects",
    "objects/info",
    "objects/pack",
    "refs",
    "refs/heads",
    "packed-refs",
    "shallow",
)
_WORKTREE_LINE = re.compile(r"worktree\s*=\s*(.*)", re.IGNORECASE)
_SECTION_LINE = re.compile(r"\[\s*([A-Za-z.-]+)\s*\].*")


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A work tree of git.

    Args:
        top: its topmost folder, a real path.
        directory: with its own `HEAD`.
        common: with refs and objects: the same folder, except for a linked work tree.
    """

    top: Path
    directory: Path
    common: Path

    @property
    def objects(self) -> Path:
        """The folder of its objects."""
        return self.common / "objects"

    @property
    def is_shallow(self) -> bool:
        """Whether the start of its history is missing."""
        return (self.common / "shallow").exists()

    def locate(self, folder: Path) -> str:
        """A folder's path from the top; empty for the top itself."""
        below = folder.relative_to(self.top).as_posix()
        return "" if below == "." else below

    def head(self) -> str | None:
        """The id of the commit that is checked out; None if there is none yet.

        Raises:
            SourceError: `HEAD` or its ref cannot be read.
        """
        found = self._resolve(_read(self.directory / "HEAD", self.top))
        return None if found is None else self._check_id(found)

    def head_ref(self) -> str:
        """The ref that `HEAD` names; empty if it names a commit.

        Raises:
            SourceError: it cannot be read.
        """
        text = _read(self.directory / "HEAD", self.top).strip()
        return text.removeprefix("ref:").strip() if text.startswith("ref:") else ""

    def refs(self) -> dict[str, str]:
        """Full name -> id of the object, for all refs; broken ones are left out.

        Raises:
            SourceError: they cannot be read, or are more than `MOST_REFS`.
        """
        found = dict(self._list_packed())
        todo, folders = [(str(self.common / "refs"), "refs/")], 0
        while todo:
            place, prefix = todo.pop()
            # Folders count too: a tree of empty ones would keep this loop busy without end.
            folders += 1
            with _reading(self.top, place), os.scandir(place) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        todo.append((entry.path, f"{name}/"))
                    elif entry.is_file(follow_symlinks=False) and _is_ref(name):
                        target = self._resolve(_read(Path(entry.path), self.top))
                        found |= {name: target.strip()} if target is not None else {}
            if len(found) > MOST_REFS or folders > MOST_REFS:
                raise _make_error(self.top, f"it has more than {MOST_REFS:,} refs")
        if any(_LONGER_ID.fullmatch(id_) for id_ in found.values()):
            raise SourceError(f"{self.top}: {SHA256}", remedy=SHA256_REMEDY)
        return {name: id_ for name, id_ in sorted(found.items()) if _is_ref(name) and _ID.fullmatch(id_)}

    def _resolve(self, text: str) -> str | None:
        """The text of a ref after following symbolic refs; None if one is missing."""
        for _ in range(_SYMBOLIC):
            if not text.startswith("ref:"):
                return text
            ref = text.removeprefix("ref:").strip()
            if not _is_ref(ref):
                raise _make_error(
                    self.top, f"its HEAD points to {quote_path(take_first_line(ref))}, which is not a ref"
                )
            found = self._read_ref(ref)
            if found is None:
                return None
            text = found
        raise _make_error(self.top, "its symbolic refs form a loop")

    def find(self, name: str) -> str | None:
        """The id that a branch, a tag or a commit id means; None if there is no such name.

        A branch of `origin` comes before a local one, which may be behind.

        Raises:
            SourceError: a ref of this name cannot be read.
        """
        if _ID.fullmatch(name):
            return name
        places = ("refs/remotes/origin/", "refs/heads/", "refs/tags/", "refs/remotes/", "")
        for ref in (f"{place}{name}" for place in places):
            found = self._resolve(f"ref: {ref}") if _is_ref(ref) else None
            if found is not None:
                return self._check_id(found)
        return None

    def _read_ref(self, ref: str) -> str | None:
        file = self.common / ref
        with _reading(self.top, str(file)):
            # Through a link the repository could take over a commit id from anywhere on this host.
            if not file.resolve().is_relative_to(self.common / "refs"):
                raise _make_error(
                    self.top, f"the ref {quote_path(ref)} is a link that points outside the repository"
                )
            if file.is_file():
                return _read(file, self.top)
        return next((id_ for name, id_ in self._list_packed() if name == ref), None)

    def _list_packed(self) -> Iterator[tuple[str, str]]:
        """Names and ids in `packed-refs`."""
        packed = self.common / "packed-refs"
        if packed.is_file():
            for row in _read(packed, self.top, most=_LARGEST_PACKED_REFS).splitlines():
                id_, _, name = row.partition(" ")
                if not row.startswith(("#", "^")):
                    yield name, id_

    def _check_id(self, text: str) -> str:
        found = text.strip()
        if _LONGER_ID.fullmatch(found):
            raise SourceError(f"{self.top}: {SHA256}", remedy=SHA256_REMEDY)
        if not _ID.fullmatch(found):
            raise _make_error(self.top, "its HEAD does not point to a commit")
        return found


def find_work_tree(folder: Path) -> WorkTree | None:
    """The work tree that a folder is in; None if there is none.

    Args:
        folder: a real path, without links.

    Raises:
        SourceError: a `.git` on the way up cannot be trusted.
    """
    for top in (folder, *folder.parents):
        place = top / NAME
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _make_error(top, f"it cannot be read: {error.strerror}") from error
        if stat.S_ISLNK(found.st_mode):
            raise _make_error(top, "it is a symbolic link", remedy=_PLAIN)
        if stat.S_ISREG(found.st_mode):
            work = _follow_git_file(top)
        elif stat.S_ISDIR(found.st_mode) and any(os.path.lexists(place / part) for part in PARTS):
            work = WorkTree(top, place, place)
        else:
            continue
        _check_owner(work, folder)
        _check_parts(work)
        return work
    return None


def is_bare(folder: Path) -> bool:
    """Whether a folder has the parts of a bare repository and nothing else."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError:
        return False
    return names.issuperset(PARTS) and names <= INNARDS


def find_repository(folder: Path) -> WorkTree | None:
    """The repository that the operator named; None if there is none.

    Args:
        folder: a bare repository, a git directory or the top of a work tree.

    Raises:
        SourceError: it uses objects of another repository, or its `.git` cannot be trusted.
    """
    try:
        folder = folder.resolve()
        (folder / NAME).lstat()
        has_work_tree = True
    except (FileNotFoundError, NotADirectoryError):
        has_work_tree = False
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links; ValueError: a NUL
        place = quote_path(take_first_line(str(folder)))[:LONGEST_SHOWN]
        raise SourceError(f"{place} cannot be read: {_why(error)}", remedy="check the path") from error
    if has_work_tree:
        return find_work_tree(folder)
    found = WorkTree(folder, folder, folder)
    if (folder / "commondir").is_file():  # the git directory of a linked work tree
        common = _resolve_named(folder, _read(folder / "commondir", folder).strip(), folder)
        found = WorkTree(folder, folder, common)
    if not any(os.path.lexists(found.common / part) for part in PARTS):
        return None
    _check_parts(found)
    return found


def check_objects(objects: Path) -> None:
    """Refuse an object folder that contains anything but files and folders: git would block on a pipe.

    Raises:
        SourceError: something in it is neither a file nor a folder, or cannot be read.
    """
    try:
        with os.scandir(objects) as entries:
            folders = [entry.path for entry in entries if _check_plain(entry, objects) and entry.is_dir()]
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    _check_plain(entry, objects)
    except OSError as error:
        raise _make_error(objects.parent, f"{error.filename} cannot be read: {error.strerror}") from error


def _check_plain(entry: os.DirEntry[str], objects: Path) -> bool:
    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        raise _make_error(objects.parent, f"{entry.path} is neither a file nor a folder", remedy=_PLAIN)
    return True


_PLAIN = "clone the repository again, without options that share objects"


def _make_error(top: Path, why: str, *, remedy: str = "") -> SourceError:
    return SourceError(
        f"the git repository of {top} cannot be used: {why}",
        remedy=remedy or f"check {top / NAME}, or give a folder outside any git repository",
    )


def _is_ref(name: str) -> bool:
    return bool(_REF.fullmatch(name)) and ".." not in name and name.isprintable()


@contextmanager
def _reading(top: Path, place: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # a loop of links
        raise _make_error(top, f"{place} cannot be read: {_why(error)}") from error
    except OSError as error:
        raise _make_error(top, f"{error.filename or place} cannot be read: {error.strerror}") from error


def _read(file: Path, top: Path, *, most: int = _LARGEST_FILE) -> str:
    """A small regular file, which is not a link."""
    # Whoever wrote the repository may have put a pipe or a device there: O_NONBLOCK, and a look at its type.
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _make_error(top, f"{file} is not a regular file")
            data = opened.read(most + 1)
    except OSError as error:
        raise _make_error(top, f"{file} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise _make_error(top, f"{file} is larger than {most:,} bytes")
    return data.decode("utf-8", "replace")


def _resolve_named(base: Path, text: str, top: Path) -> Path:
    """The real path of a folder that a git file names; its author may have written anything there."""
    try:
        found = (base / text).resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # see find_repository
        why = f"a git file names a folder that cannot be accessed: {_why(error)}"
        raise _make_error(top, why) from error
    return found


def _why(error: Exception) -> str:
    found = getattr(error, "strerror", None) or str(error)
    return quote_path(take_first_line(found))[:LONGEST_SHOWN]


def _follow_git_file(top: Path) -> WorkTree:
    """The work tree of a file `.git`, if the directory that it names confirms it."""
    text = _read(top / NAME, top)
    directory = _resolve_named(top, text.removeprefix("gitdir:").strip(), top)
    if not text.startswith("gitdir:") or not directory.is_dir():
        raise _make_error(
            top, f"{top / NAME} does not name a git directory", remedy="run `git worktree repair`"
        )
    # A commit can contain both the file and the folder that it names, so that folder proves nothing.
    if directory.is_relative_to(top):
        raise _make_error(top, f"{top / NAME} names a folder inside the work tree, {directory}")
    if (directory / "commondir").is_file():
        common = _resolve_named(directory, _read(directory / "commondir", top).strip(), top)
        back = directory / _read(directory / "gitdir", top).strip()
        tree = _resolve_named(directory, str(back.parent), top)
        if tree / back.name != top / NAME or directory.parent != common / "worktrees":
            raise _make_error(
                top,
                f"{directory} is the git directory of another work tree",
                remedy="if the work tree was moved, run `git worktree repair` in it",
            )
        return WorkTree(top, directory, common)
    if _read_core_worktree(directory, top) != top:
        raise _make_error(
            top,
            f"{top / NAME} names {directory}, which does not name this work tree",
            remedy=f"if they belong together, run: git --git-dir={directory} config core.worktree {top}",
        )
    return WorkTree(top, directory, directory)


def _read_core_worktree(directory: Path, top: Path) -> Path | None:
    """The value of `core.worktree` in the configuration of a git directory; includes are not followed."""
    section = ""
    for row in map(str.strip, _read(directory / "config", top).splitlines()):
        if found := _SECTION_LINE.fullmatch(row):
            section = found[1].lower()
        elif section == "core" and (found := _WORKTREE_LINE.fullmatch(row)):
            return _resolve_named(directory, found[1].strip('"'), top)
    return None


def _check_owner(found: WorkTree, named: Path) -> None:
    """Refuse a `.git` of another user: anyone can create one in /tmp, above the folder that was given."""
    wanted = {os.geteuid(), 0, named.stat().st_uid}
    if os.geteuid() == 0 and (sudo := os.environ.get("SUDO_UID", "")).isdecimal():
        wanted.add(int(sudo))  # as git does: with sudo the repository usually belongs to the caller
    for place in (found.top / NAME, found.directory, found.common):
        if (owner := place.lstat().st_uid) not in wanted:
            raise _make_error(
                found.top,
                f"the user {owner} owns {place}, and is neither this user nor the owner of {named}",
                remedy="if you trust it, change its owner with chown; otherwise give a folder outside it",
            )


def _check_parts(found: WorkTree) -> None:
    top, common = found.top, found.common
    for part in _UNLINKED:
        if (place := common / part).is_symlink():
            raise _make_error(top, f"{place} is a symbolic link", remedy=_PLAIN)
    missing = [part for part in PARTS if not os.path.lexists(common / part)]
    if not os.path.lexists(found.directory / "HEAD"):
        missing.append("HEAD")
    if missing:
        raise _make_error(top, f"{common} is damaged: {missing[0]} is missing", remedy="clone it again")
    if (common / "reftable").exists():
        raise _make_error(
            top,
            "it stores its refs in the reftable format",
            remedy="run `git refs migrate --ref-format=files`",
        )
    # Objects of another repository are outside all checks above, and may be missing tomorrow.
    alternates = common / "objects/info/alternates"
    if os.path.lexists(alternates) and (not alternates.is_file() or alternates.stat().st_size):
        raise _make_error(
            top,
            f"it uses objects of another repository, which {alternates} names",
            remedy=f"run `git -C {top} repack -a -d`, then remove that file",
        )
