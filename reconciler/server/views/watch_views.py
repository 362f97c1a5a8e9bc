"""Makes each view of a watch from its state and its store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from reconciler.api.history_filter import HistoryFilter
from reconciler.core.timestamps import Clock
from reconciler.errors import StateError
from reconciler.host.clock import utc_now
from reconciler.ports.store import OpenOrders, StoreReader
from reconciler.server.access.identity import Identity
from reconciler.server.access.visibility import restrict_watch_state
from reconciler.server.views.fleet import ClusterGlance, FleetOverview, make_cluster_line, make_fleet_overview
from reconciler.server.views.lists import ListPage, ListQuery
from reconciler.server.views.nodes import (
    ClusterDetail,
    NodeDetail,
    NodeLine,
    list_node_lines,
    make_cluster_detail,
    make_node_detail,
)
from reconciler.server.views.orders import (
    Calendar,
    OperationLine,
    OrdersOverview,
    make_calendar,
    make_operation_line,
    make_orders_overview,
)
from reconciler.server.views.plans import PlanDetail, make_plan_detail
from reconciler.server.views.rollouts import RolloutLine, list_rollouts
from reconciler.server.views.runs import (
    OrderLine,
    RunDetail,
    RunPage,
    make_order_line,
    make_run_detail,
    make_run_page,
)
from reconciler.server.watch_state import WatchState

OpenReader = Callable[[], AbstractContextManager[StoreReader]]
"""Opens the reading half of the store for one view; a watch that applies gives its own, which stays open."""

STORE_SECONDS: Final = 10.0
"""Seconds in which the store must answer for a view."""


@dataclass(frozen=True, slots=True)
class WatchViews:
    """The views of one watch; each raises `StateError` if the store cannot be read.

    Args:
        watch_state: the current state.
        open_reader: gives the store.
        is_dry_run: whether the watch only looks.
        clock: the present moment.
    """

    watch_state: WatchState
    open_reader: OpenReader
    is_dry_run: bool = False
    clock: Clock = utc_now

    async def make_fleet(self, query: ListQuery) -> FleetOverview:
        """The fleet at a glance; without approvals while the store is away."""
        approvals = await self._list_requests()
        return make_fleet_overview(self.watch_state, query, is_dry_run=self.is_dry_run, approvals=approvals)

    def restrict(self, identity: Identity) -> WatchViews:
        """The same with the clusters that somebody may look at."""
        return replace(self, watch_state=restrict_watch_state(self.watch_state, identity))

    async def list_clusters(self) -> list[ClusterGlance]:
        """Each cluster in a line, by name."""
        approvals = await self._list_requests()
        return [make_cluster_line(one, approvals) for _, one in sorted(self.watch_state.clusters.items())]

    async def make_cluster(self, name: str, query: ListQuery) -> ClusterDetail | None:
        """One cluster; None if the fleet has none of that name."""
        approvals = await self._list_requests()
        return make_cluster_detail(self.watch_state, name, query, approvals)

    def make_nodes(self, query: ListQuery) -> ListPage[NodeLine]:
        """Nodes of all clusters."""
        return list_node_lines(self.watch_state, query)

    async def make_node(self, cluster: str, node: str) -> NodeDetail | None:
        """One node; None if it is not known."""
        watched = self.watch_state.clusters.get(cluster)
        reading = watched.reading if watched else None
        own = reading.find_node(node) if reading else None
        if own is None:
            return None
        if not own.reports:
            return make_node_detail(self.watch_state, cluster, node)
        async with asyncio.timeout(STORE_SECONDS):
            with self.open_reader() as store:
                contacts = await store.contacts()
        return make_node_detail(self.watch_state, cluster, node, contacts)

    def make_plan(self, cluster: str) -> PlanDetail | None:
        """The plan of a cluster from its last pass; None if it is not known."""
        watched = self.watch_state.clusters.get(cluster)
        return make_plan_detail(watched) if watched else None

    def make_rollouts(self) -> tuple[RolloutLine, ...]:
        """Open rollouts, and clusters with nodes that poll."""
        return list_rollouts(self.watch_state)

    async def make_runs(self, asked: HistoryFilter) -> RunPage:
        """One page of the history."""
        with self.open_reader() as store:
            return make_run_page(*await asked.read_page(store))

    async def make_run(self, text: str) -> RunDetail:
        """One run by its id, or the beginning of it.

        Raises:
            UsageError: there is none, or several.
        """
        with self.open_reader() as store:
            return make_run_detail(await store.run(text), self.watch_state)

    async def make_past_orders(self, asked: HistoryFilter) -> tuple[OrderLine, ...]:
        """Orders in the history, newest first."""
        with self.open_reader() as store:
            return tuple(map(make_order_line, await asked.read_orders(store)))

    async def make_past_operations(self, asked: HistoryFilter) -> tuple[OperationLine, ...]:
        """Operations in the history, newest first."""
        with self.open_reader() as store:
            return tuple(map(make_operation_line, await asked.read_operations(store)))

    async def make_orders(self) -> OrdersOverview:
        """All open orders and operations."""
        with self.open_reader() as store:
            return make_orders_overview(await store.orders(), await store.open_operations())

    async def make_calendar(self, query: ListQuery) -> Calendar:
        """When clusters may be changed."""
        with self.open_reader() as store:
            return make_calendar(self.watch_state.fleet, await store.orders(), query, self.clock())

    async def read_orders(self) -> OpenOrders | None:
        """All open orders; None while the store is away, which the pages tell."""
        # What nodes show does not depend on the store.
        try:
            async with asyncio.timeout(STORE_SECONDS):
                with self.open_reader() as store:
                    return await store.orders()
        except (StateError, TimeoutError):
            return None

    async def _list_requests(self) -> frozenset[str]:
        """Ids of the plans that wait for an approval; none while the store is away."""
        orders = await self.read_orders()
        return frozenset(one.digest for one in orders.requests) if orders else frozenset()
