"""The JSON API of a watch with a real store, and with readings of one small fleet; no nodes."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import httpx

from reconciler.api.answers import PlanAnswer
from reconciler.core.actor import Actor
from reconciler.core.plan import ClusterPlan, Plan, Revision
from reconciler.core.roles import EVERYTHING_ALLOWED
from reconciler.host.clock import utc_now
from reconciler.planning.node_conditions import NodeCondition
from reconciler.planning.plan_summary import PlanSummary
from reconciler.planning.status import ClusterStatus, FleetStatus, NodeStatus
from reconciler.ports.access_store import AccessToken
from reconciler.ports.store import AppliedMembers, ClusterFacts, RunStart
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.secret_texts import digest_secret, make_token_text
from reconciler.server.acts.service import ActService
from reconciler.server.acts.task_table import TaskTable
from reconciler.server.json_api.endpoint import JsonApi
from reconciler.server.json_api.reads import WatchReader
from reconciler.server.pass_reading import PassReading
from reconciler.server.views.watch_views import WatchViews
from reconciler.server.watch_state import WatchedCluster, WatchState

REVISION = Revision("/repo", "a" * 40, "aaaaaaa", "First")
PLAN = "ab" * 32
NODES = tuple(NodeStatus(f"edge-{one}", NodeCondition.AS_DESIRED) for one in range(1, 4))


class Lines:
    """A log that keeps its lines."""

    def __init__(self):
        self.lines = []

    def info(self, event, **fields):
        self.lines.append((event, fields))

    warning = error = info


def make_status(*clusters):
    return FleetStatus(REVISION, tuple(ClusterStatus(name, "m2", NODES) for name in clusters))


class Readings:
    """New readings that need no nodes."""

    def __init__(self):
        self.hold = asyncio.Event()
        self.hold.set()
        self.selections = []

    async def read_status(self, identity, selection):
        self.selections.append(selection)
        await self.hold.wait()
        return make_status("edge", "live")

    async def read_plan(self, identity, selection):
        plan = Plan(REVISION, "1", (ClusterPlan("edge", "m2", 3, 0),))
        return PlanAnswer({"edge": PLAN}, plan.plain(), summary=PlanSummary(nodes=3))


class ApiSite:
    """An API and its client, with a token for everything."""

    def __init__(self, store, *, wait=1.0, operations=None, rollbacks=None):
        self.store, self.log, self.readings = store, Lines(), Readings()
        self.watch_state = WatchState()
        for name in ("edge", "live"):
            reading = PassReading(
                REVISION, utc_now(), ClusterStatus(name, "m2", NODES), ClusterPlan(name, "m2", 3, 0)
            )
            watched = WatchedCluster(name, REVISION, REVISION, ended=1.0)
            self.watch_state.clusters[name] = watched.add_reading(reading)
        self.watch_state.clusters["new"] = WatchedCluster("new", REVISION)
        self.acts = ActService(store, self.log, rollbacks, operations, request_pass=self.request_pass)
        self.views = WatchViews(self.watch_state, lambda: nullcontext(store))
        reader = WatchReader(self.views, store, self.readings)
        self.api = JsonApi(AccessControl(store=store), reader, self.acts, TaskTable(wait))

    def request_pass(self, cluster):
        return tuple(one for one in self.watch_state.clusters if cluster in {"", one})

    async def fill(self):
        await self.store.record_pass(
            "edge", ClusterFacts(members=AppliedMembers(3, tuple(one.node for one in NODES), "/repo"))
        )
        await self.store.request_approval("edge", PLAN, "4be6bbe", "1 step")
        plan = Plan(REVISION, "1", (ClusterPlan("edge", "m2", 3, 0), ClusterPlan("live", "m2", 3, 0)))
        for _ in range(3):
            run = await self.store.begin_run(RunStart("command", plan, Actor("kim")))
            await self.store.finish_run(run, 0)

    async def make_token(self, *grants, name="ci"):
        text, now = make_token_text(), utc_now()
        token = AccessToken(name, grants or EVERYTHING_ALLOWED, now + timedelta(days=1), now, Actor("kim"))
        await self.store.create_access_token(digest_secret(text), token)
        return text

    def connect(self, token="", client=("127.0.0.1", 4000), host="localhost"):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.api, client=client, raise_app_exceptions=False)
        return httpx.AsyncClient(
            transport=transport, base_url=f"http://{host}/api/v1", headers=headers, trust_env=False
        )


def make_rollbacks(answer, data=b"{}"):
    async def run(request, actor, identity, require):
        require("edge")
        return answer, data

    return SimpleNamespace(run=run)
