"""Plan files on disk: written beside a dry run, read before they are applied."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
"""Bytes that a plan file may have."""

_HEAD = 256
"""Bytes within which a plan file says what it is."""


def write_plan_file(
    path: Path, seen: PlanResult, order: RunOptions, notes: FileDigests, drivers: Drivers
) -> None:
    """Write a survey's plan into a file that only this user can read; what was there is replaced.

    Raises:
        StateError: it cannot be written.
    """
    data = make_plan_file(seen, _origin(order), notes.digests, datetime.now(UTC), drivers).written()
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StateError(
            f"cannot write the plan file {path}: {error.strerror}",
            remedy="choose another file with --out",
        ) from error


def read_plan_file(path: Path) -> PlanFile:
    """The plan file at a path.

    Raises:
        UsageError: it cannot be read, is none, or was changed since it was written.
        WorldChanged: another version of this program wrote it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the plan file {path}: {error.strerror}", remedy="check the path"
        ) from error
    if len(data) > LARGEST:
        raise UsageError(
            f"the plan file {path} is larger than {format_size(LARGEST)}", remedy="check the path"
        )
    found = parse_plan_file(data, str(path))
    check_program(found)
    return found


def is_plan_file(place: str) -> bool:
    """Whether a place is a file that says it is a plan, rather than a source of desired state."""
    try:
        with Path(place).open("rb") as file:
            return b'"reconcile-plan"' in file.read(_HEAD)
    except OSError:
        return False


def _origin(order: RunOptions) -> PlanOrigin:
    place = Path(order.source).expanduser()
    source = str(make_absolute(place)) if place.exists() else order.source
    bare = strip_secrets(source)
    return PlanOrigin(source=bare, ref=order.ref, path=order.path, only=order.only, whole=bare == source)
