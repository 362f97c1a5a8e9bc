"""Finds the identity of a fleet in its files and in the history of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.core.fleet_matching import FleetIdentity, KnownFleet, normalise_source
from reconciler.core.prior_revisions import PriorFile
from reconciler.documents.document import parse_document
from reconciler.errors import InputError
from reconciler.ports.driver import Driver
from reconciler.ports.source import FLEET_FILES, Source

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet


async def identify_fleet(
    fleet: Fleet,
    source: Source,
    known: Sequence[KnownFleet] = (),
    *,
    drivers: Mapping[str, Driver[Any, Any]],
) -> FleetIdentity:
    """The identity of a fleet.

    Args:
        fleet: the desired state at a revision.
        source: where it was read.
        known: fleets of this host: the folders of their files are looked up in this revision too.
        drivers: kind -> product; gives the name of a settings file that can be used instead of a fleet file.

    Raises:
        SourceError: the source does not give its history.
    """
    # Not by name and URL alone, because both may change: the first commits of the history stay the same, and
    # lead to the memory of the fleet.
    found = await source.read_origin(fleet.revision.id, FLEET_FILES, ())
    folders = {one.path for one in known if one.path is not None} - {found.path}
    if found.roots and folders:  # only then: asking every product loads its driver, which takes time
        lone = (name for name in sorted({driver.lone_file for driver in drivers.values()}) if name)
        found = await source.read_origin(fleet.revision.id, (*FLEET_FILES, *lone), sorted(folders))
    return FleetIdentity(
        source=normalise_source(fleet.revision.source),
        name=fleet.name,
        renamed_from=fleet.renamed_from,
        roots=found.roots,
        path=found.path,
        ref=found.ref,
        others={folder: _read_name(file) for folder, file in found.others.items()},
        is_lone=fleet.document.name not in FLEET_FILES,
        lone=frozenset(folder for folder, file in found.others.items() if _is_lone(file)),
    )


def _is_lone(file: PriorFile) -> bool:
    """Whether it is a settings file used instead of a fleet file."""
    return file.name.rpartition("/")[2] not in FLEET_FILES


def _read_name(file: PriorFile) -> str:
    """The `name` in another fleet file; empty if it has none, or cannot be read."""
    if _is_lone(file):
        return ""
    try:
        value = parse_document(file.name, file.data).value
    except InputError:
        return ""
    name = value.get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else ""
