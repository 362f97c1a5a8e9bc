"""The source from which this host reads the revision of a plan file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reconciler.core.fleet_matching import KnownFleet
from reconciler.errors import UsageError
from reconciler.host import aio
from reconciler.host.environment import Environment
from reconciler.store.factory import StorePlace, open_reader

VARIABLE: Final = "RECONCILE_SOURCE"
"""Environment variable that names the host's source if the command line does not."""

_MOST_NAMED: Final = 5
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class HostSource:
    """Where this host reads the desired state.

    Args:
        source: folder, git repository or tarball.
        ref: branch, tag or commit; empty for the default branch.
        path: the folder within the source.
    """

    source: str
    ref: str = ""
    path: str = ""


def find_host_source(
    given: HostSource, environment: Environment, state: StorePlace | None, *, planned: str
) -> HostSource:
    """The source of the command line, else of the environment, else of the only fleet in the state.

    Args:
        given: as on the command line; each part may be empty.
        environment: of the process.
        state: where the store is; None if none is used.
        planned: the source in the plan file, for the error message only.

    Raises:
        UsageError: none of them names a source.
        StateError: the state cannot be read.
    """
    # Never the source in the file: whoever edits the file could otherwise let this host apply a repository of
    # their own.
    if source := given.source or environment.get(VARIABLE, ""):
        return HostSource(source, given.ref, given.path)
    known: list[KnownFleet] = []
    if state is not None:
        with open_reader(state) as store:
            known = [fleet for fleet in aio.run_until_signal(store.fleets()) if fleet.sources]
    if len(known) == 1:
        return _complete_from_fleet(given, known[0])
    why = "no run on this host has read a source yet" if state is not None else "no state folder is used"
    if known:
        labels = ", ".join(fleet.label for fleet in known[:_MOST_NAMED])
        why = f"this host has several fleets: {labels}{' …' if len(known) > _MOST_NAMED else ''}"
    raise UsageError(
        f"the source of the desired state is unknown, and a plan file cannot choose it: {why}",
        remedy=f"give this host's source after the file, as in `reconcile apply FILE SOURCE`, or set "
        f"{VARIABLE}; according to the file, the plan was made from {planned}",
    )


def _complete_from_fleet(given: HostSource, fleet: KnownFleet) -> HostSource:
    """The last source of a fleet, with its branch and folder unless they are given."""
    path = fleet.path or ""
    source = fleet.sources[-1].removesuffix(f"//{path}") if path else fleet.sources[-1]
    # The path of a work tree already contains the folder; only other sources end in //FOLDER.
    inner = path if source != fleet.sources[-1] else ""
    # A ref that is a commit comes from a rollback; the host does not follow it.
    followed = "" if _COMMIT.fullmatch(fleet.ref) else fleet.ref
    return HostSource(source, given.ref or followed, given.path or inner)
