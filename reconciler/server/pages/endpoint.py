"""Answers requests for pages: who looks, at what, and in which state the watch is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from reconciler import __version__
from reconciler.api.history_filter import HistoryFilter, parse_since
from reconciler.core.roles import AccessRole
from reconciler.errors import ReconcilerError, StateError
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.identity import Identity
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.pages.markup import make_path, render_page
from reconciler.server.views.fleet import list_notices
from reconciler.server.views.lists import LONGEST_SEARCH, read_list_query
from reconciler.server.views.watch_views import WatchViews
from reconciler.text.one_line import make_one_line

EVENT_SECONDS: Final = 20.0
"""Seconds that one answer with events lasts; the browser asks again at once."""

GATHER_SECONDS: Final = 0.5
"""Seconds between two events: a run of many steps must not keep browsers loading."""

MOST_READERS: Final = 40
"""Browsers that follow the events at the same time; the others load the page again."""

MOST_SEARCHED_RUNS: Final = 500
"""Newest runs in which those of a cluster or person are searched."""

STATIC: Final = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files beside the pages, and their types."""

SECTIONS: Final = (
    ("fleet", "Fleet", "/"),
    ("nodes", "Nodes", "/nodes"),
    ("rollouts", "Rollouts", "/rollouts"),
    ("history", "History", "/history"),
    ("orders", "Orders", "/orders"),
    ("calendar", "Calendar", "/calendar"),
)
"""The navigation: key, title, path."""

