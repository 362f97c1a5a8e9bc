"""A fleet in which one cluster gets what a package has, such as a backup, instead of its own files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import PriorFiles
from reconciler.core.selection import Selection, select_nodes
from reconciler.desired.fleet import Fleet
from reconciler.desired.fleet_file import find_fleet_file
from reconciler.documents.document import parse_document
from reconciler.errors import UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.ports.source import Snapshot, Source, SourceOrigin
from reconciler.sources.forwarding_source import WrappedSource

Drivers = Mapping[str, Driver[Any, Any]]


class RestoredSource(WrappedSource):
    """The source of a fleet, whose revision is that of a package.

    The fleet stays the same one, with its history, names, limits and nodes. Only the settings and files of
    one cluster are those of the package, so that the plan compares the nodes with the package.

    Args:
        fleet_source: of the fleet.
        package: of the settings file and what belongs to it.
        only: the nodes of one cluster, which go back.
    """

    def __init__(self, fleet_source: Source, package: Source, only: Selection) -> None:
        super().__init__(fleet_source)
        self._package = package
        self._only = only
        self._own: tuple[Snapshot, Revision] | None = None
        """The package, and the revision of the fleet."""

    async def snapshot(self) -> Snapshot:
        """The files of the fleet, as the revision of the package."""
        found, package = await super().snapshot(), await self._package.snapshot()
        self._own = package, found.revision
        title = f"package {package.revision.title} of {package.revision.source}"
        revision = replace(package.revision, source=found.revision.source, title=title)
        return replace(found, revision=revision)

    def restore(self, fleet: Fleet, drivers: Drivers) -> Fleet:
        """The fleet with what the package has.

        Args:
            fleet: read from the last snapshot.
            drivers: kind -> product.

        Raises:
            UsageError: the selection is not of one cluster, or the package is not for its product.
            InputError: the package has no settings file, or one that cannot be read.
        """
        assert self._own is not None  # a fleet was read
        package = self._own[0]
        selected = [*select_nodes(self._only, [one.entry for one in fleet.cluster_inputs])]
        if len(selected) > 1:
            raise UsageError(
                f"a package is for one cluster, and {len(selected)} are selected: {', '.join(selected[:5])}",
                remedy="add --only CLUSTER, or --only CLUSTER/NODE for one node",
            )
        names = tuple(package.files.names())
        name, kind = find_fleet_file(names, drivers)
        where = package.revision.source
        if not kind:
            raise UsageError(
                f"{where} has a fleet file, so it is a whole fleet and not a package for one cluster",
                remedy="give it as SOURCE",
            )
        (chosen,) = (one for one in fleet.cluster_inputs if one.entry.name == selected[0])
        if chosen.entry.kind != kind:
            raise UsageError(
                f"{where} has settings of {kind}, and the cluster {selected[0]} is of {chosen.entry.kind}",
                remedy="select a cluster of that product with --only",
            )
        document = parse_document(name, package.files.read(name))
        restored = replace(
            chosen,
            revision=fleet.revision,
            documents=dict.fromkeys(chosen.documents, document),
            resources={path: package.files.read(path) for path in names if path != name},
            missing={},
            encrypted={},
        )

        def choose(one: ClusterInput) -> ClusterInput:
            return restored if one is chosen else one

        return replace(fleet, cluster_inputs=tuple(map(choose, fleet.cluster_inputs)), desired=())

    async def ancestors(self, revision: str) -> frozenset[str] | None:
        """See `ports.source.Source`; a package has none."""
        return None if self._is_package(revision) else await super().ancestors(revision)

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """See `ports.source.Source`."""
        if self._is_package(revision):
            yield iter(())
            return
        async with super().open_first_parents(revision, most) as found:
            yield found

    async def read_origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """See `ports.source.Source`."""
        return await super().read_origin(self._find_own(revision), names, folders)

    async def read_prior_files(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """See `ports.source.Source`."""
        own = self._find_own(revision)
        return await super().read_prior_files(own, names, base=base, applied=applied)

    def _is_package(self, revision: str) -> bool:
        return self._own is not None and revision == self._own[0].revision.id

    def _find_own(self, revision: str) -> str:
        """The revision of the fleet, for that of the package."""
        return self._own[1].id if self._own is not None and self._is_package(revision) else revision
