"""The pages of a watch over a fake fleet, for tests over ASGI and in a browser."""

import asyncio
import io
from contextlib import nullcontext
from datetime import timedelta

import httpx
from starlette.routing import Router

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.actor import Actor
from reconciler.core.plan import ClusterPlan
from reconciler.host.clock import utc_now
from reconciler.planning.node_conditions import NodeCondition
from reconciler.planning.status import ClusterStatus, NodeStatus
from reconciler.ports.listener import SILENT
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.login_endpoint import LoginEndpoint
from reconciler.server.access.role_table import RoleTable
from reconciler.server.acts.service import ActService
from reconciler.server.acts.task_table import TaskTable
from reconciler.server.cluster_pass import PassJob
from reconciler.server.logs import open_log
from reconciler.server.pages.endpoint import Pages
from reconciler.server.pages.page_guard import render_problem_alone
from reconciler.server.pass_reading import PassReading
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.pass_runner import ApplyPass
from reconciler.server.views.watch_views import WatchViews
from reconciler.server.watch_state import WatchedCluster, WatchState
from support.driver import NOWHERE, REVISION, FakeDriver, FleetSource, World, cluster, fleet

HOSTILE = "<script>alert(1)</script>"
PAGES = ("/", "/nodes", "/rollouts", "/history", "/orders", "/calendar")
OF_EDGE = ("/clusters/edge", "/clusters/edge/plan", "/clusters/edge/nodes/a")
FLEET = fleet(cluster("edge", {"a": "new", "b": "forbidden"}), cluster("lab", {"x": "old"}))


class Dashboard:
    """The pages of a watch over a fake fleet."""

    def __init__(self, store, **world):
        self.world, self.watch_state = World(**world), WatchState(fleet=FLEET)
        reader = Reader(
            FleetSource(), drivers={"fake": FakeDriver(self.world)}, connect=lambda _: nullcontext(NOWHERE)
        )
        self.perform = ApplyPass(Reconciler(reader, store, actor=Actor(user="kim", why=HOSTILE)))
        self.open_store = lambda: nullcontext(store)
        roles = RoleTable((), frozenset({"root"}), frozenset({"ops"}))
        self.access, self.passes = AccessControl(store=store, roles=roles), []
        self.acts = ActService(store, open_log(io.StringIO(), form="json"), request_pass=self.request_pass)
        self.tasks = TaskTable()

    async def run_passes(self, desired=FLEET):
        for name in ("edge", "lab"):
            summary = await self.perform(PassJob(desired, name, "interval", SILENT, asyncio.Event()))
            watched = WatchedCluster(
                name, desired.revision, desired.revision, pass_summary=summary, since=1.8e9
            )
            self.watch_state.clusters[name] = watched.add_reading(summary.reading)

    async def request_approval(self):
        """Let a plan of `edge` wait for an approval; gives its id."""
        with self.open_store() as store:
            await store.request_approval("edge", "ab" * 32, "4be6bbe", "1 step")
        return "ab" * 32

    def request_pass(self, cluster):
        self.passes.append(cluster)
        return tuple(one for one in self.watch_state.clusters if cluster in {"", one})

    def make_application(self):
        """The pages with their acts, and the logins."""
        pages = Pages(WatchViews(self.watch_state, self.open_store), self.access, self.acts, self.tasks)
        login = LoginEndpoint(self.access, open_log(io.StringIO(), form="json"), render_problem_alone)
        return Router(routes=[*login.routes(), *pages.list_routes()])

    def open_client(self, host="127.0.0.1:8642", peer="127.0.0.1"):
        """A client that keeps its cookies and follows no redirect."""
        transport = httpx.ASGITransport(self.make_application(), client=(peer, 4711))
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    async def get(self, path, host="127.0.0.1:8642", peer="127.0.0.1", **headers):
        async with self.open_client(host, peer) as client:
            return await client.get(path, headers=headers)


def show_many_nodes(watch_state, count):
    """A cluster of that many nodes, in every condition there is."""
    now, conditions = utc_now(), list(NodeCondition)
    nodes = tuple(
        NodeStatus(
            f"node-{number:05}",
            conditions[number % 200] if number % 200 < len(conditions) else NodeCondition.AS_DESIRED,
            "it shows another setting" if number % 200 < len(conditions) else "",
            REVISION.id,
            now - timedelta(minutes=number),
        )
        for number in range(count)
    )
    status = ClusterStatus("many", "m2", nodes)
    reading = PassReading(REVISION, now, status, ClusterPlan("many", "m2", count, count))
    summary = PassSummary(PassResult.DRIFT, reading=reading)
    watched = WatchedCluster("many", REVISION, REVISION, pass_summary=summary, since=now.timestamp())
    watch_state.clusters["many"] = watched.add_reading(reading)
