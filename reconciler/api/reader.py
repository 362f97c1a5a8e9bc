"""The reading half of the pass for whoever calls it: command line, server, or a program of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, TypeAlias

from reconciler.core.cluster_renames import find_renames, with_renames
from reconciler.core.fleet_identity import NEW, FleetIdentity, KnownFleet, resolve
from reconciler.core.history import Memory
from reconciler.desired.fleet import Fleet, load
from reconciler.drivers.registry import DRIVERS, drivers_for
from reconciler.errors import UsageError
from reconciler.host.clock import utc_now
from reconciler.host.host import Host
from reconciler.planning.ancestry import traced
from reconciler.planning.earlier_content import Lineage
from reconciler.planning.fleet_origin import identify
from reconciler.planning.plan_file import Notes, PlanFile, fit_files, fit_revision, prepared
from reconciler.planning.plan_pass import Drivers, Survey, survey
from reconciler.planning.prior import NO_BASE, Base, read_prior
from reconciler.ports.listener import SILENT, Listener
from reconciler.ports.source import Source
from reconciler.ports.store import Orders, StoreReader
from reconciler.ports.transport import Transports
from reconciler.secrets.local_resolver import LocalVault
from reconciler.transports.bundle import open_transports

if TYPE_CHECKING:
    from reconciler.planning.model_check import Checked
    from reconciler.planning.status import FleetStatus

Connect: TypeAlias = Callable[[Host], AbstractAsyncContextManager[Transports]]
"""Opens a host's ways to the nodes, which are closed at the end of the context."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a source and the nodes, plans and tells status; it holds nothing by which it could write.

    Every call reads anew. A fleet that was read before can be handed in, so that what is in force stays so
    while the source is away or wrong.

    Args:
        source: where the desired state comes from; see `reconciler.sources.locate`.
        store: what earlier runs left, for guards and status; None where nothing is remembered.
        host: this machine: its networks, its commands, its environment for secrets.
        is_applying: whether this very host applies the plan, so that the commands it lacks count.
        base: what the revision is to be merged into, for pull requests.
        is_named: whether a person asked for this very revision, which may then be an older one.
        drivers: kind -> product.
        connect: opens the ways to the nodes.
    """

    source: Source
    store: StoreReader | None = None
    host: Host = field(default_factory=Host)
    is_applying: bool = False
    base: Base = NO_BASE
    is_named: bool = False
    drivers: Drivers = field(default_factory=lambda: DRIVERS)
    connect: Connect = open_transports

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Self]:
        """The same reader over one bundle of ways to the nodes, open until the context ends."""
        async with self.connect(self.host) as transports:
            yield replace(self, connect=lambda _: nullcontext(transports))

    @property
    def products(self) -> Drivers:
        """Kind -> product, with what the host allows of each."""
        return drivers_for(self.host.config, self.drivers)

    async def read_fleet(self, *, notes: Notes | None = None) -> Fleet:
        """The fleet that the source describes now; secrets are looked up anew.

        Args:
            notes: is told which files were read, and what they held.

        Raises:
            SourceError: the source cannot be used, or does not answer.
            InputError: its files are wrong; with every problem.
        """
        snapshot = await self.source.snapshot()
        return load(notes.over(snapshot) if notes else snapshot, self.products, LocalVault(self.host))

    async def read_planned_fleet(self, file: PlanFile) -> Fleet:
        """The fleet that a plan file was made from; the source has to be one that gives its revision.

        Raises:
            SourceError: the source cannot be used, or does not answer.
            WorldChanged: it gives another revision, signer or content of files.
        """
        snapshot, notes = await self.source.snapshot(), Notes()
        planned = replace(snapshot, revision=fit_revision(file, snapshot.revision))
        fleet = load(notes.over(planned), self.products, LocalVault(self.host))
        fit_files(file, notes.digests)
        return fleet

    async def plan(
        self,
        fleet: Fleet | None = None,
        *,
        cluster: str = "",
        only: str = "",
        file: PlanFile | None = None,
        listener: Listener = SILENT,
    ) -> Survey:
        """Ask the nodes, plan, and judge the plan by all guards.

        Args:
            fleet: one that was read before; None to read the source now.
            cluster: look at this cluster alone; the addresses of all others still count. Empty for all.
            only: a cluster, a node or `cluster/node` to keep to; empty for all. A survey that is narrowed so
                calls no cluster removed.
            file: a plan that was made earlier, of this very revision: it takes the place of the plan, as far
                as it still fits.
            listener: hears of each stage.

        Raises:
            SourceError: the source, or its history, cannot be read.
            InputError: the files are wrong; with the problems of all clusters.
            UsageError: `cluster` or `only` names nothing, or a node that cannot be planned alone.
            WorldChanged: the plan file does not fit its revision.
            StateError: the store cannot be read.
        """
        fleet = fleet or await self.read_fleet()
        names = [desk.entry.name for desk in fleet.desks]
        if cluster and cluster not in names:
            remedy = f"its clusters: {', '.join(names)}"
            raise UsageError(f"the fleet has no cluster {cluster!r}", remedy=remedy)
        drivers = self.products
        identity, store = await self.bind(fleet)
        memory = await store.recall() if store else Memory(at=utc_now())
        memory = with_renames(memory, find_renames(memory, [desk.entry for desk in fleet.desks]))
        renames = {**fleet.renames, **memory.renames}
        if self.is_named:  # somebody asks for this very revision: he may also take a rollback back
            past = {name: replace(one, rolled_back=()) for name, one in memory.past.items()}
            memory = replace(memory, past=past)
        memory = await traced(
            memory, fleet, self.source, drivers=drivers, vault=LocalVault(self.host), named=self.is_named
        )
        memory = await read_prior(
            memory, fleet, self.source, drivers=drivers, base=self.base, vault=LocalVault(self.host)
        )
        async with self.connect(self.host) as transports:
            seen = await survey(
                fleet,
                drivers=drivers,
                transports=transports,
                recalled=memory,
                cluster=cluster,
                only=only,
                listener=listener,
                commands=self.host.commands(applying=self.is_applying),
                lineage=Lineage(fleet, self.source, drivers, LocalVault(self.host), renames),
                is_applying=self.is_applying,
            )
        seen = replace(seen, identity=identity)
        return prepared(file, seen, drivers) if file else seen

    async def identify(self, fleet: Fleet, known: Sequence[KnownFleet]) -> FleetIdentity:
        """By what a fleet is told from the others of a host.

        Args:
            fleet: one that was read before.
            known: the fleets that the host remembers, from `StoreReader.fleets`.

        Raises:
            SourceError: the source does not give its history.
        """
        return await identify(fleet, self.source, known, drivers=self.products)

    async def bind(self, fleet: Fleet) -> tuple[FleetIdentity | None, StoreReader | None]:
        """By what a fleet is told from others, and the store for its memory alone.

        Raises:
            FleetRefused: the host has to say first whose memory it is.
            SourceError: the source does not give its history.
            StateError: the store cannot be read.
        """
        if self.store is None:
            return None, None
        known = await self.store.fleets()
        if not known and not self.is_applying:  # nothing is remembered of anybody
            return None, self.store.of(NEW)
        identity = await self.identify(fleet, known)
        return identity, self.store.of(resolve(identity, known).number)

    async def status(
        self, fleet: Fleet | None = None, *, only: str = "", listener: Listener = SILENT
    ) -> FleetStatus:
        """How each node stands by its own answer, what it runs since when, and what holds up changes.

        Args:
            fleet: one that was read before; None to read the source now.
            only: a cluster, a node or `cluster/node` to keep to; empty for all.
            listener: hears of each stage.

        Raises:
            ReconcilerError: as `plan` does.
        """
        from reconciler.planning.status import status  # noqa: PLC0415  (a dry run does not need it)

        seen = await self.plan(fleet, only=only, listener=listener)
        _, store = await self.bind(seen.fleet)
        if store is None:
            return status(seen, Orders(), None)
        newest = await store.runs(1)
        return status(seen, await store.orders(), next(iter(newest), None))

    def check(
        self, seen: Survey, *, faults: int = 1, most: int = 5_000_000, weighs: bool = False
    ) -> tuple[Checked, ...]:
        """Explore every possible execution of a plan, cluster by cluster; pure.

        Args:
            seen: what `plan` gave.
            faults: how many failures, cuts and lost calls at most.
            most: bound on the states of one cluster.
            weighs: whether a state of a large cluster counts for several.
        """
        from reconciler.planning.model_check import check  # noqa: PLC0415  (a dry run does not need it)

        return check(seen, self.products, faults=faults, most=most, weighs=weighs)
