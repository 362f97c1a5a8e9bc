"""Which work tree of git a folder lies in, judged by looking at files, without running git.

Git itself takes whatever looks like a repository: any folder with `HEAD`, `objects` and `refs` on the way
up, or a file `.git` that names another folder. A tree of desired state, or an archive that somebody
unpacked, may carry such innards, with a configuration that runs programs and with objects that are not the
files that a reviewer sees. Here only `.git` counts:

- a folder, with real `HEAD`, `objects` and `refs` in it;
- a file that names the git directory of a linked work tree or of a submodule, if that directory lies
  outside and names this very work tree in turn.

It has to belong to whoever runs this, to root, or to the owner of the folder that was named. Its
configuration, index, hooks and attributes are never used; of its files `HEAD`, the refs and the objects are.
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
"""What makes a folder a git directory."""

INNARDS = frozenset({
    *PARTS, "branches", "config", "description", "FETCH_HEAD", "hooks", "index", "info", "logs", "ORIG_HEAD",
    "packed-refs", "shallow", "worktrees",
})  # fmt: skip
"""What a bare repository consists of."""

LONGEST_SHOWN = 300
"""Characters of a path in an error: it may have any number."""

_ID = re.compile(r"[0-9a-f]{40}")
_LONGER_ID = re.compile(r"[0-9a-f]{64}")
_REF = re.compile(r"refs(/(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+(?<!\.lock))+")
_SYMBOLIC = 5
"""Refs that may name one another in a row; git stops at the same number."""
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
        top: its uppermost folder, a real path.
        directory: where its own `HEAD` is.
        common: where refs and objects are: the same, but for a linked work tree.
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
        """Whether the beginning of its history is missing."""
        return (self.common / "shallow").exists()

    def locate(self, folder: Path) -> str:
        """A folder's path from the top; empty for the top itself."""
        below = folder.relative_to(self.top).as_posix()
        return "" if below == "." else below

    def head(self) -> str | None:
        """The id of the commit that is checked out; None where there is none yet.

        Raises:
            SourceError: `HEAD` or the ref that it names cannot be read.
        """
        found = self._resolve(_read(self.directory / "HEAD", self.top))
        return None if found is None else self._id(found)

    def head_ref(self) -> str:
        """The ref that `HEAD` names; empty where it names a commit.

        Raises:
            SourceError: it cannot be read.
        """
        text = _read(self.directory / "HEAD", self.top).strip()
        return text.removeprefix("ref:").strip() if text.startswith("ref:") else ""

    def refs(self) -> dict[str, str]:
        """All refs by their full names, with the ids of what they name; broken ones are left out.

        Raises:
            SourceError: they cannot be read, or are more than anybody needs.
        """
        found = dict(self._packed())
        todo, folders = [(str(self.common / "refs"), "refs/")], 0
        while todo:
            place, prefix = todo.pop()
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
                raise _refused(self.top, f"it has more than {MOST_REFS:,} refs")
        if any(_LONGER_ID.fullmatch(id_) for id_ in found.values()):
            raise SourceError(f"{self.top}: {SHA256}", remedy=SHA256_REMEDY)
        return {name: id_ for name, id_ in sorted(found.items()) if _is_ref(name) and _ID.fullmatch(id_)}

    def _resolve(self, text: str) -> str | None:
        """What a ref's text stands for, once every ref in it is followed; None where one is not there."""
        for _ in range(_SYMBOLIC):
            if not text.startswith("ref:"):
                return text
            ref = text.removeprefix("ref:").strip()
            if not _is_ref(ref):
                raise _refused(
                    self.top, f"its HEAD points to {quote_path(take_first_line(ref))}, which is not a ref"
                )
            found = self._ref(ref)
            if found is None:
                return None
            text = found
        raise _refused(self.top, "its symbolic refs form a loop")

    def find(self, name: str) -> str | None:
        """The id that a branch, a tag or a commit id means; None where there is none of this name.

        A branch of `origin` comes before one of the clone's own, which may be behind.

        Raises:
            SourceError: a ref of this name cannot be read.
        """
        if _ID.fullmatch(name):
            return name
        places = ("refs/remotes/origin/", "refs/heads/", "refs/tags/", "refs/remotes/", "")
        for ref in (f"{place}{name}" for place in places):
            found = self._resolve(f"ref: {ref}") if _is_ref(ref) else None
            if found is not None:
                return self._id(found)
        return None

    def _ref(self, ref: str) -> str | None:
        file = self.common / ref
        with _reading(self.top, str(file)):
            if not file.resolve().is_relative_to(self.common / "refs"):
                raise _refused(
                    self.top, f"the ref {quote_path(ref)} is a link that points outside the repository"
                )
            if file.is_file():
                return _read(file, self.top)
        return next((id_ for name, id_ in self._packed() if name == ref), None)

    def _packed(self) -> Iterator[tuple[str, str]]:
        """Names and ids in the file of packed refs."""
        packed = self.common / "packed-refs"
        if packed.is_file():
            for row in _read(packed, self.top, most=_LARGEST_PACKED_REFS).splitlines():
                id_, _, name = row.partition(" ")
                if not row.startswith(("#", "^")):
                    yield name, id_

    def _id(self, text: str) -> str:
        found = text.strip()
        if _LONGER_ID.fullmatch(found):
            raise SourceError(f"{self.top}: {SHA256}", remedy=SHA256_REMEDY)
        if not _ID.fullmatch(found):
            raise _refused(self.top, "its HEAD does not point to a commit")
        return found


