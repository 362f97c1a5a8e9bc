"""By what the fleet at hand is told from others: asked of its files and of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.core.fleet_identity import FleetIdentity, KnownFleet, spell
from reconciler.core.prior import EarlierFile
from reconciler.desired.fleet_file import NAMES
from reconciler.documents.document import parse
from reconciler.errors import InputError
from reconciler.ports.source import Source

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet


async def identify(fleet: Fleet, source: Source, known: Sequence[KnownFleet] = ()) -> FleetIdentity:
    """By what a fleet is told from others.

    Args:
        fleet: the desired state at a revision.
        source: where it was read.
        known: fleets of this host: where their files were is looked at in this revision, too.

    Raises:
        SourceError: the source does not give its history.
    """
    folders = sorted({one.path for one in known if one.path is not None})
    found = await source.origin(fleet.revision.id, NAMES, folders)
    return FleetIdentity(
        source=spell(fleet.revision.source),
        name=fleet.name,
        renamed_from=fleet.renamed_from,
        roots=found.roots,
        path=found.path,
        ref=found.ref,
        others={folder: _name(file) for folder, file in found.others.items()},
    )


def _name(file: EarlierFile) -> str:
    """The name that another fleet file says; empty where it says none, or cannot be read."""
    try:
        value = parse(file.name, file.data).value
    except InputError:
        return ""
    name = value.get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else ""
