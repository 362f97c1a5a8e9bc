"""A folder in a work tree: what the commit that is checked out has there, and what git ignores.

Nothing here runs `git status`: with the configuration of the repository it starts programs. Objects are
read through a git directory of our own; `tree.list_changed` compares files with the commit by their hashes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reconciler.errors import SourceError, StateError
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.git import tree
from reconciler.sources.git.command import Git, GitCommandFailed, GitDirectory, GitSettings, read_user_setting
from reconciler.sources.git.discovery import WorkTree
from reconciler.sources.git.errors import DamagedMirror
from reconciler.sources.git.objects import ObjectReader
from reconciler.sources.git.tree import CommittedFolder, TreeLocation
from reconciler.text.one_line import decode_name, take_first_line

IGNORE_SECONDS = 60.0
"""Seconds to match a folder against `.gitignore`: a pattern can take exponential time."""


@contextmanager
def open_own_view(work: WorkTree) -> Iterator[GitDirectory]:
    """A temporary git directory of ours, through which the objects of a work tree are read.

    So the configuration of the repository has no effect, nor have its replacements, grafts, attributes,
    alternates and hooks, and missing objects are not fetched from a remote.

    Raises:
        StateError: it cannot be created.
    """
    with ExitStack() as stack:
        try:
            made = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="reconcile-", ignore_cleanup_errors=True)
            )
            directory = Path(made)
            # The least that git takes for a repository; whatever is missing here cannot name a program.
            (directory / "HEAD").write_text("ref: refs/heads/none\n")
            (directory / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
            for part in ("objects", "refs"):
                (directory / part).mkdir()
        except OSError as error:
            raise StateError(
                f"a temporary folder cannot be created: {error.strerror}",
                remedy="check TMPDIR and the free disk space",
            ) from error
        yield GitDirectory(made, str(work.objects))


@contextmanager
def open_served_view(work: WorkTree) -> Iterator[GitDirectory]:
    """Like `open_own_view`, with the refs, so that git can fetch from it.

    Raises:
        SourceError: the refs cannot be read, or the path contains a line break.
    """
    refs, head = work.refs(), work.head_ref() or work.head()
    # `alternates` has one path on each line, and no way to quote a line break.
    if "\n" in str(work.objects):
        raise SourceError(f"{work.top}: the path contains a line break", remedy="rename the folder")
    shallow = work.common / "shallow"
    with open_own_view(work) as repository:
        directory = Path(repository.directory)
        (directory / "HEAD").write_text(f"{'ref: ' if work.head_ref() else ''}{head}\n")
        (directory / "packed-refs").write_text("".join(f"{id_} {name}\n" for name, id_ in refs.items()))
        (directory / "objects/info").mkdir()
        (directory / "objects/info/alternates").write_bytes(os.fsencode(work.objects) + b"\n")
        # Without this list git takes the missing parents of a shallow clone for damage.
        if shallow.is_file():
            shutil.copyfile(shallow, directory / "shallow", follow_symlinks=False)
        yield repository


@contextmanager
def open_objects(work: WorkTree, environment: Mapping[str, str] = os.environ) -> Iterator[ObjectReader]:
    """The objects of a work tree's repository, readable until the block ends.

    Raises:
        SourceError: one of its files cannot be read.
        StateError: a temporary folder cannot be created.
    """
    with open_own_view(work) as repository:
        yield ObjectReader(repository, environment, where=str(work.top))


def read_head_folder(
    work: WorkTree,
    folder: Path,
    limits: SourceLimits,
    known: CommittedFolder | None,
    environment: Mapping[str, str],
) -> CommittedFolder | None:
    """What the commit that is checked out has in a folder; None if it does not have the folder.

    Args:
        work: the work tree.
        folder: a real path in it.
        limits: bounds on the commit.
        known: the last result, which is valid while the same commit is checked out.
        environment: of this process.

    Raises:
        SourceError: the repository cannot be read, or the folder has too many files.
    """
    commit = work.head()
    if commit is None or (known is not None and known.commit == commit):
        return known if commit else None
    try:
        with open_objects(work, environment) as objects:
            return tree.read_committed_folder(
                objects, commit, TreeLocation(str(work.top), work.locate(folder), limits)
            )
    except DamagedMirror as error:
        raise SourceError(
            f"the git repository of {work.top} does not have all objects of its commit {commit}",
            remedy="run `git fsck` in it; a clone without trees (--filter=tree:0) cannot be used",
        ) from error


def list_ignored(work: WorkTree, folder: Path, environment: Mapping[str, str]) -> frozenset[str]:
    """Paths below a folder that git ignores; folders end with `/`. Committed files may be among them.

    By the rules that git uses: `.gitignore`, `.git/info/exclude` and `core.excludesFile` of the user.

    Args:
        work: the work tree.
        folder: a real path in it.
        environment: of this process.

    Raises:
        SourceError: git cannot list them.
    """
    own = read_user_setting(environment, "--path", "--get", "core.excludesFile")
    config = (("core.excludesFile", own),) if own else ()
    excludes = work.common / "info/exclude"
    # A link could lead git to any file of this host, and a pipe would block it.
    is_plain = excludes.is_file() and not excludes.is_symlink()
    more = (f"--exclude-from={excludes}",) if is_plain else ()
    with open_own_view(work) as repository:
        settings = GitSettings.local(environment, repository).extend(
            *config, variables={"GIT_WORK_TREE": str(work.top)}, seconds=IGNORE_SECONDS, folder=str(folder)
        )
        try:
            output = Git(settings=settings).run(
                *("ls-files", "--others", "--ignored", "--directory", "-z", "--exclude-standard"),
                *(*more, "--", "."),
            )
        except GitCommandFailed as failed:
            raise SourceError(
                f"{folder}: git cannot list the ignored files: {take_first_line(failed.output)}",
                remedy="check its .gitignore files",
            ) from failed
    return frozenset(decode_name(path) for path in output.split(b"\0") if path)
