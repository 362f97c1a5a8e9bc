"""Views of a watch: each state is shown in words, urgent things first, in pages, and without secrets."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter
from support.driver import NOWHERE, REVISION, FakeDriver, FleetSource, World, cluster, fleet

from reconciler.api.history_filter import HistoryFilter
from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.actor import Actor
from reconciler.core.change_windows import Freeze, Window
from reconciler.core.memory import Suspension
from reconciler.core.pins import Pin
from reconciler.core.plan import Revision
from reconciler.core.policy import ChangeRules
from reconciler.core.reservations import Reservation
from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import StateError, UsageError
from reconciler.ports.listener import SILENT
from reconciler.ports.store import ApprovalRequest, OpenOrders
from reconciler.server.cluster_pass import PassJob
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.pass_runner import ApplyPass
from reconciler.server.views.fleet import FleetOverview, make_fleet_overview
from reconciler.server.views.lists import ListPage, ListQuery, Signal, read_list_query, take_page
from reconciler.server.views.nodes import ClusterDetail, NodeDetail, NodeLine, show_setting
from reconciler.server.views.orders import (
    MOST_SPANS,
    Calendar,
    OrdersOverview,
    make_calendar,
    make_orders_overview,
)
from reconciler.server.views.plans import PlanDetail
from reconciler.server.views.rollouts import RolloutLine
from reconciler.server.views.runs import OrderLine, RunDetail, RunPage
from reconciler.server.views.watch_views import WatchViews
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchedSource, WatchState
from reconciler.store.factory import open_store

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
SECRET = "gh5-4mountain"
EVERYTHING = ListQuery()


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


class Site:
    """A watch's state after passes over a fake fleet."""

    def __init__(self, store, desired, **world):
        self.world, self.desired = World(**world), desired
        reader = Reader(FleetSource(), drivers={"fake": FakeDriver(self.world)}, connect=self.connect)
        self.perform = ApplyPass(Reconciler(reader, store, actor=Actor(user="kim")))
        self.watch_state = WatchState(fleet=desired)
        self.views = WatchViews(self.watch_state, lambda: nullcontext(store), clock=lambda: NOW)

    def connect(self, host):
        return nullcontext(NOWHERE)

    async def run_pass(self, name="edge"):
        job = PassJob(self.desired, name, "interval", SILENT, asyncio.Event())
        summary = await self.perform(job)
        watched = self.watch_state.clusters.get(name) or WatchedCluster(name, self.desired.revision)
        self.watch_state.clusters[name] = replace(
            watched.add_reading(summary.reading),
            revision=self.desired.revision,
            pass_summary=summary,
            since=1e9,
        )
        return summary


TWO = fleet(cluster("edge", {"a": "old", "b": "forbidden"}))


async def test_a_cluster_is_shown_with_its_nodes_by_state(store):
    site = Site(store, TWO, values={"a": "old", "b": "old"}, silent={"a"})
    await site.run_pass()
    found = await site.views.make_fleet(EVERYTHING)
    (line,) = found.clusters.items
    assert (line.name, line.kind, line.signal, line.state) == ("edge", "fake", Signal.PROBLEM, "refused")
    assert [(one.state, one.count) for one in line.counts] == [("unreachable", 1), ("differs", 1)]
    assert found.nodes == 2
    detail = await site.views.make_cluster("edge", EVERYTHING)
    assert [(one.name, one.state) for one in detail.nodes.items] == [("a", "unreachable"), ("b", "differs")]
    assert detail.violations[0].label == "refused"
    assert await site.views.make_cluster("nowhere", EVERYTHING) is None


async def test_nodes_are_searched_by_name_state_and_reason(store):
    site = Site(store, TWO, values={"a": "old", "b": "old"}, silent={"a"})
    await site.run_pass()
    for query, names in (
        (ListQuery("A"), ["a"]),
        (ListQuery(state="differs"), ["b"]),
        (ListQuery(state="problem"), ["a"]),
        (ListQuery("timed out"), ["a"]),
        (ListQuery("nothing"), []),
    ):
        page = site.views.make_nodes(query)
        assert ([one.name for one in page.items], page.total) == (names, len(names))


async def test_a_plan_says_what_the_terminal_says(store):
    site = Site(store, TWO, values={"a": "old", "b": "old"})
    await site.run_pass()
    plan = site.views.make_plan("edge")
    assert plan.is_refused
    assert plan.summary.startswith("Refused for 1 reason; nothing is applied. Planned: 1 change on 1 cluster")
    (step,) = plan.waves[0].steps
    assert (step.nodes, step.numbers) == ("b", "1")
    assert "risk" in step.effect
    assert site.views.make_plan("nowhere") is None


