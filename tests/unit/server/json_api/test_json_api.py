"""The JSON API: who may, what is refused and how, pages, tags, tasks."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from support.api_sites import PLAN, REVISION, ApiSite, make_rollbacks, make_status
from support.driver import FakeDriver, Wish, World, cluster

from reconciler.api.acts import ACTS
from reconciler.api.answers import PlanAnswer, RunAnswer
from reconciler.core.actor import Actor
from reconciler.core.observation import Observed
from reconciler.core.plan import Plan
from reconciler.core.roles import AccessRole, Grant
from reconciler.planning.status import FleetStatus
from reconciler.ports.store import RunStart
from reconciler.server.json_api.endpoint import LARGEST_BODY
from reconciler.server.json_api.reads import READS
from reconciler.server.views.fleet import ClusterGlance
from reconciler.store.factory import open_store

ROOT = Path(__file__).parents[4]
NO_CODES = {
    "internal-error",
    "retry-after",
    "www-authenticate",
    "etag",
    "if-none-match",
    "content-type",
    "read-openapi",
    "read-task",
}


@pytest.fixture
async def site(tmp_path):
    with open_store(tmp_path) as store:
        found = ApiSite(store)
        await found.fill()
        yield found


@pytest.fixture
async def client(site):
    async with site.connect(await site.make_token()) as client:
        yield client


def assert_problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["detail"]
    assert problem["remedy"]
    return problem


async def test_every_read_answers(client, site):
    (run, *_) = await site.store.runs()
    for read in READS:
        if read.path == "/operations/{operation}":
            continue
        path = read.path.format(cluster="edge", node="edge-2", run=run.id, operation="")
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")


async def test_what_is_answered_reads_back_as_what_it_was(client, site):
    status = TypeAdapter(FleetStatus).validate_json((await client.get("/status")).content)
    assert status == make_status("edge", "live")
    (run, *_) = await site.store.runs()
    read = TypeAdapter(RunAnswer).validate_json((await client.get(f"/runs/{run.id}")).content).load()
    assert read == await site.store.run(run.id)
    plan = TypeAdapter(PlanAnswer).validate_json((await client.get("/plan?only=edge")).content)
    assert [one.cluster for one in plan.load().clusters] == ["edge"]


async def test_clusters_have_the_figures_of_the_pages(client, site):
    found = {one["name"]: one for one in (await client.get("/clusters")).json()["clusters"]}
    assert (found["new"]["result"], found["new"]["read_at"]) == ("new", None)
    shown = {one.name: one for one in await site.views.list_clusters()}
    assert found == {
        name: TypeAdapter(ClusterGlance).dump_python(one, mode="json") for name, one in shown.items()
    }
    site.watch_state.clusters["new"] = replace(site.watch_state.clusters["new"], host="ops-2", read_at=1e9)
    problem = assert_problem(await client.get("/clusters/new/nodes"), 503, "not-read")
    assert "ops-2 ran its last pass" in problem["detail"]


async def test_lists_have_pages(client):
    first = (await client.get("/clusters/edge/nodes?limit=2")).json()
    assert [one["node"] for one in first["nodes"]] == ["edge-1", "edge-2"]
    rest = (await client.get(f"/clusters/edge/nodes?limit=2&after={first['next']}")).json()
    assert ([one["node"] for one in rest["nodes"]], rest["next"]) == (["edge-3"], "")
    found = (await client.get("/clusters/edge/nodes?search=E-3")).json()["nodes"]
    assert [one["node"] for one in found] == ["edge-3"]
    assert (await client.get("/clusters/edge/nodes?state=stalled")).json()["nodes"] == []
    runs = (await client.get("/runs?limit=2")).json()
    older = (await client.get(f"/runs?limit=2&before={runs['next']}")).json()
    assert [len(runs["runs"]), len(older["runs"]), older["next"]] == [2, 1, ""]
    assert len({one["id"] for one in runs["runs"] + older["runs"]}) == 3


@pytest.mark.parametrize("kind", ACTS, ids=lambda kind: kind.name)
async def test_without_a_login_nobody_acts(site, kind):
    async with site.connect() as client:
        assert (await client.get("/clusters")).status_code == 200
        answer = await client.post(f"/acts/{kind.name}", json={})
    problem = assert_problem(answer, 401, "login-needed")
    assert "reconcile dashboard" in problem["remedy"]
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_from_elsewhere_nothing_is_shown_without_a_login(site):
    async with site.connect(client=("192.0.2.7", 4000), host="fleet.example.com") as client:
        for read in READS:
            assert_problem(await client.get(read.path), 401, "login-needed")
        assert_problem(await client.get("/openapi.json"), 401, "login-needed")
    async with site.connect(host="evil.example.com") as client:
        assert_problem(await client.get("/clusters"), 403, "not-allowed")


async def test_a_token_for_one_cluster_shows_and_changes_no_other(site):
    token = await site.make_token(Grant(AccessRole.OPERATE, ("edge",)))
    async with site.connect(token) as client:
        assert [one["name"] for one in (await client.get("/clusters")).json()["clusters"]] == ["edge"]
        assert_problem(await client.get("/clusters/live"), 404, "unknown-cluster")
        for path in ("/watch", "/runs", "/past-orders", "/operations?cluster=live"):
            assert_problem(await client.get(path), 403, "not-allowed")
        (run, *_) = await site.store.runs()
        shown = (await client.get(f"/runs/{run.id}")).json()
        assert [one["cluster"] for one in shown["plan"]["clusters"]] == ["edge"]
        assert_problem(
            await client.post("/acts/suspend", json={"cluster": "live", "reason": "r"}), 403, "not-allowed"
        )
        assert (
            await client.post("/acts/suspend", json={"cluster": "edge", "reason": "r"})
        ).status_code == 200
    async with site.connect(await site.make_token(Grant(AccessRole.LOOK, ("live",)), name="other")) as other:
        assert (await other.get("/orders")).json()["suspensions"] == []


async def test_a_page_of_runs_of_one_cluster_reads_no_run_whole(site, monkeypatch):
    async def fail(*_, **__):
        raise AssertionError("a whole run was read")

    entry, world = cluster("edge", {"a": "new"}), World({"a": "old"})
    own = FakeDriver(world).plan(Wish(entry), Observed({"a": world.answer("a")}))
    steps = tuple(replace(one, id=one.id.replace("edge", "live"), cluster="live") for one in own.steps)
    other = replace(own, cluster="live", steps=steps)
    plan = Plan(REVISION, "1", (own, other))
    run = await site.store.begin_run(RunStart("command", plan, Actor("kim")))
    await site.store.finish_run(run, 3, "live: refused")
    monkeypatch.setattr(type(site.store), "run", fail)
    async with site.connect(await site.make_token(Grant(AccessRole.LOOK, ("edge",)))) as client:
        (found,) = (await client.get("/runs?cluster=edge")).json()["runs"]
    assert (found["id"], found["counts"], found["note"]) == (run, {"open": 1}, "")


async def test_orders_are_given_and_shown(client, site):
    assert (await client.post("/acts/approve", json={"plan": PLAN[:8], "reason": "seen"})).json()[
        "plan"
    ] == PLAN
    held = await client.post("/acts/hold", json={"node": "edge/edge-1", "until": "4h", "reason": "disk"})
    assert held.json()["node"] == "edge/edge-1"
    found = (await client.get("/orders")).json()
    assert [one["node"] for one in found["holds"]] == ["edge-1"]
    assert found["approvals"][0]["by"].startswith("token:ci")
    (newest, *_) = (await client.get("/past-orders")).json()["orders"]
    assert (newest["kind"], newest["actor"]["why"]) == ("hold", "disk")


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"{", 400, "invalid-json", "not valid JSON"),
        (b"[" * 5_000, 400, "invalid-json", "not valid JSON"),
        (b"[]", 422, "wrong-values", "must be a JSON object"),
        (b"{}", 422, "wrong-values", "`reason` is missing"),
        (b'{"reason": " "}', 422, "wrong-values", "`reason` must"),
        (b'{"reason": 3}', 422, "wrong-values", "`reason` must be text"),
        (b'{"reason": "r", "clutser": "a"}', 422, "wrong-values", "`clutser` is not a known key"),
        (b'{"reason": "r", "cluster": "' + b"x" * 300 + b'"}', 422, "wrong-values", "at most 200"),
        (b'{"reason": "\\u0000"}', 422, "wrong-values", "`reason` must"),
        (b'{"reason": "\\ud800"}', 400, "invalid-json", ""),
        (b'"' + b"x" * LARGEST_BODY + b'"', 413, "too-large", "more than"),
        (b'{"reason": "r", "cluster": "a/b"}', 409, "refused", "is a path or a URL"),
    ],
    ids=range(12),
)
async def test_a_wrong_body_is_refused_with_what_is_wrong(client, site, body, *, status, code, words):
    answer = await client.post(
        "/acts/suspend", content=body, headers={"content-type": "application/json; charset=utf-8"}
    )
    assert words in assert_problem(answer, status, code)["detail"]
    assert (await site.store.orders()).suspensions == ()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "unknown-path"),
        ("/clusters/none", 404, "unknown-cluster"),
        ("/clusters/new", 503, "not-read"),
        ("/clusters/edge/nodes/none", 404, "unknown-node"),
        ("/clusters/" + "x" * 201, 404, "unknown-path"),
        ("/runs/none", 404, "unknown-record"),
        ("/operations/none", 404, "unknown-record"),
        ("/tasks/none", 404, "unknown-task"),
        ("/runs?limit=0", 422, "wrong-values"),
        ("/runs?limit=1001", 422, "wrong-values"),
        ("/runs?limit=many", 422, "wrong-values"),
        ("/runs?limit=1&limit=2", 422, "wrong-values"),
        ("/runs?size=1", 422, "wrong-values"),
        ("/runs?since=never", 409, "refused"),
        ("/clusters?" + "&".join(f"a{one}=1" for one in range(400)), 422, "wrong-values"),
    ],
    ids=range(15),
)
async def test_a_wrong_read_is_refused(client, path, status, code):
    assert_problem(await client.get(path), status, code)


async def test_another_method_is_refused_with_those_that_are_allowed(client):
    answer = await client.post("/clusters", json={})
    assert_problem(answer, 405, "wrong-method")
    assert answer.headers["allow"] == "GET, HEAD"
    answer = await client.get("/acts/suspend")
    assert_problem(answer, 405, "wrong-method")
    assert answer.headers["allow"] == "POST"


async def test_a_body_that_is_no_json_is_refused(client):
    answer = await client.post("/acts/suspend", data={"reason": "r"})
    assert_problem(answer, 415, "wrong-type")


async def test_what_takes_longer_is_a_task_that_only_its_caller_may_fetch(tmp_path):
    with open_store(tmp_path) as store:
        site = ApiSite(store, wait=0.01)
        site.readings.hold.clear()
        async with (
            site.connect(await site.make_token()) as client,
            site.connect(await site.make_token(name="other")) as other,
        ):
            answer = await client.get("/status")
            assert answer.status_code == 202
            place = answer.headers["location"].removeprefix("/api/v1")
            assert (await client.get(place)).status_code == 202
            assert_problem(await other.get(place), 404, "unknown-task")
            site.readings.hold.set()
            await asyncio.sleep(0.01)
            assert (await client.get(place)).json()["revision"]["short"] == "aaaaaaa"
            assert_problem(await client.get(place), 404, "unknown-task")


async def test_a_caller_with_many_tasks_waits(tmp_path):
    with open_store(tmp_path) as store:
        site = ApiSite(store, wait=0.001)
        site.readings.hold.clear()
        async with site.connect(await site.make_token()) as client:
            answers = [(await client.get("/status")).status_code for _ in range(9)]
            assert answers == [202] * 8 + [503]
        site.readings.hold.set()
        await asyncio.sleep(0.01)


async def test_a_rollback_is_planned_and_answered(tmp_path):
    with open_store(tmp_path) as store:
        planned = {"status": 0, "refused": [], "plan": PLAN, "empty": False}
        site = ApiSite(store, rollbacks=make_rollbacks(planned, b'{"plan": 1}'))
        async with site.connect(await site.make_token()) as client:
            answer = (await client.post("/acts/rollback", json={"revision": "v1", "only": ["edge"]})).json()
    assert (answer["plan"], json.loads(answer["plan_file"])) == (PLAN, {"plan": 1})


async def test_an_unexpected_error_says_nothing_of_itself(client, site):
    site.watch_state.clusters["edge"] = "no cluster"
    answer = await client.get("/clusters/edge")
    assert_problem(answer, 500, "internal-error")
    assert "attribute" not in answer.text


def test_the_page_of_the_api_lists_its_paths_and_codes():
    page = (ROOT / "docs/server-api.md").read_text(encoding="utf-8")
    codes = set()
    server = ROOT / "reconciler/server"
    for file in (
        server / "request_problems.py",
        *(server / "json_api").glob("*.py"),
        *(server / "acts").glob("*.py"),
    ):
        codes |= set(re.findall(r'(?<=[\s(])"([a-z]+(?:-[a-z]+)+|busy|refused)"', file.read_text("utf-8")))
    shown = set(re.findall(r"`([a-z-]+)`", page))
    named = {"not-read", "login-needed", "wrong-values", "world-changed", "busy", "refused", "unknown-path"}
    assert named <= codes & shown
    assert codes - shown <= NO_CODES
    for read in READS:
        assert read.path.rpartition("/")[2] in page
    for kind in ACTS:
        assert f"`{kind.name}`" in page
