"""Plan files on disk: written by a dry run, read before they are applied."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.state_folder import OPTION
from reconciler.core.selection import format_selection
from reconciler.errors import StateError, UsageError
from reconciler.host.atomic_write import write_atomically
from reconciler.planning.plan_file import (
    FileDigests,
    PlanFile,
    PlanOrigin,
    check_program,
    make_plan_file,
    parse_plan_file,
)
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.sources.linked_source import make_absolute
from reconciler.text.one_line import format_size
from reconciler.text.urls import strip_secrets

if TYPE_CHECKING:
    from reconciler.cli.run_options import RunOptions

LARGEST = 256 * 1024 * 1024
"""Maximum size of a plan file in bytes."""

_HEAD = 256
"""Bytes at the start of a plan file that contain its kind; a tarball of any size is not read further."""


def format_apply_command(path: Path, options: RunOptions) -> str:
    """The command that applies a plan file on this host: from the same source, with the same state."""
    # Without them another source or another history would be used, and the plan refused.
    words = ["reconcile", "apply", str(path), strip_secrets(options.source)]
    words += ["--path", options.path] if options.path else []
    if options.state is not None and options.state.origin == OPTION:
        words += ["--state", options.state.place]
    return shlex.join(words)


def write_plan_file(
    path: Path, result: PlanResult, options: RunOptions, notes: FileDigests, drivers: Drivers
) -> None:
    """Write a plan into a file that only this user can read; an existing file is replaced.

    Raises:
        StateError: it cannot be written.
    """
    local = Path(options.source).expanduser()
    source = str(make_absolute(local)) if local.exists() else options.source
    # Plan files end up in CI artifacts and tickets, so no secret part of a URL goes into one.
    bare = strip_secrets(source)
    origin = PlanOrigin(
        source=bare,
        ref=options.ref,
        path=options.path,
        only=format_selection(options.only),
        whole=bare == source,
    )
    data = make_plan_file(result, origin, notes.digests, datetime.now(UTC), drivers).encode()
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StateError(
            f"cannot write the plan file {path}: {error.strerror}",
            remedy="choose another file with --out",
        ) from error


def read_plan_file(path: Path) -> PlanFile:
    """Read the plan file at a path.

    Raises:
        UsageError: it cannot be read, is not a plan file, or was changed since it was written.
        WorldChanged: another version of this program wrote it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)  # one byte more shows that there is more
    except OSError as error:
        remedy = "check the path"
        if isinstance(error, IsADirectoryError):
            remedy = f"to plan, confirm and apply a folder: `reconcile {shlex.quote(str(path))}`"
        raise UsageError(f"cannot read the plan file {path}: {error.strerror}", remedy=remedy) from error
    if len(data) > LARGEST:
        raise UsageError(
            f"the plan file {path} is larger than {format_size(LARGEST)}", remedy="check the path"
        )
    found = parse_plan_file(data, str(path))
    check_program(found)
    return found


def is_plan_file(path: str) -> bool:
    """Whether a path is a plan file, rather than a source of desired state."""
    try:
        with Path(path).open("rb") as file:
            return b'"reconcile-plan"' in file.read(_HEAD)
    except OSError:
        return False
