"""Acts on the pages over ASGI: who gets which forms, what they do, and what is refused."""

import asyncio
import html
import re
from types import SimpleNamespace

import pytest
from support.access import make_access
from support.dashboard import HOSTILE, Dashboard
from support.driver import REVISION

from reconciler.api.acts import RollBackResult
from reconciler.core.operations import Operation
from reconciler.core.pins import LeftRevision
from reconciler.core.plan import Plan
from reconciler.core.roles import AccessRole, Grant
from reconciler.host.clock import utc_now
from reconciler.planning.plan_file import PlanFile, PlanOrigin
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.form_body import LARGEST_FORM
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.acts.task_table import TaskTable
from reconciler.store.factory import open_store

PLAN = "ab" * 32
OWN = {"origin": "http://127.0.0.1:8642", "sec-fetch-site": "same-origin"}
FORM = re.compile(r'<form class="act[^"]*" method="post" action="([^"]+)">(.*?)</form>', re.DOTALL)
INPUT = re.compile(r'<input [^>]*name="(\w+)"[^>]*value="([^"]*)"')


@pytest.fixture
async def dashboard(tmp_path):
    with open_store(tmp_path) as store:
        found = Dashboard(store, values={"a": "old", "b": "old", "x": "other"}, silent={"b"})
        await found.run_passes()
        found.store = store
        yield found


@pytest.fixture
async def client(dashboard):
    """Somebody who has logged in with a link."""
    async with dashboard.open_client() as client:
        code = dashboard.access.links.make("root", ())
        assert (await client.get(f"/login/link?code={code}")).status_code == 303
        yield client


def read_forms(page):
    """Path and first values of each form of a page, by its button."""
    return {
        html.unescape(re.search(r"<button[^>]*>([^<]+)<", body)[1]): (
            path,
            {name: html.unescape(value) for name, value in INPUT.findall(body)},
        )
        for path, body in FORM.findall(page)
    }


async def send(client, page, button, headers=OWN, **values):
    """Fill in a form of a page; gives the answer to it."""
    path, given = read_forms((await client.get(page)).text)[button]
    return await client.post(path, data=given | values, headers=headers)


async def act(client, page, button, **values):
    """Fill in a form; gives the page that the browser then shows."""
    answer = await send(client, page, button, **values)
    assert answer.status_code == 303, answer.text
    return await client.get(answer.headers["location"])


async def test_without_a_login_pages_have_no_form_and_say_how_to_get_in(dashboard):
    for path in ("/", "/clusters/edge", "/clusters/edge/nodes/a"):
        page = (await dashboard.get(path)).text
        assert '<form class="act' not in page
        assert "reconcile dashboard" in page
        assert "Not logged in" in page


async def test_suspending_and_resuming_a_cluster(dashboard, client):
    shown = await act(client, "/clusters/edge", "Suspend edge", reason="disk is full")
    assert shown.status_code == 200
    assert "Cluster edge is suspended: disk is full" in shown.text
    (suspension,) = (await dashboard.store.orders()).suspensions
    assert (suspension.cluster, suspension.reason, suspension.by.split()[0]) == (
        "edge",
        "disk is full",
        "root",
    )
    assert 'href="/clusters/edge">Back' in shown.text
    assert "Suspend edge" not in read_forms((await client.get("/clusters/edge")).text)
    await act(client, "/orders", "Resume edge")
    assert not (await dashboard.store.orders()).suspensions


async def test_a_result_can_be_loaded_again_and_does_nothing_twice(dashboard, client):
    answer = await send(client, "/clusters/edge", "Look again at edge")
    where = answer.headers["location"]
    pages = {(await client.get(where)).text.split("As of")[0] for _ in range(2)}
    assert len(pages) == 1
    assert "A pass begins now: edge" in pages.pop()
    assert dashboard.passes == ["edge"]


async def test_a_result_is_for_who_ordered_it(dashboard, client):
    answer = await send(client, "/clusters/edge", "Look again at edge")
    async with dashboard.open_client() as other:
        await other.get(f"/login/link?code={dashboard.access.links.make('lee', ('ops',))}")
        shown = await other.get(answer.headers["location"])
    assert "pass begins" in (await client.get(answer.headers["location"])).text
    assert shown.status_code == 404
    assert "pass begins" not in shown.text


