"""Where this host reads the revision of a plan file: never where the file says, which anybody may edit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.core.fleet_identity import KnownFleet
from reconciler.errors import UsageError
from reconciler.host import aio
from reconciler.host.environment import Environment
from reconciler.store.factory import open_reader

VARIABLE: Final = "RECONCILE_SOURCE"
"""Environment variable that names the host's source, where the command line does not."""

_MOST_NAMED: Final = 5
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class HostSource:
    """Where the desired state is read, as this host says it.

    Args:
        source: folder, git repository or tarball.
        ref: branch, tag or commit; empty for the default branch.
        path: the folder within the source.
    """

    source: str
    ref: str = ""
    path: str = ""


def find_host_source(
    given: HostSource, environment: Environment, state: Path | None, *, planned: str
) -> HostSource:
    """The source by the command line, else by the environment, else the one fleet that the state remembers.

    Args:
        given: as the command line says; each part may be empty.
        environment: of the process.
        state: the state folder; None where none is opened.
        planned: where the plan was made, for the message alone.

    Raises:
        UsageError: none of them names it.
        StateError: the state cannot be read.
    """
    if source := given.source or environment.get(VARIABLE, ""):
        return HostSource(source, given.ref, given.path)
    known = _with_source(state) if state is not None else []
    if len(known) == 1:
        return _remembered(known[0], given)
    why = "no run on this host has read a source yet" if state is not None else "no state folder is used"
    if known:
        labels = ", ".join(fleet.label for fleet in known[:_MOST_NAMED])
        why = f"this host has several fleets: {labels}{' …' if len(known) > _MOST_NAMED else ''}"
    raise UsageError(
        f"the source of the desired state is unknown, and a plan file cannot choose it: {why}",
        remedy=f"give this host's source after the file, as in `reconcile apply FILE SOURCE`, or set "
        f"{VARIABLE}; according to the file, the plan was made from {planned}",
    )


def _with_source(state: Path) -> list[KnownFleet]:
    with open_reader(state) as store:
        return [fleet for fleet in aio.run_until_signal(store.fleets()) if fleet.sources]


def _remembered(fleet: KnownFleet, given: HostSource) -> HostSource:
    """The source that a fleet was read from last, with its branch and folder where none are given."""
    path = fleet.path or ""
    source = fleet.sources[-1].removesuffix(f"//{path}") if path else fleet.sources[-1]
    # a source without a folder behind it has the folder's path in itself, as a work tree has
    inner = path if source != fleet.sources[-1] else ""
    followed = "" if _COMMIT.fullmatch(fleet.ref) else fleet.ref  # a rollback named it, and nobody follows it
    return HostSource(source, given.ref or followed, given.path or inner)
