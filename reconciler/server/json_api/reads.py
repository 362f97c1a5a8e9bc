"""The reads of the API: what the watch knows, and new readings of the nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from reconciler.api.answers import (
    OperationsAnswer,
    PastOrdersAnswer,
    PlanAnswer,
    RunAnswer,
    RunsAnswer,
    WatchAnswer,
)
from reconciler.api.history_filter import HistoryFilter, parse_since
from reconciler.core.operations import Operation
from reconciler.core.plan import ClusterShape
from reconciler.core.roles import AccessRole
from reconciler.diagnostic import Diagnostic
from reconciler.errors import UsageError
from reconciler.host.clock import utc_now
from reconciler.planning.status import ClusterStatus, FleetStatus, NodeStatus
from reconciler.ports.store import OpenOrders, StoreReader
from reconciler.server.access.identity import Identity
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.visibility import (
    select_visible_orders,
    select_visible_past_orders,
    select_visible_run,
    select_visible_summary,
)
from reconciler.server.health import check_readiness
from reconciler.server.json_api.queries import (
    HistoryQuery,
    NodesQuery,
    PageQuery,
    Query,
    RunsQuery,
    SelectionQuery,
)
from reconciler.server.json_api.readings import FreshReadings
from reconciler.server.pass_reading import PassReading
from reconciler.server.request_problems import RequestProblem
from reconciler.server.views.fleet import ClusterGlance
from reconciler.server.views.watch_views import WatchViews

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class ClustersAnswer:
    """A page of clusters.

    Args:
        next: the name to give as `after` for the next page; empty on the last one.
    """

    clusters: tuple[ClusterGlance, ...]
    next: str = ""


@dataclass(frozen=True, slots=True)
class NodesAnswer:
    """A page of nodes by their own answers in the last pass.

    Args:
        read_at: when the nodes were read; null if none was.
        next: the name to give as `after` for the next page; empty on the last one.
    """

    cluster: str
    read_at: datetime | None
    nodes: tuple[NodeStatus, ...]
    next: str = ""


@dataclass(frozen=True, slots=True)
class ClusterPlanAnswer:
    """The plan of the last pass over a cluster.

    Args:
        id: of the plan, for an approval; empty if it needs none.
        plan: the steps, with secrets masked.
        violations: why it is refused or on hold.
    """

    cluster: str
    revision: str
    read_at: datetime | None
    id: str
    plan: ClusterShape
    violations: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One read.

    Args:
        identity: who reads.
        query: its parameters.
        names: the names in its path.
    """

    identity: Identity
    query: Any
    names: Mapping[str, str]

    def sees(self, cluster: str = "") -> bool:
        """Whether the caller may look at a cluster; empty for all."""
        return self.identity.allows(AccessRole.LOOK, cluster)

    def require(self, cluster: str = "") -> None:
        """Check that the caller may look at a cluster; empty for all.

        Raises:
            AccessRefused: they may not.
        """
        if not self.sees(cluster):
            about = f"cluster {cluster}" if cluster else "all clusters; name one with `cluster`"
            raise AccessRefused(
                f"{self.identity.name} may not look at {about}",
                remedy="ask who writes the host configuration for the role `look`",
            )