async def test_holding_and_releasing_a_node(dashboard, client):
    await act(client, "/clusters/edge/nodes/a", "Hold a", reason="repair", until="2h")
    (hold,) = (await dashboard.store.orders()).holds
    assert (hold.cluster, hold.node, hold.actor.why) == ("edge", "a", "repair")
    assert "is changed again" in (await act(client, "/clusters/edge/nodes/a", "Release edge/a")).text
    assert not (await dashboard.store.orders()).holds


@pytest.mark.parametrize("page", ["/clusters/edge", "/orders"])
async def test_approving_a_plan(dashboard, client, page):
    await dashboard.store.request_approval("edge", PLAN, "4be6bbe", "1 step")
    shown = await act(client, page, f"Approve plan {PLAN[:12]} of edge", reason="checked")
    assert "is approved for one run" in shown.text
    (approval,) = (await dashboard.store.orders()).approvals
    assert (approval.digest, approval.by.split()[0]) == (PLAN, "root")


async def test_suspending_all_clusters_is_confirmed_first(dashboard, client):
    asked = await send(client, "/", "Suspend all clusters", reason="storm")
    assert asked.status_code == 200
    assert not (await dashboard.store.orders()).suspensions
    path, given = read_forms(asked.text)["Suspend all clusters"]
    answer = await client.post(path, data=given, headers=OWN)
    assert answer.status_code == 303
    assert "All clusters are suspended: storm" in (await client.get(answer.headers["location"])).text
    (suspension,) = (await dashboard.store.orders()).suspensions
    assert suspension.cluster == ""


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        ({}, None),
        ({"origin": "https://evil.example"}, None),
        ({"origin": "null"}, None),
        (OWN | {"sec-fetch-site": "cross-site"}, None),
        (OWN, ""),
        (OWN, "x" * 43),
    ],
    ids=["no-origin", "foreign", "null", "cross-site", "no-token", "wrong-token"],
)
async def test_a_form_of_another_page_is_refused(dashboard, client, headers, csrf):
    more = {} if csrf is None else {"csrf": csrf}
    answer = await send(client, "/clusters/edge", "Suspend edge", headers, reason="x", **more)
    assert answer.status_code == 403
    assert "You may not do this" in answer.text
    assert not (await dashboard.store.orders()).suspensions


async def test_the_forms_of_a_user_whom_a_proxy_names_belong_to_a_cookie_of_the_browser(dashboard):
    rules = """
  proxy: {header: X-Remote-User, networks: [192.0.2.10/32]}
  roles: [{role: operate, users: [kim, lee]}]"""
    dashboard.access = make_access(dashboard.store, rules)
    own = {"origin": "http://127.0.0.1:8642"}
    async with (
        dashboard.open_client(peer="192.0.2.10") as kim,
        dashboard.open_client(peer="192.0.2.10") as lee,
    ):
        for client, name in ((kim, "kim"), (lee, "lee")):
            client.headers["x-remote-user"] = name
        first = await kim.get("/clusters/edge")
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "set-cookie" not in (await kim.get("/clusters/edge")).headers, "the browser has it"
        forms = [read_forms((await client.get("/clusters/edge")).text) for client in (kim, lee)]
        path, values = forms[0]["Suspend edge"]
        foreign = forms[1]["Suspend edge"][1]["csrf"]
        assert foreign != values["csrf"]
        values["reason"] = "disk is full"
        for csrf in ("", foreign):
            assert (await kim.post(path, data=values | {"csrf": csrf}, headers=own)).status_code == 403
        assert (await kim.post(path, data=values)).status_code == 403, "no origin"
        assert not (await dashboard.store.orders()).suspensions
        answer = await kim.post(path, data=values, headers=own)
        assert "disk is full" in (await kim.get(answer.headers["location"])).text
    (suspension,) = (await dashboard.store.orders()).suspensions
    assert suspension.by.startswith("proxy:kim")


async def test_without_a_login_a_form_is_refused(dashboard):
    async with dashboard.open_client() as client:
        answer = await client.post("/acts/suspend", data={"cluster": "edge", "reason": "x"}, headers=OWN)
    assert answer.status_code == 401
    assert "reconcile dashboard" in answer.text
    assert not (await dashboard.store.orders()).suspensions


