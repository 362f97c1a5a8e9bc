"""The reading half of the pass, for the command line, the server, or another program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, TypeAlias

from reconciler.core.cluster_renames import apply_renames, find_renames
from reconciler.core.expiry import Expiry
from reconciler.core.fleet_matching import NEW, FleetIdentity, KnownFleet, resolve_fleet
from reconciler.core.memory import FleetMemory
from reconciler.core.pins import PinState
from reconciler.core.revision import Ancestry
from reconciler.core.selection import Selection
from reconciler.desired.fleet import Fleet, load_fleet
from reconciler.drivers.registry import DRIVERS, select_drivers
from reconciler.errors import UsageError
from reconciler.host.clock import utc_now
from reconciler.host.host import Host
from reconciler.planning.ancestry import add_ancestry
from reconciler.planning.content_history import ContentHistory
from reconciler.planning.fleet_identity import identify_fleet
from reconciler.planning.inventory_origins import report_origins
from reconciler.planning.node_conditions import NodeCondition, list_left_nodes
from reconciler.planning.pinned_clusters import PinReader, RevisionFleets
from reconciler.planning.plan_file import (
    FileDigests,
    PlanFile,
    check_files,
    check_inventory,
    check_revision,
    prepare_plan,
)
from reconciler.planning.plan_pass import Drivers, PlanResult, run_plan_pass
from reconciler.planning.prior_revision_reader import NO_BASE, MergeTarget, read_prior_revisions
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.source import Source
from reconciler.ports.tracer import NO_TRACER, Tracer
from reconciler.ports.transport import Transports
from reconciler.secrets.local_resolver import LocalResolver
from reconciler.transports.bundle import open_transports
from reconciler.transports.mailbox import MailReader

if TYPE_CHECKING:
    from reconciler.planning.model_check import CheckResult
    from reconciler.planning.status import FleetStatus
    from reconciler.ports.store import StoreReader

Connect: TypeAlias = Callable[[Host], AbstractAsyncContextManager[Transports]]
"""Opens the transports of a host; they are closed at the end of the context."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a source and the nodes, plans, and reads the status; it has no object that could write.

    Every call reads again. A caller can pass a fleet that was read before, so that the last valid revision
    stays in force while the source is unreachable or invalid.

    Args:
        source: where the desired state comes from; see `reconciler.sources.locate`.
        store: memory of earlier runs, for guards and status; None if there is none.
        host: this machine: its networks, its commands, its environment for secrets.
        is_applying: whether this host applies the plan; then a missing command is a violation.
        base: the merge target of the revision, for pull requests.
        is_named: whether an operator named this revision; then it may be an older one.
        drivers: kind -> product.
        connect: opens the transports.
        restore: puts the content of a package in place of a cluster's; None for the fleet as it is.
        fleets: of earlier revisions, for clusters that are pinned to one.
        tracer: makes spans of what is read and planned.
    """

    source: Source
    store: StoreReader | None = None
    host: Host = field(default_factory=Host)
    is_applying: bool = False
    base: MergeTarget = NO_BASE
    is_named: bool = False
    drivers: Drivers = field(default_factory=lambda: DRIVERS)
    connect: Connect = open_transports
    restore: Callable[[Fleet, Drivers], Fleet] | None = None
    fleets: RevisionFleets = field(default_factory=RevisionFleets, repr=False, compare=False)
    tracer: Tracer = NO_TRACER

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Self]:
        """The same reader with one set of transports, which stay open until the context ends."""
        async with self.connect(self.host) as transports:
            # A pass within opens and closes its transports; these must outlive it.
            yield replace(self, connect=lambda _: nullcontext(transports))

    @property
    def products(self) -> Drivers:
        """Kind -> product, limited to what the host configuration allows."""
        return select_drivers(self.host.config, self.drivers)

    async def read_fleet(self, *, notes: FileDigests | None = None) -> Fleet:
        """The fleet that the source describes now; secrets are resolved again.

        Args:
            notes: records the digests of the files that are read.

        Raises:
            SourceError: the source cannot be used, or does not answer.
            InputError: the files are invalid; with every problem.
        """
        with self.tracer.open_span("read source") as span:
            snapshot = await self.source.snapshot()
            span.note(revision=snapshot.revision.id)
            fleet = load_fleet(
                notes.with_files(snapshot) if notes else snapshot, self.products, LocalResolver(self.host)
            )
            return self.restore(fleet, self.products) if self.restore else fleet

    async def read_planned_fleet(self, file: PlanFile) -> Fleet:
        """The fleet from which a plan file was made; the source must have its revision.

        Raises:
            SourceError: the source cannot be used, or does not answer.
            WorldChanged: the source has another revision, signer or content of files.
        """
        snapshot, notes = await self.source.snapshot(), FileDigests()
        planned = replace(snapshot, revision=check_revision(file, snapshot.revision))
        fleet = load_fleet(notes.with_files(planned), self.products, LocalResolver(self.host))
        check_files(file, notes.digests)
        check_inventory(file, fleet)
        return fleet

    async def add_origin_notes(self, fleet: Fleet) -> Fleet:
        """The fleet with what cloud expressions within its settings mean now, for those who read a plan."""
        return await report_origins(fleet, self.source, self.products, utc_now())

    async def plan(
        self,
        fleet: Fleet | None = None,
        *,
        cluster: str = "",
        only: str | Selection = "",
        file: PlanFile | None = None,
        listener: PassListener = SILENT,
    ) -> PlanResult:
        """Read the nodes, plan, and check the plan with all guards.

        Args:
            fleet: one that was read before; None to read the source now.
            cluster: plan only this cluster; addresses of the others are still compared. Empty for all.
            only: restrict to a cluster, a node or `cluster/node`, or to a selection; empty for all. With what
                alone is to be planned, removed clusters are not reported.
            file: a plan of this revision that was made earlier; it replaces the plan as far as it is valid.
            listener: called at each stage.

        Raises:
            SourceError: the source or its history cannot be read.
            InputError: the files are invalid; with the problems of all clusters.
            UsageError: `cluster` or `only` matches nothing, or a node that cannot be planned alone.
            WorldChanged: the plan file does not match its revision.
            StateError: the store cannot be read.
        """
        fleet = fleet or await self.read_fleet()
        with (
            self.tracer.open_span("plan", cluster=cluster, revision=fleet.revision.id),
            self.tracer.trace_events(listener) as traced,
        ):
            return await self._plan(fleet, cluster, only, file, traced)

    async def _plan(
        self,
        fleet: Fleet,
        cluster: str,
        only: str | Selection,
        file: PlanFile | None,
        listener: PassListener,
    ) -> PlanResult:
        entries = [cluster_input.entry for cluster_input in fleet.cluster_inputs]
        names = [entry.name for entry in entries]
        if cluster and cluster not in names:
            remedy = f"its clusters: {', '.join(names)}"
            raise UsageError(f"the fleet has no cluster {cluster!r}", remedy=remedy)
        drivers, resolver = self.products, LocalResolver(self.host)
        identity, store = await self.bind(fleet)
        unread = _list_unread_clusters(fleet.cluster_inputs, cluster) if cluster else frozenset[str]()
        memory = await store.read_memory(without_nodes=unread) if store else FleetMemory(at=utc_now())
        # Before everything that asks by name: history, budgets and rejections belong to the former name.
        memory = apply_renames(memory, find_renames(memory, entries))
        renames = {**fleet.renames, **memory.renames}
        pin_reader = PinReader(fleet, self.source, drivers, memory, self.host, self.fleets, renames)
        # An operator who names a revision may also end an earlier rollback.
        pinned = await (pin_reader.plan_pins() if self.is_named else pin_reader.apply_pins())
        fleet = pinned.fleet
        memory = await add_ancestry(
            memory, fleet, self.source, drivers=drivers, resolver=resolver, named=self.is_named
        )
        memory = _forget_order_of_pinned(memory, pinned.states, named=self.is_named)
        memory = await read_prior_revisions(
            memory, fleet, self.source, drivers=drivers, base=self.base, resolver=resolver
        )
        async with self.connect(self.host) as transports:
            plan_result = await run_plan_pass(
                fleet,
                drivers=drivers,
                transports=replace(transports, mailbox=MailReader(store)),
                nodes=store,
                recalled=memory,
                cluster=cluster,
                only=only,
                listener=listener,
                commands=self.host.commands(applying=self.is_applying),
                host_entries=self.host.entries(applying=self.is_applying),
                content_history=ContentHistory(fleet, self.source, drivers, resolver, renames),
                is_applying=self.is_applying,
                pins=pinned.states,
                # Whoever goes back names what is to go back, and in which order.
                reads_earlier=not self.is_named,
            )
        plan_result = replace(plan_result, identity=identity)
        return prepare_plan(file, plan_result, drivers) if file else plan_result

    async def identify(self, fleet: Fleet, known: Sequence[KnownFleet]) -> FleetIdentity:
        """The identity of a fleet among those of this host.

        Args:
            fleet: one that was read before.
            known: the fleets that the host remembers, from `StoreReader.fleets`.

        Raises:
            SourceError: the source does not give its history.
        """
        return await identify_fleet(fleet, self.source, known, drivers=self.products)

    async def bind(self, fleet: Fleet) -> tuple[FleetIdentity | None, StoreReader | None]:
        """The identity of a fleet among those of this host, and the store limited to its memory.

        Raises:
            FleetRefused: an operator must first decide to which fleet the memory belongs.
            SourceError: the source does not give its history.
            StateError: the store cannot be read.
        """
        if self.store is None:
            return None, None
        known = await self.store.fleets()
        if not known and not self.is_applying:  # no memory at all: no identity is needed to read
            return None, self.store.select_fleet(NEW)
        identity = await self.identify(fleet, known)
        return identity, self.store.select_fleet(resolve_fleet(identity, known).number)

    async def status(
        self, fleet: Fleet | None = None, *, only: str | Selection = "", listener: PassListener = SILENT
    ) -> FleetStatus:
        """The state of each node by its own answer, its revision, and what holds changes back.

        Args:
            fleet: one that was read before; None to read the source now.
            only: restrict to a cluster, a node or `cluster/node`, or to a selection; empty for all.
            listener: called at each stage.

        Raises:
            ReconcilerError: as `plan` does.
        """
        from reconciler.planning.status import compute_status  # noqa: PLC0415  (a dry run does not need it)

        plan_result = await self.plan(fleet, only=only, listener=listener)
        _, store = await self.bind(plan_result.fleet)
        expiries = self.list_expiries(plan_result)
        if store is None:
            return replace(self.summarise(plan_result), expiries=expiries)
        newest = await store.runs(1)
        status = compute_status(
            plan_result, await store.orders(), next(iter(newest), None), await store.contacts()
        )
        named = {cluster.cluster for cluster in status.clusters}
        opened = (one for one in await store.open_operations() if one.cluster in named)
        return replace(status, operations=tuple(opened), expiries=expiries)

    def summarise(self, plan_result: PlanResult) -> FleetStatus:
        """The state of each node in a pass, without orders and calls, which only the store knows; pure."""
        from reconciler.planning.status import compute_status  # noqa: PLC0415  (a dry run does not need it)
        from reconciler.ports.store import OpenOrders  # noqa: PLC0415

        return compute_status(plan_result, OpenOrders(), None)

    def list_expiries(self, plan_result: PlanResult) -> tuple[Expiry, ...]:
        """What has expired or expires soon, of the clusters of a pass and of this host."""
        from reconciler.planning.expiries import list_soon_expiries  # noqa: PLC0415  (as for `status`)

        return list_soon_expiries(plan_result, self.products, self.host)

    def list_left_nodes(self, plan_result: PlanResult) -> Mapping[NodeCondition, tuple[str, ...]]:
        """Nodes that answered and are not as desired, without a step for them, by their condition."""
        found: dict[NodeCondition, tuple[str, ...]] = {}
        for context in plan_result.guard_contexts:
            for condition, nodes in list_left_nodes(context).items():
                found[condition] = (*found.get(condition, ()), *nodes)
        return found

    def check(
        self, plan_result: PlanResult, *, faults: int = 1, most: int = 5_000_000, weighs: bool = False
    ) -> tuple[CheckResult, ...]:
        """Explore every possible execution of a plan, cluster by cluster; pure.

        Args:
            plan_result: a result of `plan`.
            faults: largest number of failures, disconnections and lost calls.
            most: limit on the states of one cluster.
            weighs: whether a state of a large cluster counts as several.
        """
        from reconciler.planning.model_check import check_plans  # noqa: PLC0415  (a dry run does not need it)

        return check_plans(plan_result, self.products, faults=faults, most=most, weighs=weighs)


def _list_unread_clusters(inputs: Sequence[ClusterInput], cluster: str) -> frozenset[str]:
    """The clusters whose nodes a pass over one of them does not ask for: all but those that it waits for."""
    if any(one.inventory or one.unread for one in inputs):
        return frozenset()  # an instance may have the address that a node of any cluster had
    after = {one.entry.name: one.entry.after for one in inputs}
    needed = {one.entry.renamed_from for one in inputs if one.entry.name == cluster}
    waiting = [cluster]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += after.get(name, ())
    return frozenset(after.keys() - needed)


def _forget_order_of_pinned(
    memory: FleetMemory, states: Mapping[str, PinState], *, named: bool
) -> FleetMemory:
    """The memory without what would refuse a pinned revision, which may be older than the applied one."""
    found = dict(memory.cluster_memory)
    for name, one in memory.cluster_memory.items():
        state = states.get(name)
        if named:
            found[name] = replace(one, pin=None)
        elif state is not None and state.revision is not None:
            found[name] = replace(one, ancestry=Ancestry.UNKNOWN)
    return replace(memory, cluster_memory=found)