@dataclass(frozen=True, slots=True)
class WatchReader:
    """Answers the reads of one watch.

    Args:
        views: what the pages show, too.
        store: its history; None for a dry run.
        readings: new readings of the nodes.
    """

    views: WatchViews
    store: StoreReader | None
    readings: FreshReadings

    async def read_watch(self, request: ReadRequest) -> WatchAnswer:
        """The state of the watch."""
        request.require()
        is_ready, details = check_readiness(self.views.watch_state, dry_run=self.views.is_dry_run)
        return WatchAnswer(is_ready, details)

    async def read_status(self, request: ReadRequest) -> FleetStatus:
        """The status of the fleet, from a new reading of the nodes."""
        return await self.readings.read_status(request.identity, request.query.selection)

    async def read_plan(self, request: ReadRequest) -> PlanAnswer:
        """The plan for the fleet, from a new reading of the nodes."""
        return await self.readings.read_plan(request.identity, request.query.selection)

    async def list_clusters(self, request: ReadRequest) -> ClustersAnswer:
        """The clusters, sorted by name."""
        lines = await self.views.restrict(request.identity).list_clusters()
        return ClustersAnswer(*_take_page(lines, lambda one: one.name, request.query))

    async def read_cluster(self, request: ReadRequest) -> ClusterStatus:
        """A cluster without its nodes, as the last pass read it."""
        return replace(self._find_reading(request).status, nodes=())

    async def list_nodes(self, request: ReadRequest) -> NodesAnswer:
        """The nodes of a cluster, as the last pass read them, sorted by name."""
        reading = self._find_reading(request)
        wanted = request.query.state
        nodes = (one for one in reading.status.nodes if wanted in {None, one.state})
        page, following = _take_page(nodes, lambda one: one.node, request.query)
        return NodesAnswer(reading.status.cluster, reading.at, page, following)

    async def read_node(self, request: ReadRequest) -> NodeStatus:
        """A node, as the last pass read it."""
        found = self._find_reading(request).find_node(request.names["node"])
        if found is not None:
            return found
        raise RequestProblem(
            404, "unknown-node", "the cluster has no such node", remedy="see the list of nodes"
        )

    async def read_cluster_plan(self, request: ReadRequest) -> ClusterPlanAnswer:
        """The plan of the last pass over a cluster."""
        found = self._find_reading(request)
        return ClusterPlanAnswer(
            found.status.cluster,
            found.revision.id,
            found.at,
            found.digest,
            found.plan.plain(),
            found.violations,
        )

    async def list_runs(self, request: ReadRequest) -> RunsAnswer:
        """Runs of the history, newest first."""
        store = self._get_store()
        found, following = await self._make_filter(request, request.query.before).read_page(store)
        if not request.sees():
            counts = await store.count_cluster_steps([one.id for one in found])
            summaries = (
                select_visible_summary(one, counts.get(one.id, {}), request.identity) for one in found
            )
            found = tuple(one for one in summaries if one is not None)
        return RunsAnswer(found, following)

    async def read_run(self, request: ReadRequest) -> RunAnswer:
        """One run with all its records."""
        found = await _find(self._get_store().run(request.names["run"]), request)
        record = select_visible_run(found, request.identity)
        if record is None:
            raise _make_unknown_record()
        return RunAnswer.of(record)

    async def read_orders(self, request: ReadRequest) -> OpenOrders:
        """All orders in force: suspensions, pins, holds, rejections, requests for approval, approvals."""
        return select_visible_orders(await self._get_store().orders(), request.identity)

    async def list_past_orders(self, request: ReadRequest) -> PastOrdersAnswer:
        """Orders of the history, newest first."""
        found = await self._make_filter(request).read_orders(self._get_store())
        return PastOrdersAnswer(select_visible_past_orders(found, request.identity))

    async def list_operations(self, request: ReadRequest) -> OperationsAnswer:
        """Operations of the history, such as purges, newest first."""
        return OperationsAnswer(tuple(await self._make_filter(request).read_operations(self._get_store())))

    async def read_operation(self, request: ReadRequest) -> Operation:
        """One operation with the result of each node."""
        found = await _find(self._get_store().operation(request.names["operation"]), request)
        if not request.sees(found.cluster):
            raise _make_unknown_record()
        return found

    def _make_filter(self, request: ReadRequest, before: str = "") -> HistoryFilter:
        query = request.query
        request.require(query.cluster)
        return HistoryFilter(
            query.cluster, query.user, parse_since(query.since, utc_now()), query.limit, before
        )

    def _find_reading(self, request: ReadRequest) -> PassReading:
        status = self.views.restrict(request.identity).watch_state.clusters.get(request.names["cluster"])
        if status is None:
            raise RequestProblem(
                404, "unknown-cluster", "this watch has no such cluster", remedy="see the list of clusters"
            )
        if status.reading is None and status.reader:
            raise RequestProblem(
                503,
                "not-read",
                f"this host has not read the nodes of the cluster: {status.reader} ran its last pass",
                remedy="ask the watch there, or `/status` for a new reading",
            )
        if status.reading is None:
            raise RequestProblem(
                503,
                "not-read",
                "no pass has read the nodes of the cluster yet",
                remedy="try again in a moment; the list of clusters says what its loop does",
                headers={"retry-after": "5"},
            )
        return status.reading

    def _get_store(self) -> StoreReader:
        if self.store is None:
            raise RequestProblem(
                404, "no-history", "this watch is a dry run and has no history", remedy="read its clusters"
            )
        return self.store


