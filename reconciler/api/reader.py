"""The reading half of the pass for whoever calls it: command line, server, or a program of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, TypeAlias

from reconciler.core.cluster_renames import apply_renames, find_renames
from reconciler.core.fleet_identity import NEW, FleetIdentity, KnownFleet, resolve_fleet
from reconciler.core.memory import FleetMemory
from reconciler.desired.fleet import Fleet, load_fleet
from reconciler.drivers.registry import DRIVERS, select_drivers
from reconciler.errors import UsageError
from reconciler.host.clock import utc_now
from reconciler.host.host import Host
from reconciler.planning.ancestry import add_ancestry
from reconciler.planning.content_ancestry import ContentAncestry
from reconciler.planning.fleet_identity import identify_fleet
from reconciler.planning.plan_file import FileDigests, PlanFile, check_files, check_revision, prepare_plan
from reconciler.planning.plan_pass import Drivers, PlanResult, run_plan_pass
from reconciler.planning.prior_revisions import NO_BASE, MergeTarget, read_prior_revisions
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.source import Source
from reconciler.ports.store import OpenOrders, StoreReader
from reconciler.ports.transport import Transports
from reconciler.secrets.local_resolver import LocalResolver
from reconciler.transports.bundle import open_transports

if TYPE_CHECKING:
    from reconciler.planning.model_check import CheckResult
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
    base: MergeTarget = NO_BASE
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
        return select_drivers(self.host.config, self.drivers)

    async def read_fleet(self, *, notes: FileDigests | None = None) -> Fleet:
        """The fleet that the source describes now; secrets are looked up anew.

        Args:
            notes: is told which files were read, and what they held.

        Raises:
            SourceError: the source cannot be used, or does not answer.
            InputError: its files are wrong; with every problem.
        """
        snapshot = await self.source.snapshot()
        return load_fleet(
            notes.over(snapshot) if notes else snapshot, self.products, LocalResolver(self.host)
        )

    async def read_planned_fleet(self, file: PlanFile) -> Fleet:
        """The fleet that a plan file was made from; the source has to be one that gives its revision.

        Raises:
            SourceError: the source cannot be used, or does not answer.
            WorldChanged: it gives another revision, signer or content of files.
        """
        snapshot, notes = await self.source.snapshot(), FileDigests()
        planned = replace(snapshot, revision=check_revision(file, snapshot.revision))
        fleet = load_fleet(notes.over(planned), self.products, LocalResolver(self.host))
        check_files(file, notes.digests)
        return fleet

    async def plan(
        self,
        fleet: Fleet | None = None,
        *,
        cluster: str = "",
        only: str = "",
        file: PlanFile | None = None,
        listener: PassListener = SILENT,
    ) -> PlanResult:
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
        names = [cluster_input.entry.name for cluster_input in fleet.cluster_inputs]
        if cluster and cluster not in names:
            remedy = f"its clusters: {', '.join(names)}"
            raise UsageError(f"the fleet has no cluster {cluster!r}", remedy=remedy)
        drivers = self.products
        identity, store = await self.bind(fleet)
        memory = await store.recall() if store else FleetMemory(at=utc_now())
        memory = apply_renames(
            memory, find_renames(memory, [cluster_input.entry for cluster_input in fleet.cluster_inputs])
        )
        renames = {**fleet.renames, **memory.renames}
        if self.is_named:  # somebody asks for this very revision: he may also take a rollback back
            cluster_memory = {
                name: replace(one, rolled_back=()) for name, one in memory.cluster_memory.items()
            }
            memory = replace(memory, cluster_memory=cluster_memory)
        memory = await add_ancestry(
            memory,
            fleet,
            self.source,
            drivers=drivers,
            resolver=LocalResolver(self.host),
            named=self.is_named,
        )
        memory = await read_prior_revisions(
            memory, fleet, self.source, drivers=drivers, base=self.base, resolver=LocalResolver(self.host)
        )
        async with self.connect(self.host) as transports:
            seen = await run_plan_pass(
                fleet,
                drivers=drivers,
                transports=transports,
                recalled=memory,
                cluster=cluster,
                only=only,
                listener=listener,
                commands=self.host.commands(applying=self.is_applying),
                lineage=ContentAncestry(fleet, self.source, drivers, LocalResolver(self.host), renames),
                is_applying=self.is_applying,
            )
        seen = replace(seen, identity=identity)
        return prepare_plan(file, seen, drivers) if file else seen

    async def identify(self, fleet: Fleet, known: Sequence[KnownFleet]) -> FleetIdentity:
        """By what a fleet is told from the others of a host.

        Args:
            fleet: one that was read before.
            known: the fleets that the host remembers, from `StoreReader.fleets`.

        Raises:
            SourceError: the source does not give its history.
        """
        return await identify_fleet(fleet, self.source, known, drivers=self.products)

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
        return identity, self.store.of(resolve_fleet(identity, known).number)

    async def status(
        self, fleet: Fleet | None = None, *, only: str = "", listener: PassListener = SILENT
    ) -> FleetStatus:
        """How each node stands by its own answer, what it runs since when, and what holds up changes.

        Args:
            fleet: one that was read before; None to read the source now.
            only: a cluster, a node or `cluster/node` to keep to; empty for all.
            listener: hears of each stage.

        Raises:
            ReconcilerError: as `plan` does.
        """
        from reconciler.planning.status import compute_status  # noqa: PLC0415  (a dry run does not need it)

        seen = await self.plan(fleet, only=only, listener=listener)
        _, store = await self.bind(seen.fleet)
        if store is None:
            return compute_status(seen, OpenOrders(), None)
        newest = await store.runs(1)
        return compute_status(seen, await store.orders(), next(iter(newest), None))

    def check(
        self, seen: PlanResult, *, faults: int = 1, most: int = 5_000_000, weighs: bool = False
    ) -> tuple[CheckResult, ...]:
        """Explore every possible execution of a plan, cluster by cluster; pure.

        Args:
            seen: what `plan` gave.
            faults: how many failures, cuts and lost calls at most.
            most: bound on the states of one cluster.
            weighs: whether a state of a large cluster counts for several.
        """
        from reconciler.planning.model_check import check_plans  # noqa: PLC0415  (a dry run does not need it)

        return check_plans(seen, self.products, faults=faults, most=most, weighs=weighs)
