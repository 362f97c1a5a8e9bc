"""What somebody sees who may look at some clusters only: no name of another one."""

import re
from dataclasses import dataclass
from datetime import date

import httpx
import pytest
from starlette.routing import Router
from support.api_sites import REVISION, ApiSite
from support.driver import cluster, fleet

from reconciler.core.actor import Actor
from reconciler.core.plan import ClusterPlan, Plan
from reconciler.core.policy import Override
from reconciler.core.roles import AccessRole, Grant
from reconciler.core.selection import Selection
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import InputError, UsageError
from reconciler.host.clock import utc_now
from reconciler.planning.status import ClusterStatus, FleetStatus
from reconciler.ports.store import RunStart
from reconciler.server.access.hidden_names import HiddenNames
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.visibility import restrict_selection, restrict_watch_state
from reconciler.server.json_api.readings import FreshReadings
from reconciler.server.pages.endpoint import Pages
from reconciler.server.pass_reading import PassReading
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchedSource, WatchState
from reconciler.store.factory import open_store

FLEET = fleet(
    cluster("edge", {"a": "new"}),
    cluster("edge-2", {"b": "new"}),
    cluster("hidden", {"n9": "new", "a": "new"}),
)
ENTRIES = [one.entry for one in FLEET.cluster_inputs]
EDGE = Identity("kim", LoginMethod.OIDC, (Grant(AccessRole.LOOK, ("edge*",)),))
ALL = Identity("kim", LoginMethod.OIDC, (Grant(AccessRole.LOOK),))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Selection(), Selection(("edge", "edge-2"))),
        (Selection((), ("edge",)), Selection(("edge", "edge-2"), ("edge",))),
        (Selection(("a",)), Selection(("a",), ("hidden",))),
        (Selection(("*",)), Selection(("*",), ("hidden",))),
    ],
)
def test_a_selection_is_restricted_to_what_is_visible(asked, found):
    assert restrict_selection(asked, ENTRIES, EDGE) == found
    assert restrict_selection(asked, ENTRIES, ALL) == asked


@pytest.mark.parametrize("asked", ["hidden", "hiden", "n9", "hidden/n9", "hidden/*"])
def test_an_unknown_name_and_a_hidden_one_are_answered_without_a_hidden_name(asked):
    with pytest.raises(UsageError) as caught:
        restrict_selection(Selection((asked,)), ENTRIES, EDGE)
    assert "hidden" not in f"{caught.value.message} {caught.value.remedy}".replace(asked, "")
    assert "n9" not in caught.value.remedy


def test_whoever_sees_nothing_of_a_fleet_is_refused():
    nobody = Identity("lee", LoginMethod.TOKEN, (Grant(AccessRole.LOOK, ("web",)),))
    with pytest.raises(AccessRefused, match="none of these clusters"):
        restrict_selection(Selection(), ENTRIES, nobody)


def test_problems_of_the_whole_watch_are_told_without_their_words():
    problem = Diagnostic(Severity.ERROR, "tab", "hidden words", target="hidden")
    state = WatchState(
        WatchedSource(SourceState.INVALID, REVISION, "hidden words", (problem,)),
        {name: WatchedCluster(name, REVISION) for name in ("edge", "hidden")},
        store="hidden place",
        fleet=FLEET,
    )
    state.log.problem = "hidden file"
    found = restrict_watch_state(state, EDGE)
    assert list(found.clusters) == ["edge"]
    assert "hidden" not in f"{found.source}{found.store}{found.log}"
    assert found.source.message
    assert found.store
    assert found.log.problem
    assert restrict_watch_state(state, ALL) is state
    assert state.source.problems


NAMING = [
    Diagnostic(
        Severity.ERROR, "one-address-twice", "a of edge and n9 of hidden: 10.0.0.1:80", target="edge/a"
    ),
    Diagnostic(Severity.ERROR, "cluster-order", "edge begins after hidden.", "look at hidden", target="edge"),
    Diagnostic(Severity.ERROR, "another-fleet", "a belongs to far", target="edge/a"),
]
OWN = Diagnostic(Severity.ERROR, "too-many", "a of edge and edge-2: too many", "wait", target="edge")


def test_reasons_that_name_hidden_clusters_are_told_without_their_words():
    hidden = HiddenNames.find(EDGE, ENTRIES, ["hidden", "former"])
    *masked, own = hidden.mask_diagnostics([*NAMING, OWN])
    assert own is OWN
    for one, before in zip(masked, NAMING, strict=True):
        assert (one.code, one.target) == (before.code, before.target)
        assert "may not look at" in one.message
        assert "hidden" not in f"{one.message}{one.remedy}"
    assert HiddenNames.find(ALL, ENTRIES).mask_diagnostics(NAMING) == tuple(NAMING)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("waits for hidden", "waits for (hidden)"),
        ("hidden/n9: away; hidden.", "(hidden)/(hidden): away; (hidden)."),
        ("former-", "(hidden)-"),
        ("hidden-2 and unhidden stay, a and edge too", "hidden-2 and unhidden stay, a and edge too"),
    ],
)
def test_a_hidden_name_is_masked_wherever_it_stands(text, shown):
    assert HiddenNames.find(EDGE, ENTRIES, ["former"]).mask_text(text) == shown
    assert HiddenNames.find(ALL, ENTRIES, ["former"]).mask_text(text) == text