async def test_a_run_and_its_page_of_the_history(store):
    site = Site(store, fleet(cluster("edge", {"a": "new"})), values={"a": "old"})
    for value in ("one", "two", "three"):
        site.world.values["a"] = value
        await site.run_pass()
    page = await site.views.make_runs(HistoryFilter(limit=2))
    assert [one.signal for one in page.runs] == [Signal.GOOD] * 2
    assert page.runs[0].who == "kim"
    (last,) = (await site.views.make_runs(HistoryFilter(limit=2, before=page.older))).runs
    detail = await site.views.make_run(last.id)
    (entry,) = detail.clusters[0].entries
    assert (entry.state, entry.nodes, entry.signal) == ("done", "a", Signal.GOOD)
    with pytest.raises(UsageError, match="no run"):
        await site.views.make_run("nothing")


async def test_a_pass_that_cannot_read_leaves_the_last_reading_and_says_so(store):
    site = Site(store, TWO, values={"a": "old", "b": "old"})
    await site.run_pass()
    watched = site.watch_state.clusters["edge"]
    failed = PassSummary(PassResult.INVALID, message="a secret is missing")
    site.watch_state.clusters["edge"] = replace(watched.add_reading(None), pass_summary=failed)
    (line,) = (await site.views.make_fleet(EVERYTHING)).clusters.items
    assert (line.is_stale, line.state, line.message) == (True, "cannot be planned", "a secret is missing")
    assert line.nodes == 2


def test_before_the_first_pass_nothing_is_claimed():
    watch_state = WatchState()
    watch_state.clusters["edge"] = WatchedCluster("edge", Revision("/fleet", "a" * 40, "aaaaaaa"))
    found = make_fleet_overview(watch_state, EVERYTHING, is_dry_run=True)
    (line,) = found.clusters.items
    assert (line.signal, line.state, line.counts) == (Signal.UNKNOWN, "not looked at yet", ())
    assert (found.name, found.source.state) == ("", "not read yet")


def test_what_concerns_the_whole_watch_is_a_notice():
    problem = Diagnostic(Severity.ERROR, "tab", "a tab")
    source = WatchedSource(SourceState.INVALID, message="1 error", problems=(problem,))
    watch_state = WatchState(source=source, store="disk full", stopping=True, outbox=3)
    found = make_fleet_overview(watch_state, EVERYTHING, is_dry_run=False)
    assert [one.label for one in found.notices] == ["stopping", "source", "store", "feedback"]
    assert found.source.problems[0].rule == "tab"


async def test_without_the_store_the_nodes_are_still_shown(store):
    site = Site(store, TWO, values={"a": "old", "b": "old"})
    await site.run_pass()

    def fail():
        raise StateError("disk full")

    views = WatchViews(site.watch_state, fail)
    assert (await views.make_fleet(EVERYTHING)).nodes == 2
    with pytest.raises(StateError, match="disk full"):
        await views.make_orders()


def test_a_setting_shows_no_secret():
    document = SimpleNamespace(
        value={"password": SECRET, "api": Secret(SECRET, "${env:KEY}"), "list": [Secret(SECRET)], "port": 1}
    )
    one = SimpleNamespace(entry=SimpleNamespace(name="edge"), documents={"a": document}, unmanaged={"a": ()})
    text, _ = show_setting(SimpleNamespace(cluster_inputs=(one,)), "edge", "a")
    assert SECRET not in text
    assert "${env:KEY}" in text
    assert '"port": 1' in text
    assert show_setting(None, "edge", "a") == ("", "")


def test_plans_that_wait_for_a_person_come_first():
    request = ApprovalRequest("edge", "d" * 64, "ddddddd", "2 changes", NOW)
    orders = OpenOrders(suspensions=(Suspension("", "work", "kim", NOW),), requests=(request,))
    found = make_orders_overview(orders, ())
    assert [(one.kind, one.target) for one in found.orders] == [
        ("approval needed", "edge, plan dddddddddddd"),
        ("suspended", "all clusters"),
    ]


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        (ChangeRules(), "open at any time"),
        (ChangeRules(windows=(Window(cron="0 11 * * *", duration=7200),)), "open"),
        (ChangeRules(windows=(Window(cron="0 2 * * *", duration=7200),)), "outside its windows"),
        (ChangeRules(freezes=(Freeze.model_validate(
            {"from": "2026-11-30", "until": "2026-12-24", "reason": "Sales"}),)), "frozen: Sales"),
    ],
    ids=["always", "open", "outside", "frozen"],
)  # fmt: skip
def test_the_calendar_says_whether_changes_may_be_made(rules, state):
    desired = SimpleNamespace(
        cluster_inputs=(SimpleNamespace(entry=SimpleNamespace(name="edge")),), change_rules=lambda _: rules
    )
    (row,) = make_calendar(desired, OpenOrders(), EVERYTHING, NOW).rows.items
    assert row.now == state
    assert row.is_open == state.startswith("open")
    assert all(span.begin < span.end for span in row.spans)
    assert (len(row.spans) == 14) == bool(rules.windows)