@pytest.mark.parametrize(
    ("path", "values", "status"),
    [
        ("/acts/suspend", {"cluster": "edge", "reason": " "}, 422),
        ("/acts/suspend", {"cluster": "edge", "reason": "x", "unknown": "1"}, 422),
        ("/acts/hold", {"node": "edge/a", "until": "never", "reason": "x"}, 409),
        ("/acts/look-again", {"cluster": "none"}, 409),
        ("/acts/none", {"node": "a"}, 404),
        ("/acts/allow-stop", {"node": "a", "seconds": "9"}, 422),
        ("/acts/allow-stop", {"node": "a", "seconds": "soon"}, 422),
        ("/acts/allow-stop", {"node": "a", "release": "perhaps"}, 422),
        ("/acts/suspend", {"cluster": "edge", "reason": "x" * LARGEST_FORM}, 413),
        ("/acts/rollback", {"revision": "main"}, 409),
    ],
    ids=[
        "no-reason",
        "unknown-field",
        "wrong-time",
        "unknown-cluster",
        "no-form",
        "too-short",
        "no-number",
        "neither-yes-nor-no",
        "too-large",
        "no-rollbacks",
    ],
)
async def test_what_cannot_be_done_is_shown_with_its_remedy(dashboard, client, path, values, status):
    _, given = read_forms((await client.get("/")).text)["Look again at all clusters"]
    answer = await client.post(path, data={"csrf": given["csrf"], **values}, headers=OWN)
    if answer.status_code == 303:
        answer = await client.get(answer.headers["location"])
    assert answer.status_code == status
    assert 'class="advice"' in answer.text
    assert not (await dashboard.store.orders()).suspensions


async def test_texts_of_people_are_escaped_and_lead_nowhere(dashboard, client):
    shown = await act(client, "/clusters/edge", "Suspend edge", reason=HOSTILE, back="//evil.example/")
    assert HOSTILE not in shown.text
    assert "evil" not in shown.text
    for page in ("/orders", "/clusters/edge", "/"):
        assert HOSTILE not in (await client.get(page)).text


async def test_somebody_gets_the_forms_of_their_roles_only(dashboard, monkeypatch):
    await dashboard.store.request_approval("edge", PLAN, "4be6bbe", "1 step")
    roles = {"look": (), "approve": ("Approve",), "operate": ("Look", "Suspend", "Roll", "Purge")}
    for role, expected in roles.items():
        grants = (Grant(AccessRole.LOOK), Grant(AccessRole(role), ("edge",)))
        someone = Identity("lee", LoginMethod.OIDC, grants)

        async def identify(self, request, someone=someone):
            return someone

        monkeypatch.setattr(AccessControl, "identify", identify)
        found = read_forms((await dashboard.get("/clusters/edge")).text)
        assert {name.split()[0] for name in found} == set(expected)
        assert not read_forms((await dashboard.get("/clusters/lab")).text)
        assert not read_forms((await dashboard.get("/")).text)


async def test_work_that_lasts_is_shown_as_under_way(dashboard, client):
    over, perform = asyncio.Event(), dashboard.acts.perform

    async def wait(act, identity):
        await over.wait()
        return await perform(act, identity)

    dashboard.acts, dashboard.tasks = SimpleNamespace(perform=wait), TaskTable(wait=0.05)
    async with dashboard.open_client() as slow:
        slow.cookies = client.cookies
        answer = await send(slow, "/clusters/edge", "Look again at edge")
        shown = await slow.get(answer.headers["location"])
        assert shown.status_code == 202
        assert "not over yet" in shown.text
        over.set()
        again = re.search(r'<a href="([^"]+)">Look again</a>', shown.text)[1]
        assert "A pass begins now" in (await slow.get(html.unescape(again))).text


async def test_a_rollback_shows_its_plan_and_then_applies_exactly_that(dashboard, client):
    plan = Plan(REVISION, "", (dashboard.watch_state.clusters["edge"].reading.plan,))
    made = PlanFile(
        made="2026-11-30T12:00:00Z",
        origin=PlanOrigin(source="/repo"),
        files={},
        observed={},
        plan=plan.plain(),
        inventory={},
    )
    given = []

    async def perform(act, _identity):
        given.append((act.revision, act.only, act.reason, act.plan))
        if act.plan:
            return RollBackResult(0, run="r1")
        return RollBackResult(0, plan=PLAN, plan_file=made.seal().encode().decode())

    dashboard.acts = SimpleNamespace(perform=perform)
    async with dashboard.open_client() as browser:
        browser.cookies = client.cookies
        shown = await act(browser, "/clusters/edge", "Roll back edge", revision="v1", reason="slow")
        assert "Back, and do nothing" in shown.text
        assert given == [("v1", ("edge",), "slow", "")]
        path, values = read_forms(shown.text)["Roll back to v1"]
        answer = await browser.post(path, data=values, headers=OWN)
        assert 'href="/history/r1"' in (await browser.get(answer.headers["location"])).text
    assert given[1:] == [("v1", ("edge",), "slow", PLAN)]