def test_problems_in_files_are_told_to_those_who_see_every_cluster():
    error = InputError([Diagnostic(Severity.ERROR, "tab", "in settings/hidden.json", target="hidden")])
    masked = HiddenNames.find(EDGE, ENTRIES).mask_error(error)
    assert isinstance(masked, InputError)
    assert "hidden" not in f"{masked}{masked.message}{masked.remedy}{masked.problems}"
    assert masked.remedy
    assert HiddenNames.find(ALL, ENTRIES).mask_error(error) is error


async def test_no_view_of_a_cluster_names_hidden_ones(tmp_path):
    """The pages and the API, with what guards over several clusters say in the last pass."""
    with open_store(tmp_path) as store:
        site = ApiSite(store)
        site.watch_state.fleet = FLEET
        plan = ClusterPlan("edge", "m2", 1, 0, findings=tuple(NAMING))
        status = ClusterStatus("edge", "m2", (), *[tuple(NAMING)] * 3)
        override = Override(guard="cluster-order", reason="it is known", until=date(2030, 1, 1))
        reading = PassReading(
            REVISION, utc_now(), status, plan, tuple(NAMING), tuple((one, override) for one in NAMING)
        )
        found = tuple(NAMING)
        summary = PassSummary(PassResult.REFUSED, "after hidden", violations=found, findings=found)
        watched = WatchedCluster("edge", REVISION, REVISION, doing="waits for hidden", pass_summary=summary)
        site.watch_state.clusters["edge"] = watched.add_reading(reading)
        pages = Router(routes=Pages(site.views, site.api.access).list_routes())
        for grant, shown in ((Grant(AccessRole.LOOK), True), (Grant(AccessRole.LOOK, ("edge",)), False)):
            token = await site.make_token(grant, name=f"of-{shown}")
            texts = []
            async with site.connect(token) as client:
                paths = ("/clusters", "/clusters/edge", "/clusters/edge/plan")
                texts += [(await client.get(path)).text for path in paths]
            transport = httpx.ASGITransport(pages, client=("127.0.0.1", 1))
            headers = {"authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost", headers=headers
            ) as client:
                paths = ("/", "/clusters/edge", "/clusters/edge/plan", "/rollouts", "/nodes")
                texts += [(await client.get(path)).text for path in paths]
            named = [text for text in texts if re.search(r"n9|(?:of|after|for|at) hidden|to far", text)]
            assert bool(named) == shown, named


async def test_a_new_reading_tells_nothing_of_the_whole_fleet():
    gone = Diagnostic(Severity.ERROR, "cluster-vanished", "hidden is gone", target="hidden")

    @dataclass
    class Reader:
        store: object = None

        async def status(self, fleet, *, only):
            return FleetStatus(REVISION, (ClusterStatus("edge", "m2", ()),), removed_clusters=(gone,))

    readings = FreshReadings(Reader(), None, lambda: FLEET, Selection())
    for one, told in ((ALL, (gone,)), (EDGE, ()), (ALL, (gone,))):
        assert (await readings.read_status(one, Selection(("edge",)))).removed_clusters == told


async def test_the_history_of_a_cluster_tells_nothing_of_the_others(tmp_path):
    with open_store(tmp_path) as store:
        site = ApiSite(store)
        plan = Plan(REVISION, "1", (ClusterPlan("edge", "m2", 1, 0), ClusterPlan("hidden", "m2", 1, 0)))
        run = await store.begin_run(RunStart("command", plan, Actor("kim")))
        await store.finish_run(run, 3, "hidden: refused")
        await store.suspend("hidden", "hidden trouble", Actor("kim"))
        await store.suspend("", "storm", Actor("kim"))
        token = await site.make_token(Grant(AccessRole.OPERATE, ("edge",)), name="one")
        async with site.connect(token) as client:
            for path in (
                f"/runs/{run}",
                f"/runs/{run[:-1]}x",
                "/runs?cluster=edge",
                "/past-orders?cluster=edge",
                "/orders",
                "/operations/2",
                "/clusters",
            ):
                answer = await client.get(path)
                assert answer.status_code in {200, 404}
                assert "hidden" not in answer.text
                assert run not in answer.text or run in path or path.startswith("/runs?")
            assert "storm" in (await client.get("/orders")).text
        async with site.connect(await site.make_token(name="all")) as client:
            assert "hidden: refused" in (await client.get(f"/runs/{run}")).text
