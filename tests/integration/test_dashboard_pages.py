"""The pages of the dashboard over ASGI: what they show in each state, to whom, and with which headers."""

import re
from dataclasses import replace

import pytest
from support.dashboard import HOSTILE, OF_EDGE, PAGES, Dashboard
from support.driver import REVISION

from reconciler.core.plan import Revision
from reconciler.core.roles import AccessRole, Grant
from reconciler.errors import StateError
from reconciler.host.access_rules import OidcProvider
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.pages.markup import divide_bar, make_path, mark_code
from reconciler.server.pass_status import decode_status, encode_status
from reconciler.server.watch_state import SourceState, WatchedSource
from reconciler.store.factory import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
async def dashboard(store):
    found = Dashboard(store, values={"a": "old", "b": "old", "x": "other"}, silent={"b"})
    await found.run_passes()
    return found


@pytest.mark.parametrize("path", [*PAGES, *OF_EDGE])
async def test_each_page_has_a_title_one_heading_and_strict_headers(dashboard, path):
    answer = await dashboard.get(path)
    assert answer.status_code == 200, answer.text
    assert re.search(r"<title>[^<]+ - reconcile</title>", answer.text)
    assert answer.text.count("<h1") == 1
    policy = answer.headers["content-security-policy"]
    rules = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    closed = {
        "default-src": "'none'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert closed.items() <= rules.items()
    assert set(rules.values()) <= {"'none'", "'self'"}
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    # What the policy would refuse must not be there; addresses of elsewhere neither.
    assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=", answer.text)
    assert "https://" not in answer.text.replace("http://www.w3.org/", "")


@pytest.mark.parametrize("path", PAGES)
async def test_before_anything_is_read_each_page_says_so(tmp_path, path):
    with open_store(tmp_path) as store:
        dashboard = Dashboard(store)
        dashboard.watch_state.fleet = None
        answer = await dashboard.get(path)
    assert answer.status_code == 200
    assert re.search(r"not read yet|No .*yet|No rollout is open|No order is open", answer.text)


async def test_a_run_is_shown_with_its_steps(dashboard, store):
    line = (await store.runs())[0]
    answer = await dashboard.get(f"/history/{line.id}")
    assert "done" in answer.text
    assert HOSTILE not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_texts_from_elsewhere_are_escaped(dashboard):
    source = WatchedSource(
        SourceState.INVALID, Revision(HOSTILE, "a" * 40, HOSTILE, HOSTILE), message=HOSTILE, rejected=HOSTILE
    )
    dashboard.watch_state.source = source
    dashboard.watch_state.store = HOSTILE
    for path in (
        *PAGES,
        f"/nodes?q={HOSTILE}&state={HOSTILE}",
        f"/clusters/{HOSTILE}",
        f"/history/{HOSTILE}",
    ):
        assert HOSTILE not in (await dashboard.get(path)).text


async def test_lists_are_searched_and_paged(dashboard):
    page = (await dashboard.get("/nodes")).text
    assert page.index(">b</a>") < page.index(">a</a>")  # what is urgent comes first
    found = (await dashboard.get("/nodes?q=b&size=1")).text
    assert ">b</a>" in found
    assert ">a</a>" not in found
    assert "Page 1 of 3" in (await dashboard.get("/nodes?size=1")).text
    assert (await dashboard.get("/nodes?page=0")).status_code == 404
    assert "No node fits" in (await dashboard.get("/nodes?q=nobody")).text


@pytest.mark.parametrize("path", ["/history", "/orders", "/calendar", "/history/x"])
async def test_a_store_that_is_away_is_told_and_the_nodes_are_still_shown(dashboard, path):
    def fail():
        raise StateError("the disk is full", remedy="make room")

    dashboard.open_store = fail
    answer = await dashboard.get(path)
    assert answer.status_code == 503
    assert "The disk is full" in answer.text
    assert (await dashboard.get("/")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/clusters/none", "/clusters/none/plan", "/clusters/edge/nodes/z", "/history/z"]
)
async def test_what_is_not_there_is_not_found(dashboard, path):
    answer = await dashboard.get(path)
    assert answer.status_code == 404
    assert "Not found" in answer.text


@pytest.mark.parametrize("path", [*PAGES, *OF_EDGE, "/events"])
@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"x-forwarded-for": "192.0.2.1"}, 403),
        ({"forwarded": "for=192.0.2.1"}, 403),
        ({"via": "1.1 proxy"}, 403),
        ({"x-real-ip": "192.0.2.1"}, 403),
        ({"peer": "192.0.2.1"}, 401),
    ],
    ids=["rebinding", "forwarded-for", "forwarded", "via", "real-ip", "off-loopback"],
)
async def test_without_a_login_only_this_machine_may_look(dashboard, path, how, status):
    answer = await dashboard.get(path, **how)
    assert answer.status_code == status
    assert "edge" not in answer.text
    assert "login" in answer.text or "localhost" in answer.text or "proxy" in answer.text