async def test_a_cluster_that_was_given_up_is_tried_again(dashboard, client):
    async with dashboard.store.lock("edge"):
        await dashboard.store.reject("edge", REVISION, "its gate failed", ends_rollout=False)
    for page in ("/clusters/edge", "/orders"):
        assert "Retry edge" in read_forms((await client.get(page)).text)
    shown = await act(client, "/orders", "Retry edge", reason="the gate was wrong")
    assert "<h1>To be tried again</h1>" in shown.text
    assert not (await dashboard.store.orders()).rejections
    (newest, *_) = await dashboard.store.list_past_orders()
    assert (newest.kind, newest.cluster, newest.actor.why) == ("retry", "edge", "the gate was wrong")
    assert dashboard.passes == [""]


async def test_a_pin_ends_by_its_form(dashboard, client):
    by, left = Identity("lee", LoginMethod.OIDC).make_actor(), (LeftRevision("b" * 40, "bbbbbbb"),)
    async with dashboard.store.lock("edge"):
        await dashboard.store.pin("edge", REVISION, left, by)
    for page in ("/clusters/edge", "/orders"):
        assert "Unpin edge" in read_forms((await client.get(page)).text)
    shown = await act(client, "/clusters/edge", "Unpin edge", reason="repaired")
    assert "follows the newest revision again" in shown.text
    assert not (await dashboard.store.orders()).pins


async def test_who_looked_again_and_why_is_in_the_history(dashboard, client):
    await act(client, "/", "Look again at all clusters", reason="nodes were moved")
    (newest, *_) = await dashboard.store.list_past_orders()
    assert (newest.kind, newest.cluster, newest.actor.user) == ("look", "", "root")
    assert "nodes were moved" in (await client.get("/history")).text


async def test_what_was_approved_needs_no_wait_for_the_next_pass(dashboard, client):
    plan = await dashboard.request_approval()
    (button,) = (one for one in read_forms((await client.get("/orders")).text) if "Approve" in one)
    assert plan.startswith(button.split()[2])
    await act(client, "/orders", button, reason="read it")
    assert dashboard.passes == [""]


async def test_a_wrong_time_of_the_history_is_told_with_the_right_form_of_it(client):
    answer = await client.get("/history?since=foo")
    assert answer.status_code == 422
    assert "2026-12-24" in answer.text
    assert "--since" not in answer.text


async def test_operations_are_in_the_history_with_who_and_why(dashboard, client):
    now = utc_now()
    actor = Identity("root", LoginMethod.LOCAL).make_actor(why="old picture")
    await dashboard.store.begin_operation(
        Operation(
            id="20261130-1000",
            kind="purge",
            cluster="edge",
            targets=("a.example/x",),
            actor=actor,
            at=now,
            deadline=now,
            waves=(("a",),),
        )
    )
    page = (await client.get("/history?cluster=edge")).text
    for words in ("20261130-1000", "a.example/x", "old picture", "root"):
        assert words in page
    assert "20261130-1000" not in (await client.get("/history?cluster=lab")).text


async def test_who_is_logged_in_is_shown_and_can_log_out(client):
    page = (await client.get("/")).text
    assert "root" in page
    csrf = re.search(r'action="/logout"><input type="hidden" name="csrf" value="([^"]+)"', page)[1]
    assert (await client.post("/logout", data={"csrf": csrf}, headers=OWN)).status_code == 303
    assert "Not logged in" in (await client.get("/")).text


async def test_a_dry_run_has_no_forms(dashboard, client):
    dashboard.acts = None
    async with dashboard.open_client() as looking:
        looking.cookies = client.cookies
        assert '<form class="act' not in (await looking.get("/clusters/edge")).text
        answer = await looking.post("/acts/suspend", data={"reason": "x"}, headers=OWN)
    assert answer.status_code == 405
