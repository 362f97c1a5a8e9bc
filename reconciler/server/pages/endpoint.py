"""Answers requests for pages: who looks, at what, and in which state the watch is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.api.acts import PurgeAct
from reconciler.api.history_filter import HistoryFilter, parse_since
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import UsageError
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.acts.service import ActService
from reconciler.server.acts.task_table import TaskTable
from reconciler.server.pages.act_endpoint import ActPages
from reconciler.server.pages.change_events import ChangeEvents
from reconciler.server.pages.markup import make_path
from reconciler.server.pages.page_guard import Answer, PageGuard, Visit
from reconciler.server.views.act_forms import (
    list_cluster_forms,
    list_fleet_forms,
    list_node_forms,
    list_order_forms,
    list_plan_forms,
)
from reconciler.server.views.act_results import ActOutcome
from reconciler.server.views.lists import LONGEST_SEARCH, read_list_query
from reconciler.server.views.watch_views import WatchViews
from reconciler.text.one_line import make_one_line

MOST_SEARCHED_RUNS: Final = 500
"""Newest runs in which those of a cluster or person are searched."""

STATIC: Final = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files beside the pages, and their types."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one watch.

    Args:
        views: makes what is shown.
        access: who may look and act.
        acts: performs acts; None for pages that only look.
        tasks: acts that run, and what came of them.
    """

    views: WatchViews
    access: AccessControl
    acts: ActService | None = None
    tasks: TaskTable[ActOutcome] = field(default_factory=TaskTable)

    def list_routes(self) -> list[Route]:
        """The routes of all pages, for the router of the endpoints."""
        guard = PageGuard(
            self.views, self.access, has_acts=self.acts is not None and not self.views.is_dry_run
        )
        pages: dict[str, Answer] = {
            "/": self._show_fleet,
            "/nodes": self._show_nodes,
            "/rollouts": self._show_rollouts,
            "/clusters/{cluster}": self._show_cluster,
            "/clusters/{cluster}/plan": self._show_plan,
            "/clusters/{cluster}/nodes/{node}": self._show_node,
        }
        # What tells of all clusters: for those who may look at all of them.
        whole: dict[str, Answer] = {
            "/history": self._show_history,
            "/history/{run}": self._show_run,
            "/orders": self._show_orders,
            "/calendar": self._show_calendar,
        }
        return [
            *(_get(path, guard.answer(page, is_whole=False)) for path, page in pages.items()),
            *(_get(path, guard.answer(page, is_whole=True)) for path, page in whole.items()),
            *(ActPages(guard, self.acts, self.tasks).list_routes() if self.acts and guard.has_acts else ()),
            _get("/events", ChangeEvents(self.views.watch_state, guard).answer),
            _get("/static/{name}", self._serve_file),
            _get("/{path:path}", guard.answer(self._show_unknown, is_whole=False)),
        ]

    async def _show_unknown(self, visit: Visit) -> str:
        path = make_one_line(visit.request.url.path, LONGEST_SEARCH)
        raise HTTPException(404, f"there is no page {path!r}")

    async def _show_fleet(self, visit: Visit) -> str:
        query = read_list_query(visit.request.query_params)
        fleet = await visit.views.make_fleet(query)
        forms = list_fleet_forms(await visit.read_orders(), visit.identity.allows)
        return visit.render("fleet", "fleet", fleet.name or "Fleet", fleet=fleet, query=query, forms=forms)

    async def _show_nodes(self, visit: Visit) -> str:
        query = read_list_query(visit.request.query_params)
        nodes, fleet = (
            visit.views.make_nodes(query),
            await visit.views.make_fleet(replace(query, text="", state="")),
        )
        return visit.render("nodes", "nodes", "Nodes", nodes=nodes, query=query, fleet=fleet)

    async def _show_rollouts(self, visit: Visit) -> str:
        return visit.render("rollouts", "rollouts", "Rollouts", rollouts=visit.views.make_rollouts())

    async def _show_cluster(self, visit: Visit) -> str:
        query, name = read_list_query(visit.request.query_params), visit.request.path_params["cluster"]
        cluster = await visit.views.make_cluster(name, query)
        if cluster is None:
            raise HTTPException(404, f"the fleet has no cluster {make_one_line(name, LONGEST_SEARCH)!r}")
        driver = DRIVERS.get(cluster.line.kind)
        forms = list_cluster_forms(
            cluster.line,
            await visit.read_orders(),
            visit.identity.allows,
            has_purge=driver is None or PurgeAct.name in driver.operations(),
        )
        return visit.render("cluster", "fleet", cluster.line.name, cluster=cluster, query=query, forms=forms)

    async def _show_plan(self, visit: Visit) -> str:
        name = visit.request.path_params["cluster"]
        plan = visit.views.make_plan(name)
        if plan is None:
            raise _make_unread_problem(visit, name, "there is no plan of this cluster yet")
        forms = list_plan_forms(name, plan.digest, await visit.read_orders(), visit.identity.allows)
        return visit.render("plan", "fleet", f"Plan of {plan.cluster}", plan=plan, forms=forms)

    async def _show_node(self, visit: Visit) -> str:
        cluster, name = visit.request.path_params["cluster"], visit.request.path_params["node"]
        node = await visit.views.make_node(cluster, name)
        if node is None:
            text = f"no node {make_one_line(name, LONGEST_SEARCH)!r} of this cluster has been read yet"
            raise _make_unread_problem(visit, cluster, text)
        forms = list_node_forms(node.line, await visit.read_orders(), visit.identity.allows)
        return visit.render("node", "nodes", node.line.name, node=node, forms=forms)

    async def _show_history(self, visit: Visit) -> str:
        asked, given = visit.request.query_params, {}
        for name in ("cluster", "user", "since", "before"):
            given[name] = make_one_line(asked.get(name, ""), LONGEST_SEARCH)
        try:
            since = parse_since(given["since"], visit.views.clock())
        except UsageError as error:
            raise AccessRefused(error.message, remedy=error.remedy, status=422) from None
        chosen = HistoryFilter(
            given["cluster"],
            given["user"],
            since,
            limit=read_list_query(asked).size,
            before=given["before"],
            most_searched=MOST_SEARCHED_RUNS,
        )
        page = await visit.views.make_runs(chosen)
        newest = replace(chosen, limit=20)
        orders = await visit.views.make_past_orders(newest) if not chosen.before else ()
        operations = await visit.views.make_past_operations(newest) if not chosen.before else ()
        older = make_path("history", **{**given, "before": page.older}) if page.older else ""
        return visit.render(
            "history",
            "history",
            "History",
            page=page,
            orders=orders,
            operations=operations,
            asked=given,
            older=older,
        )

    async def _show_run(self, visit: Visit) -> str:
        run = await visit.views.make_run(visit.request.path_params["run"])
        return visit.render("run", "history", f"Run {run.line.id}", run=run)

    async def _show_orders(self, visit: Visit) -> str:
        overview = await visit.views.make_orders()
        forms = list_order_forms(await visit.read_orders(), visit.identity.allows)
        return visit.render("orders", "orders", "Orders", overview=overview, forms=forms)

    async def _show_calendar(self, visit: Visit) -> str:
        query = read_list_query(visit.request.query_params)
        calendar = await visit.views.make_calendar(query)
        return visit.render("calendar", "calendar", "Calendar", calendar=calendar, query=query)

    async def _serve_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return Response("not found", 404, PAGE_HEADERS, media_type="text/plain")
        body = files(__package__).joinpath("static", name).read_bytes()
        return Response(
            body, 200, {**PAGE_HEADERS, "cache-control": "private, max-age=300", "content-type": STATIC[name]}
        )


def _make_unread_problem(visit: Visit, cluster: str, text: str) -> HTTPException:
    """What this host has not read; another one may have, and shows it."""
    watched = visit.views.watch_state.clusters.get(cluster)
    if watched is not None and watched.reader:
        text = f"this host has not read it: {watched.reader} ran the last pass, and its dashboard shows it"
    return HTTPException(404, text)


def _get(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(path, answer, methods=["GET"])