@dataclass(frozen=True, slots=True)
class Read:
    """One read of the API.

    Args:
        path: below `/api/v1`.
        answer: type of the answer.
        query: its parameters.
        run: the method that answers it; its first line is the summary.
        is_slow: whether it may take longer than a request, so that the answer may be a task.
    """

    path: str
    answer: Any
    run: Callable[[WatchReader, ReadRequest], Awaitable[Any]]
    query: type[Query] = Query
    is_slow: bool = False


READS: Final = (
    Read("/watch", WatchAnswer, WatchReader.read_watch),
    Read("/status", FleetStatus, WatchReader.read_status, SelectionQuery, is_slow=True),
    Read("/plan", PlanAnswer, WatchReader.read_plan, SelectionQuery, is_slow=True),
    Read("/clusters", ClustersAnswer, WatchReader.list_clusters, PageQuery),
    Read("/clusters/{cluster}", ClusterStatus, WatchReader.read_cluster),
    Read("/clusters/{cluster}/plan", ClusterPlanAnswer, WatchReader.read_cluster_plan),
    Read("/clusters/{cluster}/nodes", NodesAnswer, WatchReader.list_nodes, NodesQuery),
    Read("/clusters/{cluster}/nodes/{node}", NodeStatus, WatchReader.read_node),
    Read("/runs", RunsAnswer, WatchReader.list_runs, RunsQuery),
    Read("/runs/{run}", RunAnswer, WatchReader.read_run),
    Read("/orders", OpenOrders, WatchReader.read_orders),
    Read("/past-orders", PastOrdersAnswer, WatchReader.list_past_orders, HistoryQuery),
    Read("/operations", OperationsAnswer, WatchReader.list_operations, HistoryQuery),
    Read("/operations/{operation}", Operation, WatchReader.read_operation),
)
"""Every read of the API."""


async def _find(record: Awaitable[_Item], request: ReadRequest) -> _Item:
    """A record of the store by its id.

    Raises:
        RequestProblem: there is none, or several begin with it.
    """
    try:
        return await record
    except UsageError as error:
        # It names records that are similar, of whichever cluster.
        if not request.sees():
            raise _make_unknown_record() from None
        raise RequestProblem(404, "unknown-record", error.message, remedy=error.remedy) from None


def _make_unknown_record() -> RequestProblem:
    return RequestProblem(404, "unknown-record", "there is no such record", remedy="see the list of them")


def _take_page(
    items: Iterable[_Item], get_name: Callable[[_Item], str], query: PageQuery
) -> tuple[tuple[_Item, ...], str]:
    """A page of a list, and the name after which the next one begins; empty on the last page."""
    word = query.search.casefold()
    found = sorted(
        (one for one in items if get_name(one) > query.after and word in get_name(one).casefold()),
        key=get_name,
    )
    page = tuple(found[: query.limit])
    return page, get_name(page[-1]) if len(found) > len(page) else ""