async def test_who_may_look_at_one_cluster_sees_no_other(dashboard, monkeypatch):
    someone = Identity("lee", LoginMethod.TOKEN, (Grant(AccessRole.LOOK, ("lab",)),))

    async def identify(self, request):
        return someone

    monkeypatch.setattr(AccessControl, "identify", identify)
    for path in ("/", "/nodes", "/rollouts"):
        assert "edge" not in (await dashboard.get(path)).text
    assert (await dashboard.get("/clusters/lab")).status_code == 200
    for path in (*OF_EDGE, "/history", "/orders", "/calendar"):
        answer = await dashboard.get(path)
        assert answer.status_code == 403
        assert "forbidden" not in answer.text


@pytest.mark.parametrize("name", ["dashboard.css", "dashboard.js", "icon.svg"])
async def test_the_files_of_the_pages_are_served_and_no_others(dashboard, name):
    answer = await dashboard.get(f"/static/{name}")
    assert answer.status_code == 200
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|url\(", answer.text)
    for other in ("endpoint.py", "..%2fendpoint.py", "%2fetc%2fpasswd", "x"):
        assert (await dashboard.get(f"/static/{other}")).status_code == 404


@pytest.mark.parametrize("path", ["/nope", "/history/", "/clusters", "/%3Cscript%3E"])
async def test_an_unknown_page_is_told_with_the_way_back(dashboard, path):
    answer = await dashboard.get(path)
    assert answer.status_code == 404
    assert "There is no page" in answer.text
    assert 'href="/history"' in answer.text
    assert "<script>" not in answer.text
    assert answer.headers["content-security-policy"] == PAGE_HEADERS["content-security-policy"]
    assert (await dashboard.get(path, host="evil.example")).status_code == 403


async def test_how_long_something_has_been_so_is_no_moment(dashboard):
    page = (await dashboard.get("/clusters/edge")).text
    (words,) = re.findall(r"for <time data-duration [^>]*>([^<]+)</time></span></p>", page)
    assert re.fullmatch(r"\d+ (s|min|h|days?)", words)


async def test_an_old_reading_is_marked(dashboard):
    watched = dashboard.watch_state.clusters["edge"]
    dashboard.watch_state.clusters["edge"] = watched.add_reading(None)
    assert "earlier reading" in (await dashboard.get("/")).text
    assert "did not get so far" in (await dashboard.get("/clusters/edge")).text


@pytest.mark.parametrize("has_read", [True, False])
async def test_what_another_host_has_read_is_told_as_its_own(dashboard, has_read):
    """Figures come with the shared status; nodes and plans stay with the host that has read them."""
    watched = dashboard.watch_state.clusters["edge"]
    shared = decode_status(encode_status(replace(watched, read_at=watched.read_at + 60)))
    dashboard.watch_state.clusters["edge"] = replace(
        shared, host="ops-2", reading=watched.reading if has_read else None
    )
    page = (await dashboard.get("/clusters/edge")).text
    assert "Host ops-2 ran the last pass, and read the nodes" in page
    assert ("as this host read them" in page, "This host has not read a node." in page) == (
        has_read,
        not has_read,
    )
    assert "did not get so far" not in page
    assert "unreachable" in page
    for path in ("/clusters/edge/plan", "/clusters/edge/nodes/a"):
        answer = await dashboard.get(path)
        assert answer.status_code == (200 if has_read else 404), path
        assert has_read or "ops-2 ran the last pass" in answer.text, path
    assert "Another host read these clusters" in (await dashboard.get("/nodes")).text
    # The host that has run the last pass knows it, also after it has read its own status back.
    own = replace(decode_status(encode_status(watched)), host="ops-1", reading=watched.reading)
    dashboard.watch_state.clusters["edge"] = own
    page = (await dashboard.get("/clusters/edge")).text
    assert "ops-1" not in page
    assert "did not get so far" not in page


async def test_a_reader_is_told_of_a_change(dashboard):
    changes = dashboard.watch_state.changes
    with changes.reading() as reader:
        dashboard.watch_state.note("edge", doing="observing 2 nodes")
        dashboard.watch_state.note("edge", doing="planning")
        assert await reader.wait(1) == {"edge"}
        assert await reader.wait(0.01) == frozenset()
    assert changes.readers == 0


def test_paths_keep_names_of_any_characters_apart():
    assert make_path("clusters", "a/b", "nodes", "n@h") == "/clusters/a%2Fb/nodes/n@h"
    assert make_path("nodes", q="a&b", state="", page=2) == "/nodes?q=a%26b&page=2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `a <b>`, then c", "run <code>a &lt;b&gt;</code>, then c"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("<i>one ` alone", "&lt;i&gt;one ` alone"),
        ("`a` and ` alone", "<code>a</code> and ` alone"),
        ("", ""),
    ],
)
def test_what_stands_between_back_ticks_is_code_and_nothing_else_is_markup(text, shown):
    assert mark_code(text) == shown


