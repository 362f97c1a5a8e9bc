"""What somebody sees of records about many clusters who may look at some of them only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler.core.entries import ClusterEntry
from reconciler.core.fleet_matching import KnownFleet
from reconciler.core.memory import FleetMemory
from reconciler.core.policy import Override
from reconciler.core.reservations import SeenCluster
from reconciler.core.roles import AccessRole
from reconciler.core.selection import Selection, select_nodes
from reconciler.diagnostic import Diagnostic
from reconciler.planning.status import ClusterStatus
from reconciler.ports.store import OpenOrders, OrderReader, OrderRecord, RunRecord, RunSummary
from reconciler.server.access.hidden_names import HiddenNames
from reconciler.server.access.identity import Identity
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.watch_state import WatchedCluster, WatchState

_OF_EVERYBODY: Final = frozenset({"suspend", "resume"})
"""Orders without a cluster that bind every cluster; others may be of one that is hidden."""

_HIDDEN: Final = "the reason is shown to those who may look at all clusters"


def sees_everything(identity: Identity) -> bool:
    """Whether somebody may look at all clusters, and at what concerns no single one."""
    return identity.allows(AccessRole.LOOK)


def select_visible_orders(found: OpenOrders, identity: Identity) -> OpenOrders:
    """The orders about visible clusters, and the suspension of all, which is about these too."""
    if sees_everything(identity):
        return found

    def is_visible(cluster: str) -> bool:
        return bool(cluster) and identity.allows(AccessRole.LOOK, cluster)

    # An approval is of a plan, of whichever cluster.
    return OpenOrders(
        suspensions=tuple(one for one in found.suspensions if not one.cluster or is_visible(one.cluster)),
        rejections=tuple(one for one in found.rejections if is_visible(one.cluster)),
        requests=tuple(one for one in found.requests if is_visible(one.cluster)),
        holds=tuple(one for one in found.holds if is_visible(one.cluster)),
        pins=tuple(one for one in found.pins if is_visible(one.cluster)),
    )


def select_visible_past_orders(found: Sequence[OrderRecord], identity: Identity) -> tuple[OrderRecord, ...]:
    """The orders of the history that somebody sees."""
    return tuple(
        one
        for one in found
        if sees_everything(identity)
        or (identity.allows(AccessRole.LOOK, one.cluster) if one.cluster else one.kind in _OF_EVERYBODY)
    )


def select_visible_summary(
    summary: RunSummary, counts: Mapping[str, Mapping[str, int]], identity: Identity
) -> RunSummary | None:
    """A run in a line as far as somebody sees it; None if that is nothing.

    Args:
        summary: of the whole run.
        counts: cluster -> state -> number of its steps.
        identity: who looks.
    """
    if sees_everything(identity):
        return summary
    visible = [states for name, states in counts.items() if identity.allows(AccessRole.LOOK, name)]
    if not visible:
        return None
    # The note has the violations of all clusters.
    return replace(summary, note="", counts=dict(sum(map(Counter, visible), Counter())))


def select_visible_run(record: RunRecord, identity: Identity) -> RunRecord | None:
    """A run as far as somebody sees it; None if that is nothing."""
    if sees_everything(identity):
        return record
    clusters = tuple(one for one in record.plan.clusters if identity.allows(AccessRole.LOOK, one.cluster))
    if not clusters:
        return None
    entries = tuple(one for one in record.entries if identity.allows(AccessRole.LOOK, one.step.cluster))
    # The note has the violations of all clusters, and the messages have the outcome of all.
    counts = Counter(one.state.value if one.state else "open" for one in entries)
    summary = replace(record.summary, note="", counts=dict(counts))
    return RunRecord(summary, replace(record.plan, clusters=clusters), entries)


def restrict_selection(
    selection: Selection, entries: Sequence[ClusterEntry], identity: Identity
) -> Selection:
    """The part of a selection that somebody sees.

    Args:
        selection: what they ask for.
        entries: all clusters of the fleet.
        identity: who asks.

    Raises:
        AccessRefused: they may look at none of these clusters.
        UsageError: it names nothing that they see; no other name is in its remedy.
    """
    visible = [one for one in entries if identity.allows(AccessRole.LOOK, one.name)]
    if len(visible) == len(entries):
        return selection
    if not visible:
        raise AccessRefused(
            f"{identity.name} may look at none of these clusters",
            remedy="ask who writes the host configuration for the role `look`",
        )
    select_nodes(selection, visible)
    # Named one by one: what is left out of the whole fleet would be searched for clusters that were removed.
    if not selection.only:
        return Selection(tuple(one.name for one in visible), selection.skip)
    shown = {one.name for one in visible}
    hidden = tuple(one.name for one in entries if one.name not in shown)
    return Selection(selection.only, (*selection.skip, *hidden))


def restrict_watch_state(watch_state: WatchState, identity: Identity) -> WatchState:
    """The state of a watch as far as somebody sees it: problems of source and store may name any cluster."""
    if sees_everything(identity):
        return watch_state
    entries = [one.entry for one in watch_state.fleet.cluster_inputs] if watch_state.fleet else ()
    hidden = HiddenNames.find(identity, entries, watch_state.clusters)
    clusters = {
        name: _mask_cluster(one, hidden)
        for name, one in watch_state.clusters.items()
        if identity.allows(AccessRole.LOOK, name)
    }
    source = watch_state.source
    return replace(
        watch_state,
        clusters=clusters,
        source=replace(source, message=_HIDDEN if source.message else "", problems=()),
        store=_HIDDEN if watch_state.store else "",
        log=replace(watch_state.log, problem=_HIDDEN if watch_state.log.problem else ""),
    )


def _mask_cluster(watched: WatchedCluster, hidden: HiddenNames) -> WatchedCluster:
    """A cluster without what guards over several clusters say of others."""
    mask, summary, reading = hidden.mask_diagnostics, watched.pass_summary, watched.reading
    if reading is not None:
        reading = replace(
            reading,
            status=mask_status(reading.status, hidden),
            plan=replace(reading.plan, findings=mask(reading.plan.findings)),
            violations=mask(reading.violations),
            overridden=mask_overridden(reading.overridden, hidden),
        )
    if summary is not None:
        summary = replace(
            summary,
            message=hidden.mask_text(summary.message),
            violations=mask(summary.violations),
            findings=mask(summary.findings),
            # Whether it is of the last pass is told by its being the same one.
            reading=reading if summary.reading is watched.reading else summary.reading,
        )
    return replace(watched, reading=reading, pass_summary=summary, doing=hidden.mask_text(watched.doing))


def mask_status(status: ClusterStatus, hidden: HiddenNames) -> ClusterStatus:
    """The status of a cluster without the names of others."""
    mask = hidden.mask_diagnostics
    return replace(
        status,
        findings=mask(status.findings),
        holds=mask(status.holds),
        violations=mask(status.violations),
    )


def mask_overridden(
    found: Sequence[tuple[Diagnostic, Override]], hidden: HiddenNames
) -> tuple[tuple[Diagnostic, Override], ...]:
    """Violations that an override sets aside, without the names of other clusters."""
    masked = hidden.mask_diagnostics(one for one, _ in found)
    return tuple((one, override) for one, (_, override) in zip(masked, found, strict=True))


@dataclass(frozen=True, slots=True)
class VisibleOrders:
    """The store as orders read it, without the clusters that somebody may not look at.

    An order by name finds no node of a hidden cluster, and no message names one.

    Args:
        store: as it is.
        identity: who gives the order.
    """

    store: OrderReader
    identity: Identity

    async def orders(self) -> OpenOrders:
        """As the store."""
        return select_visible_orders(await self.store.orders(), self.identity)

    async def fleets(self) -> Sequence[KnownFleet]:
        """As the store."""
        return await self.store.fleets()

    def select_fleet(self, fleet: int) -> VisibleOrders:
        """As the store."""
        return replace(self, store=self.store.select_fleet(fleet))

    async def read_memory(self, *, without_nodes: Collection[str] = ()) -> FleetMemory:
        """As the store."""
        memory = await self.store.read_memory(without_nodes=without_nodes)
        allows = self.identity.allows
        return replace(
            memory,
            facts={name: one for name, one in memory.facts.items() if name and allows(AccessRole.LOOK, name)},
            cluster_memory={
                name: one
                for name, one in memory.cluster_memory.items()
                if name and allows(AccessRole.LOOK, name)
            },
        )

    async def see_cluster(self, cluster: str) -> SeenCluster:
        """As the store; nothing of a hidden cluster."""
        if not self.identity.allows(AccessRole.LOOK, cluster):
            return SeenCluster()
        return await self.store.see_cluster(cluster)