Answer = Callable[[Request, WatchViews], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one watch.

    Args:
        views: makes what is shown.
        access: who may look.
    """

    views: WatchViews
    access: AccessControl

    def list_routes(self) -> list[Route]:
        """The routes of all pages, for the router of the endpoints."""
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
            *(_get(path, self._answer(page, is_whole=False)) for path, page in pages.items()),
            *(_get(path, self._answer(page, is_whole=True)) for path, page in whole.items()),
            _get("/events", self._follow),
            _get("/static/{name}", self._serve_file),
        ]

    def _answer(self, page: Answer, *, is_whole: bool) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            status = 200
            try:
                identity = await self._identify(request, is_whole=is_whole)
                body = await page(request, self._restrict(identity))
            except AccessRefused as error:
                status, body = error.status, _render_problem("You may not look at this", error)
            except HTTPException as error:
                status, body = error.status_code, _render_problem("Not found", ReconcilerError(error.detail))
            except StateError as error:
                status, body = 503, _render_problem("The store does not answer", error)
            except TimeoutError:
                slow = ReconcilerError("the store did not answer in time", remedy="load the page again later")
                status, body = 503, _render_problem("The store does not answer", slow)
            except ReconcilerError as error:
                status, body = 404, _render_problem("Not found", error)
            return Response(body, status, PAGE_HEADERS, media_type="text/html")

        return answer

    async def _identify(self, request: Request, *, is_whole: bool) -> Identity:
        """Who looks; without all clusters they need one at least, or the one that the path names."""
        cluster = request.path_params.get("cluster", "")
        if is_whole or cluster:
            return await self.access.require(request, AccessRole.LOOK, cluster)
        identity = await self.access.identify(request)
        if identity is None or not identity.may_look:
            return await self.access.require(request, AccessRole.LOOK)
        return identity

    def _restrict(self, identity: Identity) -> WatchViews:
        """The views of the clusters that somebody may look at."""
        state = self.views.watch_state
        allowed = {
            name: watched
            for name, watched in state.clusters.items()
            if identity.allows(AccessRole.LOOK, name)
        }
        return (
            self.views
            if len(allowed) == len(state.clusters)
            else replace(self.views, watch_state=replace(state, clusters=allowed))
        )

    def _render(self, template: str, section: str, title: str, **values: Any) -> str:
        return render_page(
            template,
            section=section,
            title=title,
            sections=SECTIONS,
            now=self.views.clock(),
            version=__version__,
            is_dry_run=self.views.is_dry_run,
            notices=tuple(list_notices(self.views.watch_state)),
            **values,
        )

    async def _show_fleet(self, request: Request, views: WatchViews) -> str:
        query = read_list_query(request.query_params)
        fleet = await views.make_fleet(query)
        return self._render("fleet", "fleet", fleet.name or "Fleet", fleet=fleet, query=query)

    async def _show_nodes(self, request: Request, views: WatchViews) -> str:
        query = read_list_query(request.query_params)
        nodes, fleet = views.make_nodes(query), await views.make_fleet(replace(query, text="", state=""))
        return self._render("nodes", "nodes", "Nodes", nodes=nodes, query=query, fleet=fleet)

    async def _show_rollouts(self, _request: Request, views: WatchViews) -> str:
        return self._render("rollouts", "rollouts", "Rollouts", rollouts=views.make_rollouts())

    async def _show_cluster(self, request: Request, views: WatchViews) -> str:
        query, name = read_list_query(request.query_params), request.path_params["cluster"]
        cluster = await views.make_cluster(name, query)
        if cluster is None:
            raise HTTPException(404, f"the fleet has no cluster {make_one_line(name, LONGEST_SEARCH)!r}")
        return self._render("cluster", "fleet", cluster.line.name, cluster=cluster, query=query)

    async def _show_plan(self, request: Request, views: WatchViews) -> str:
        name = request.path_params["cluster"]
        plan = views.make_plan(name)
        if plan is None:
            raise HTTPException(404, f"there is no plan of {make_one_line(name, LONGEST_SEARCH)!r} yet")
        return self._render("plan", "fleet", f"Plan of {plan.cluster}", plan=plan)

    async def _show_node(self, request: Request, views: WatchViews) -> str:
        cluster, name = request.path_params["cluster"], request.path_params["node"]
        node = await views.make_node(cluster, name)
        if node is None:
            raise HTTPException(
                404, f"no node {make_one_line(name, LONGEST_SEARCH)!r} of this cluster has been read yet"
            )
        return self._render("node", "nodes", node.line.name, node=node)

    async def _show_history(self, request: Request, views: WatchViews) -> str:
        asked, given = request.query_params, {}
        for name in ("cluster", "user", "since", "before"):
            given[name] = make_one_line(asked.get(name, ""), LONGEST_SEARCH)
        chosen = HistoryFilter(
            given["cluster"],
            given["user"],
            parse_since(given["since"], self.views.clock()),
            limit=read_list_query(asked).size,
            before=given["before"],
            most_searched=MOST_SEARCHED_RUNS,
        )
        page = await views.make_runs(chosen)
        orders = await views.make_past_orders(replace(chosen, limit=20)) if not chosen.before else ()
        older = make_path("history", **{**given, "before": page.older}) if page.older else ""
        return self._render(
            "history", "history", "History", page=page, orders=orders, asked=given, older=older
        )

    async def _show_run(self, request: Request, views: WatchViews) -> str:
        run = await views.make_run(request.path_params["run"])
        return self._render("run", "history", f"Run {run.line.id}", run=run)

    async def _show_orders(self, _request: Request, views: WatchViews) -> str:
        return self._render("orders", "orders", "Orders", overview=await views.make_orders())

    async def _show_calendar(self, request: Request, views: WatchViews) -> str:
        query = read_list_query(request.query_params)
        calendar = await views.make_calendar(query)
        return self._render("calendar", "calendar", "Calendar", calendar=calendar, query=query)

    async def _follow(self, request: Request) -> Response:
        """Tell a browser that something has changed; it then loads the page again."""
        try:
            identity = await self._identify(request, is_whole=False)
        except AccessRefused as error:
            return Response(
                f"{error.message}; {error.remedy}", error.status, PAGE_HEADERS, media_type="text/plain"
            )
        changes = self.views.watch_state.changes
        if changes.readers >= MOST_READERS or self.views.watch_state.stopping:
            return Response("too many readers", 503, {**PAGE_HEADERS, "retry-after": "30"})

        async def send_events() -> AsyncIterator[str]:
            yield "retry: 1000\n\n"
            end = asyncio.get_running_loop().time() + EVENT_SECONDS
            with changes.reading() as reader:
                while (left := end - asyncio.get_running_loop().time()) > 0:
                    names = await reader.wait(left)
                    if any(not name or identity.allows(AccessRole.LOOK, name) for name in names):
                        yield "event: change\ndata: 1\n\n"
                        await asyncio.sleep(GATHER_SECONDS)

        return StreamingResponse(send_events(), 200, PAGE_HEADERS, media_type="text/event-stream")

    async def _serve_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return Response("not found", 404, PAGE_HEADERS, media_type="text/plain")
        body = files(__package__).joinpath("static", name).read_bytes()
        return Response(
            body, 200, {**PAGE_HEADERS, "cache-control": "private, max-age=300", "content-type": STATIC[name]}
        )


def _get(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(path, answer, methods=["GET"])


def _render_problem(title: str, error: ReconcilerError) -> str:
    return render_page(
        "problem", title=title, message=error.message, remedy=error.remedy, version=__version__
    )