def find_work_tree(folder: Path) -> WorkTree | None:
    """The work tree that a folder lies in; None where it lies in none.

    Args:
        folder: a real path, without links on the way.

    Raises:
        SourceError: there is a `.git` on the way up that cannot be relied upon.
    """
    for top in (folder, *folder.parents):
        place = top / NAME
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _refused(top, f"it cannot be read: {error.strerror}") from error
        if stat.S_ISLNK(found.st_mode):
            raise _refused(top, "it is a symbolic link", remedy=_PLAIN)
        if stat.S_ISREG(found.st_mode):
            return _checked(_named_by_file(top), folder)
        if stat.S_ISDIR(found.st_mode) and any(os.path.lexists(place / part) for part in PARTS):
            return _checked(WorkTree(top, place, place), folder)
    return None


def is_bare(folder: Path) -> bool:
    """Whether a folder holds the parts of a bare repository and nothing else."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError:
        return False
    return names.issuperset(PARTS) and names <= INNARDS


def find_repository(folder: Path) -> WorkTree | None:
    """The repository on this machine that a person named; None where there is none.

    Args:
        folder: a bare repository, a git directory or the top of a work tree.

    Raises:
        SourceError: its objects come from elsewhere, or a file `.git` in it is not to be relied upon.
    """
    try:
        folder = folder.resolve()
        (folder / NAME).lstat()
        has_work_tree = True
    except (FileNotFoundError, NotADirectoryError):
        has_work_tree = False
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: a NUL
        place = quote_path(take_first_line(str(folder)))[:LONGEST_SHOWN]
        raise SourceError(f"{place} cannot be read: {_why(error)}", remedy="Check the path.") from error
    if has_work_tree:
        return find_work_tree(folder)
    found = WorkTree(folder, folder, folder)
    if (folder / "commondir").is_file():  # the git directory of a linked work tree
        common = _named_folder(folder, _read(folder / "commondir", folder).strip(), folder)
        found = WorkTree(folder, folder, common)
    if not any(os.path.lexists(found.common / part) for part in PARTS):
        return None
    _check_parts(found)
    return found


def check_objects(objects: Path) -> None:
    """Refuse an object folder in which something else stands in the place of a file or a folder.

    Git would wait for a pipe for ever.

    Raises:
        SourceError: something in it is neither a file nor a folder, or it cannot be read.
    """
    try:
        with os.scandir(objects) as entries:
            folders = [entry.path for entry in entries if _is_plain(entry, objects) and entry.is_dir()]
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    _is_plain(entry, objects)
    except OSError as error:
        raise _refused(objects.parent, f"{error.filename} cannot be read: {error.strerror}") from error


def _is_plain(entry: os.DirEntry[str], objects: Path) -> bool:
    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        raise _refused(objects.parent, f"{entry.path} is neither a file nor a folder", remedy=_PLAIN)
    return True


_PLAIN = "Clone the repository again, without options that share objects."


def _refused(top: Path, why: str, *, remedy: str = "") -> SourceError:
    return SourceError(
        f"the git repository of {top} cannot be used: {why}",
        remedy=remedy or f"Check {top / NAME}, or give a folder outside any git repository.",
    )


def _is_ref(name: str) -> bool:
    return bool(_REF.fullmatch(name)) and ".." not in name and name.isprintable()


@contextmanager
def _reading(top: Path, place: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # links in a circle
        raise _refused(top, f"{place} cannot be read: {_why(error)}") from error
    except OSError as error:
        raise _refused(top, f"{error.filename or place} cannot be read: {error.strerror}") from error


def _read(file: Path, top: Path, *, most: int = _LARGEST_FILE) -> str:
    """A small regular file, not through a link, never waited for."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refused(top, f"{file} is not a regular file")
            data = opened.read(most + 1)
    except OSError as error:
        raise _refused(top, f"{file} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise _refused(top, f"{file} is larger than {most:,} bytes")
    return data.decode("utf-8", "replace")


def _named_folder(base: Path, text: str, top: Path) -> Path:
    """The real path of a folder that a file of git names: whoever wrote it may have written anything."""
    try:
        found = (base / text).resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # as above
        why = f"a git file names a folder that cannot be accessed: {_why(error)}"
        raise _refused(top, why) from error
    return found


def _why(error: Exception) -> str:
    found = getattr(error, "strerror", None) or str(error)
    return quote_path(take_first_line(found))[:LONGEST_SHOWN]


def _named_by_file(top: Path) -> WorkTree:
    """The work tree of a file `.git`, once the directory that it names confirms it."""
    text = _read(top / NAME, top)
    directory = _named_folder(top, text.removeprefix("gitdir:").strip(), top)
    if not text.startswith("gitdir:") or not directory.is_dir():
        raise _refused(
            top, f"{top / NAME} does not name a git directory", remedy="Run `git worktree repair`."
        )
    if directory.is_relative_to(top):
        raise _refused(top, f"{top / NAME} names a folder inside the work tree, {directory}")
    if (directory / "commondir").is_file():
        common = _named_folder(directory, _read(directory / "commondir", top).strip(), top)
        back = directory / _read(directory / "gitdir", top).strip()
        tree = _named_folder(directory, str(back.parent), top)
        if tree / back.name != top / NAME or directory.parent != common / "worktrees":
            raise _refused(
                top,
                f"{directory} is the git directory of another work tree",
                remedy="If the work tree was moved, run `git worktree repair` in it.",
            )
        return WorkTree(top, directory, common)
    if _configured_work_tree(directory, top) != top:
        raise _refused(
            top,
            f"{top / NAME} names {directory}, which does not name this work tree",
            remedy=f"If they belong together, run: git --git-dir={directory} config core.worktree {top}",
        )
    return WorkTree(top, directory, directory)


def _configured_work_tree(directory: Path, top: Path) -> Path | None:
    """What `core.worktree` says in a git directory's configuration, whose includes are not followed."""
    section = ""
    for row in map(str.strip, _read(directory / "config", top).splitlines()):
        if found := _SECTION_LINE.fullmatch(row):
            section = found[1].lower()
        elif section == "core" and (found := _WORKTREE_LINE.fullmatch(row)):
            return _named_folder(directory, found[1].strip('"'), top)
    return None


def _checked(found: WorkTree, named: Path) -> WorkTree:
    """The same, once it has every part, belongs to whom it should, and keeps to itself.

    Raises:
        SourceError: it does not.
    """
    _check_owner(found, named)
    _check_parts(found)
    return found


def _check_owner(found: WorkTree, named: Path) -> None:
    """Anybody can put a `.git` into a folder that others can write, such as /tmp, above what is named."""
    wanted = {os.geteuid(), 0, named.stat().st_uid}
    if os.geteuid() == 0 and (sudo := os.environ.get("SUDO_UID", "")).isdecimal():
        wanted.add(int(sudo))
    for place in (found.top / NAME, found.directory, found.common):
        if (owner := place.lstat().st_uid) not in wanted:
            raise _refused(
                found.top,
                f"the user {owner} owns {place}, and is neither this user nor the owner of {named}",
                remedy="If you trust it, change its owner with chown; otherwise give a folder outside it.",
            )


def _check_parts(found: WorkTree) -> None:
    top, common = found.top, found.common
    for part in _UNLINKED:
        if (place := common / part).is_symlink():
            raise _refused(top, f"{place} is a symbolic link", remedy=_PLAIN)
    missing = [part for part in PARTS if not os.path.lexists(common / part)]
    if not os.path.lexists(found.directory / "HEAD"):
        missing.append("HEAD")
    if missing:
        raise _refused(top, f"{common} is damaged: {missing[0]} is missing", remedy="Clone it again.")
    if (common / "reftable").exists():
        raise _refused(
            top,
            "it stores its refs in the reftable format",
            remedy="Run `git refs migrate --ref-format=files`.",
        )
    alternates = common / "objects/info/alternates"
    if os.path.lexists(alternates) and (not alternates.is_file() or alternates.stat().st_size):
        raise _refused(
            top,
            f"it uses objects of another repository, which {alternates} names",
            remedy=f"Run `git -C {top} repack -a -d`, then remove that file.",
        )