async def test_no_page_shows_back_ticks(dashboard):
    advice = "run `reconcile dashboard`"
    dashboard.watch_state.source = WatchedSource(
        SourceState.INVALID, REVISION, f"`<b>` is wrong; {advice}", read_at=1.0
    )
    edge = dashboard.watch_state.clusters["edge"]
    summary = replace(edge.pass_summary, message=f"it waits: {advice}")
    dashboard.watch_state.clusters["edge"] = replace(edge, pass_summary=summary)
    for path in (*PAGES, *OF_EDGE, "/clusters/none", "/foo"):
        page = (await dashboard.get(path)).text
        assert "`" not in page, path
        assert "<b>" not in page, path
    # Somebody elsewhere is told how to get in.
    refused = (await dashboard.get("/", peer="192.0.2.1")).text
    assert "<code>reconcile dashboard</code>" in refused


def test_a_few_nodes_of_many_stay_visible():
    found = divide_bar([1, 9_999])
    assert found[0][1] > 1
    assert sum(length for _, length in found) == pytest.approx(100)


async def test_a_page_about_a_problem_has_the_way_on(dashboard):
    """Whoever may look at the fleet goes on from there, whatever page was not found."""
    for path in ("/clusters/none", "/clusters/edge/nodes/none", "/history/none", "/nodes?page=0"):
        answer = await dashboard.get(path)
        assert answer.status_code == 404, path
        assert 'aria-label="Sections"' in answer.text, path
        assert "Not logged in" in answer.text, path


async def test_somebody_who_is_not_known_gets_the_login_and_nothing_of_the_fleet(dashboard):
    provider = OidcProvider(
        issuer="https://login.example.com",
        client="a",
        secret="/etc/oidc-secret",
        redirect="https://fleet.example.com",
    )
    dashboard.access.rules = dashboard.access.rules.model_copy(update={"oidc": provider})
    answer = await dashboard.get("/clusters/edge", peer="192.0.2.1")
    assert answer.status_code == 401
    assert 'href="/login?next=%2Fclusters%2Fedge"' in answer.text
    assert "Sections" not in answer.text
    assert "suspend" not in answer.text.lower()


async def test_an_address_that_has_to_wait_is_told_for_how_long(dashboard):
    token = {"authorization": "Bearer rct_wrong"}
    answers = [await dashboard.get("/", **token) for _ in range(12)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "<h1>You may not look at this</h1>" in answers[-1].text
