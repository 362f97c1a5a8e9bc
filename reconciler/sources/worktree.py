"""What git says of a folder that lies in a working tree: its commit, and whether the files are the same."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.sources import git_errors
from reconciler.sources.address import Address
from reconciler.sources.git_command import Git, GitFailed
from reconciler.sources.layout import Layout
from reconciler.sources.scan import passed_over
from reconciler.sources.scan import read as read_file
from reconciler.sources.text import line, name


@dataclass(frozen=True, slots=True)
class Standing:
    """How a folder stands to the commit that is checked out.

    Args:
        commit: the full id.
        clean: whether its files are exactly those of the commit.
        ignored: paths, from the folder, that git is told to ignore; folders end with `/`.
    """

    commit: str
    clean: bool
    ignored: frozenset[str]


def top_of(folder: Path) -> Path | None:
    """The working tree that a folder lies in; None where it lies in none."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


async def standing(folder: Path, top: Path, environment: Mapping[str, str]) -> Standing | None:
    """How a folder stands; None where git does not keep it: no commit yet, or the folder is ignored.

    Args:
        folder: a real path, without links on the way.
        top: the working tree, as `top_of` gives it.
        environment: usually `os.environ`.

    Raises:
        SourceError: git refuses to look at it.
    """
    command = (
        "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignored=matching",
        "--no-renames", "--", ".",
    )  # fmt: skip
    try:
        output = await Git(environment).run(*command, folder=str(folder))
    except GitFailed as failed:
        raise git_errors.translated(failed.words, Address(str(top), str(top), "file")) from failed
    return read(output, folder.relative_to(top).as_posix())


def read(output: bytes, below: str) -> Standing | None:
    """The answer of `git status --porcelain=v2 --branch -z` for the folder `below` the top, or `.`."""
    prefix = "" if below == "." else f"{below}/"
    commit, clean = "", True
    ignored: set[str] = set()
    for row in map(name, output.split(b"\0")):
        if row.startswith("# branch.oid "):
            commit = row.removeprefix("# branch.oid ")
        elif row.startswith("! "):
            path = row[2:]
            if prefix and prefix.startswith(path):
                return None
            ignored.add(path.removeprefix(prefix))
        elif row and not row.startswith("# "):
            clean = False
    return None if commit in ("", "(initial)") else Standing(commit, clean, frozenset(ignored))


async def history(folder: Path, commit: str) -> frozenset[str] | None:
    """Ids of a commit and of all that it descends from; None where the clone lacks it, or its beginning."""
    git = Git(os.environ)
    try:
        if (await git.run("rev-parse", "--is-shallow-repository", folder=str(folder))).strip() == b"true":
            return None
        found = await git.run("rev-list", commit, "--", folder=str(folder))
    except GitFailed:  # its way to say that there is no such commit
        return None
    return frozenset(found.decode().split())


async def strays(folder: Path, commit: str, layout: Layout) -> list[str]:
    """Paths that a folder has otherwise than a commit has them, sorted; read anew, whatever git remembers.

    Args:
        folder: below the top of the working tree.
        commit: the full id.
        layout: what lies in the folder.

    Raises:
        SourceError: the commit or a file cannot be read.
    """
    try:
        output = await Git(os.environ).run("ls-tree", "-r", "-z", commit, ".", folder=str(folder))
    except GitFailed as failed:
        raise SourceError(f"{folder}: the commit {commit} cannot be read: {line(failed.words)}") from failed
    rows = (row.split("\t", 1) for row in map(name, output.split(b"\0")) if row)
    committed = {path: head.split()[2] for head, path in rows if not passed_over(path)}
    here = await asyncio.to_thread(_blobs, layout)
    return sorted(path for path in {*here, *committed} if committed.get(path) != here.get(path))


def _blobs(layout: Layout) -> dict[str, str]:
    """Path -> the id that git would give to what lies there."""
    links = {path: target.encode() for path, target in layout.links.items()}
    return {path: _blob(data) for path, data in links.items()} | {
        path: _blob(read_file(found)) for path, found in layout.files.items()
    }


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


async def title(folder: Path, commit: str, environment: Mapping[str, str]) -> str:
    """The first line of a commit's message.

    Raises:
        SourceError: the commit cannot be read.
    """
    try:
        output = await Git(environment).run("cat-file", "commit", commit, folder=str(folder))
    except GitFailed as failed:
        raise SourceError(f"{folder}: the commit {commit} cannot be read: {line(failed.words)}") from failed
    return line(output.partition(b"\n\n")[2].decode("utf-8", "replace"))