def test_orders_are_in_the_calendar_of_their_cluster_for_as_long_as_they_last():
    names = ("edge", "lab")
    desired = SimpleNamespace(
        cluster_inputs=[SimpleNamespace(entry=SimpleNamespace(name=name)) for name in names],
        change_rules=lambda _: ChangeRules(),
    )
    hold = Reservation(
        id="1",
        cluster="edge",
        node="n1",
        actor=Actor("kim", why="<disk>"),
        at=NOW - timedelta(days=3),
        until=NOW + timedelta(hours=4),
        is_hold=True,
    )
    orders = OpenOrders(
        suspensions=(Suspension("", "storm", "lee", NOW), Suspension("lab", "odd", "lee", NOW)),
        pins=(Pin("edge", REVISION, (), "kim", "slow", NOW - timedelta(days=40)),),
        holds=(
            hold,
            replace(hold, node="n2", is_hold=False, until=NOW + timedelta(days=99)),
            replace(hold, node="past", until=NOW - timedelta(days=1)),
            replace(hold, node="far", at=NOW + timedelta(days=15), until=NOW + timedelta(days=16)),
        ),
    )
    found = make_calendar(desired, orders, EVERYTHING, NOW)
    edge, lab = found.rows.items
    assert [(one.state, one.has_end) for one in edge.orders] == [
        ("pinned", False),
        ("held", True),
        ("reserved", True),
        ("suspended", False),
    ]
    assert [one.state for one in lab.orders] == ["suspended", "suspended"]
    assert not edge.is_open
    for span in (*edge.orders, *lab.orders):
        assert found.begin <= span.begin < span.end <= found.end
    assert "n1: <disk> (kim)" in edge.orders[1].reason
    assert edge.orders[1].end == hold.until
    many = make_calendar(desired, replace(orders, holds=(hold,) * 500), EVERYTHING, NOW).rows.items[0]
    assert many.is_cut
    assert len(many.orders) == MOST_SPANS


def test_a_window_of_each_second_does_not_make_the_calendar_endless():
    rules = ChangeRules(windows=(Window(cron="* * * * * */2", duration=1),))
    desired = SimpleNamespace(
        cluster_inputs=(SimpleNamespace(entry=SimpleNamespace(name="edge")),), change_rules=lambda _: rules
    )
    (row,) = make_calendar(desired, OpenOrders(), EVERYTHING, NOW).rows.items
    assert row.is_cut


@pytest.mark.parametrize("page", ["0", "-1", "x", "1e9", "٣", "9" * 50])
def test_a_page_that_is_no_number_is_refused(page):
    with pytest.raises(UsageError, match="whole number"):
        read_list_query({"page": page})


def test_a_page_beyond_the_last_is_the_last():
    found = take_page(range(101), ListQuery(page=9))
    assert (found.items, found.page, found.pages, found.total) == ((100,), 3, 3, 101)


@pytest.mark.parametrize(
    "view",
    [
        *(FleetOverview, ClusterDetail, NodeDetail, ListPage[NodeLine], PlanDetail, RunPage, RunDetail),
        *(OrdersOverview, Calendar, RolloutLine, OrderLine),
    ],
    ids=lambda view: getattr(view, "__name__", "page"),
)
def test_each_view_has_a_schema(view):
    assert TypeAdapter(view).json_schema()["type"] == "object"


async def test_views_can_be_written_as_json(store):
    site = Site(store, TWO, values={"a": "old", "b": "old"})
    await site.run_pass()
    found = await site.views.make_fleet(EVERYTHING)
    assert TypeAdapter(FleetOverview).validate_json(TypeAdapter(FleetOverview).dump_json(found)) == found
    assert site.views.make_rollouts() == ()
    assert (await site.views.make_calendar(EVERYTHING)).rows.total == 1
    assert await site.views.make_past_orders(HistoryFilter()) == ()
    node = await site.views.make_node("edge", "b")
    assert node.steps[0].nodes == "b"
    assert await site.views.make_node("edge", "nobody") is None
