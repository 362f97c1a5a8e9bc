"""By what the fleet at hand is told from others: asked of its files and of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.core.fleet_identity import FleetIdentity, KnownFleet, normalise_source
from reconciler.core.prior_revisions import PriorFile
from reconciler.desired.fleet_file import NAMES
from reconciler.documents.document import parse_document
from reconciler.errors import InputError
from reconciler.ports.driver import Driver
from reconciler.ports.source import Source

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet


async def identify_fleet(
    fleet: Fleet,
    source: Source,
    known: Sequence[KnownFleet] = (),
    *,
    drivers: Mapping[str, Driver[Any, Any]],
) -> FleetIdentity:
    """By what a fleet is told from others.

    Args:
        fleet: the desired state at a revision.
        source: where it was read.
        known: fleets of this host: where their files were is looked at in this revision, too.
        drivers: kind -> product; they say what a settings file is called that stands for a fleet.

    Raises:
        SourceError: the source does not give its history.
    """
    found = await source.origin(fleet.revision.id, NAMES, ())
    folders = {one.path for one in known if one.path is not None} - {found.path}
    if found.roots and folders:  # every product is asked what its lone file is called, which loads it
        lone = (name for name in sorted({driver.lone_file for driver in drivers.values()}) if name)
        found = await source.origin(fleet.revision.id, (*NAMES, *lone), sorted(folders))
    return FleetIdentity(
        source=normalise_source(fleet.revision.source),
        name=fleet.name,
        renamed_from=fleet.renamed_from,
        roots=found.roots,
        path=found.path,
        ref=found.ref,
        others={folder: _name(file) for folder, file in found.others.items()},
        is_lone=fleet.document.name not in NAMES,
        lone=frozenset(folder for folder, file in found.others.items() if _is_lone(file)),
    )


def _is_lone(file: PriorFile) -> bool:
    """Whether it is a settings file that stands for a fleet."""
    return file.name.rpartition("/")[2] not in NAMES


def _name(file: PriorFile) -> str:
    """The name that another fleet file says; empty where it says none, or cannot be read."""
    if _is_lone(file):
        return ""
    try:
        value = parse_document(file.name, file.data).value
    except InputError:
        return ""
    name = value.get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else ""
