"""Logging in and out with a browser: cookies, links, redirects, and what is refused."""

import base64
import io
import json
import re
import time
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.routing import Router
from support.access import make_access
from support.openid_provider import NOW, Provider, make_login

from reconciler.server.access import failure_limit, login_endpoint, login_links
from reconciler.server.access.failure_limit import FailureLimit
from reconciler.server.access.identity import LoginMethod
from reconciler.server.access.login_endpoint import LoginEndpoint
from reconciler.server.access.login_links import LoginLinks, find_local_address
from reconciler.server.access.login_target import read_next_page
from reconciler.server.access.page_headers import CONTENT_POLICY, PAGE_HEADERS
from reconciler.server.access.secret_texts import make_csrf_text
from reconciler.server.logs import open_log
from reconciler.server.pages.page_guard import render_problem_alone
from reconciler.store.factory import open_store

RULES = """
  oidc: {issuer: "https://login.example.com", client: a, secret: /a, redirect: "https://fleet.example.com"}
  roles: [{role: operate, groups: [ops]}]
"""
HERE, FLEET = "http://127.0.0.1:8642", "https://fleet.example.com"
SESSION, LOGIN = "__Host-reconcile-session", "__Host-reconcile-login"


class Site:
    """The endpoints of a login, and browsers that use them."""

    def __init__(self, store, login=None):
        self.lines = io.StringIO()
        self.access = make_access(store, RULES)
        log = open_log(self.lines, form="json")
        self.endpoint = LoginEndpoint(self.access, log, render_problem_alone, login)
        self.app = Router(routes=self.endpoint.routes())

    @asynccontextmanager
    async def browser(self, base=FLEET, peer="198.51.100.4"):
        if base == HERE:
            peer = "127.0.0.1"
        transport = httpx.ASGITransport(self.app, client=(peer, 5000))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield client

    def logged(self):
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield store


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def site(store, provider, monkeypatch, tmp_path):
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    return Site(store, make_login(provider, monkeypatch, tmp_path)[0])


def flags(answer, name):
    """The attributes of a cookie that an answer sets."""
    (line,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{name}=")]
    return {part.strip().lower() for part in line.split(";")[1:]}


async def log_in(site, provider, client, next_page="/clusters?page=2", **change):
    begun = await client.get("/login", params={"next": next_page})
    assert begun.status_code == 303
    return await client.get("/login/callback", params=provider.log_in(begun.headers["location"]) | change)


async def test_a_login_gives_a_session_and_the_page_that_was_asked_for(site, provider):
    async with site.browser() as client:
        answer = await log_in(site, provider, client)
        assert (answer.status_code, answer.headers["location"]) == (303, "/clusters?page=2")
        assert flags(answer, SESSION) == {"httponly", "secure", "samesite=lax", "path=/", "max-age=43200"}
        assert "max-age=0" in flags(answer, LOGIN)
        found = await site.access.sessions.find(client.cookies[SESSION])
    assert (found.name, found.method) == ("kim@example.com", LoginMethod.OIDC)
    (line,) = [line for line in site.logged() if line["event"] == "login"]
    assert (line["user"], line["client"]) == ("kim@example.com", "198.51.100.4")
    assert answer.headers["content-security-policy"] == CONTENT_POLICY


async def test_what_the_browser_keeps_of_a_begun_login_no_script_and_no_other_host_can_touch(site):
    async with site.browser() as client:
        answer = await client.get("/login")
    assert flags(answer, LOGIN) == {"httponly", "secure", "samesite=lax", "path=/", "max-age=600"}


async def test_a_session_of_before_the_login_is_never_the_one_after_it(site, provider):
    planted = await site.access.sessions.begin("mallory", LoginMethod.OIDC, ["ops"])
    async with site.browser() as client:
        client.cookies.set(SESSION, planted)
        answer = await log_in(site, provider, client)
        (text,) = re.findall(rf"{SESSION}=([\w-]+)", "".join(answer.headers.get_list("set-cookie")))
    assert text != planted
    assert await site.access.sessions.find(planted) is None


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "///evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/x\r\nset-cookie: a=b",
        "/login",
        "/login/link?code=x",
        "/logout",
        "/" + "a" * 1000,
        "/\u2028/x",
    ],
)
async def test_no_login_leads_to_another_server(site, provider, place):
    assert read_next_page(place) == "/"
    async with site.browser() as client:
        answer = await log_in(site, provider, client, place)
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("place", ["/", "/clusters/web-1?page=2&q=a%20b", "/nodes/a:80", "/loginsight"])
def test_a_page_of_this_server_is_shown_after_the_login(place):
    assert read_next_page(place) == place


async def test_an_answer_without_a_login_of_this_browser_is_refused(site, provider):
    async with site.browser() as attacker, site.browser() as victim:
        begun = await attacker.get("/login")
        answer = provider.log_in(begun.headers["location"])
        refused = await victim.get("/login/callback", params=answer)
        assert refused.status_code == 401
        assert SESSION not in victim.cookies


async def test_the_same_answer_counts_once(site, provider):
    async with site.browser() as client:
        begun = await client.get("/login")
        cookie, answer = client.cookies[LOGIN], provider.log_in(begun.headers["location"])
        assert (await client.get("/login/callback", params=answer)).status_code == 303
        client.cookies.clear()
        client.cookies.set(LOGIN, cookie)
        assert (await client.get("/login/callback", params=answer)).status_code == 401


async def test_a_login_that_was_begun_long_ago_is_refused(site, provider, monkeypatch):
    async with site.browser() as client:
        begun = await client.get("/login")
        answer = provider.log_in(begun.headers["location"])
        monkeypatch.setattr(time, "time", lambda: NOW + login_endpoint.LOGIN_SECONDS + 1.0)
        refused = await client.get("/login/callback", params=answer)
    assert (refused.status_code, "too long ago" in refused.text) == (401, True)


def keep(**changes):
    """What a browser would keep of a login that it made up."""
    begun = {"state": "s" * 43, "nonce": "n" * 43, "verifier": "v" * 43, "target": "/", "at": int(NOW)}
    return base64.urlsafe_b64encode(json.dumps(begun | changes).encode()).decode()


MADE_UP = [
    {"target": 5},
    {"target": None},
    {"target": ["/"]},
    {"at": 10**400},
    {"at": "now"},
    {"at": float("nan")},
    {"state": ""},
    {"nonce": 7},
    {"more": "x"},
]


@pytest.mark.parametrize("changes", MADE_UP, ids=range(len(MADE_UP)))
async def test_a_kept_login_that_was_made_up_is_refused(site, provider, changes):
    async with site.browser() as client:
        headers = {"cookie": f"{LOGIN}={keep(**changes)}"}
        answer = await client.get("/login/callback", params={"state": "s" * 43, "code": "c"}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("kept", ["", "x", "e30=", "bnVsbA==", "W10=", "é", "a" * 8000])
async def test_a_kept_login_that_is_none_is_refused(site, provider, kept):
    async with site.browser() as client:
        begun = await client.get("/login")
        answer = provider.log_in(begun.headers["location"])
        client.cookies.clear()
        headers = {"cookie": f"{LOGIN}={kept}".encode()}
        assert (await client.get("/login/callback", params=answer, headers=headers)).status_code == 401


async def test_a_parameter_that_is_there_twice_is_refused(site, provider):
    async with site.browser() as client:
        begun = await client.get("/login")
        answer = [*provider.log_in(begun.headers["location"]).items(), ("state", "other")]
        assert (await client.get("/login/callback", params=answer)).status_code == 401


async def test_what_the_provider_says_is_shown_as_text(site, provider):
    async with site.browser() as client:
        answer = await log_in(site, provider, client, error="<script>alert(1)</script>")
    assert answer.status_code == 401
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_a_user_without_a_role_is_told_so_and_gets_no_session(site, provider):
    provider.claims["groups"] = ["staff"]
    async with site.browser() as client:
        answer = await log_in(site, provider, client)
        assert (answer.status_code, "has no role" in answer.text) == (403, True)
        assert SESSION not in client.cookies


async def test_failed_logins_are_limited_and_few_are_logged(site, provider, monkeypatch):
    async with site.browser() as client:
        for _ in range(failure_limit.FAILURES):
            assert (await client.get("/login/callback?code=x&state=y")).status_code == 401
        answer = await client.get("/login/callback?code=x&state=y")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert 0 < len([line for line in site.logged() if line["event"] == "login failed"]) <= 10


async def test_a_login_without_tls_is_refused(site):
    async with site.browser("http://fleet.example.com") as client:
        answer = await client.get("/login")
    assert (answer.status_code, "needs TLS" in answer.text) == (403, True)
    assert "set-cookie" not in answer.headers


async def test_a_login_begins_at_the_address_to_which_the_provider_sends_back(site):
    async with site.browser("https://other.example.com") as client:
        answer = await client.get("/login?next=/clusters")
    assert answer.status_code == 403
    assert "https://fleet.example.com/login?next=%2Fclusters" in answer.text


async def test_without_a_provider_a_page_says_what_to_do(store):
    async with Site(store).browser() as client:
        answer = await client.get("/login")
    assert (answer.status_code, "reconcile dashboard" in answer.text) == (404, True)


async def test_a_provider_that_is_away_is_told_and_not_a_defect(site, provider):
    provider.raw["/.well-known/openid-configuration"] = httpx.Response(500)
    async with site.browser() as client:
        answer = await client.get("/login")
    assert (answer.status_code, "provider" in answer.text) == (502, True)


async def test_a_link_logs_a_local_user_in_once(site):
    code = site.access.links.make("watcher", ("staff",))
    async with site.browser(HERE) as client:
        answer = await client.get("/login/link", params={"code": code})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert flags(answer, "reconcile-session") == {"httponly", "samesite=lax", "path=/", "max-age=43200"}
        found = await site.access.sessions.find(client.cookies["reconcile-session"])
        assert (found.name, found.method) == ("watcher", LoginMethod.LOCAL)
        assert (await client.get("/login/link", params={"code": code})).status_code == 401
    assert code not in site.lines.getvalue()


@pytest.mark.parametrize("header", ["sec-purpose", "purpose"])
async def test_a_link_that_a_browser_loads_in_advance_is_not_used_up(site, header):
    code = site.access.links.make("watcher", ())
    async with site.browser(HERE) as client:
        early = await client.get("/login/link", params={"code": code}, headers={header: "prefetch;prerender"})
        assert early.status_code == 403
        assert (await client.get("/login/link", params={"code": code})).status_code == 303


async def test_a_program_that_only_asks_for_the_head_does_not_use_a_link_up(site):
    code = site.access.links.make("watcher", ())
    async with site.browser(HERE) as client:
        assert (await client.head("/login/link", params={"code": code})).status_code == 405
        assert (await client.get("/login/link", params={"code": code})).status_code == 303


async def test_a_link_expires():
    now = [0.0]
    links = LoginLinks(lambda: now[0])
    code = links.make("kim", ())
    now[0] += login_links.SECONDS
    assert links.use(code) is None


def test_links_that_nobody_uses_are_bounded():
    links = LoginLinks()
    codes = [links.make("kim", ()) for _ in range(login_links.MOST + 1)]
    assert [links.use(code) is not None for code in codes] == [False] + [True] * login_links.MOST


@pytest.mark.parametrize(
    ("base", "headers", "status"),
    [
        (FLEET, {}, 403),
        ("http://fleet.example.com", {}, 403),
        (HERE, {"host": "evil.example"}, 403),
        (HERE, {"x-forwarded-for": "192.0.2.1"}, 403),
    ],
)
async def test_a_link_works_on_the_machine_of_the_watch_alone(site, base, headers, status):
    code = site.access.links.make("watcher", ())
    async with site.browser(base) as client:
        assert (await client.get("/login/link", params={"code": code}, headers=headers)).status_code == status
    assert site.access.links.use(code) is not None


async def test_guessing_links_is_limited(site):
    async with site.browser(HERE) as client:
        for _ in range(failure_limit.FAILURES):
            assert (await client.get("/login/link?code=x")).status_code == 401
        code = site.access.links.make("watcher", ())
        assert (await client.get("/login/link", params={"code": code})).status_code == 429
        site.access.failures = FailureLimit()
        assert (await client.get("/login/link", params={"code": code})).status_code == 303


@pytest.mark.parametrize(
    ("listen", "place"),
    [
        ("127.0.0.1:8642", "127.0.0.1:8642"),
        ("[::1]:80", "[::1]:80"),
        ("0.0.0.0:8642", "127.0.0.1:8642"),
        ("[::]:8642", "[::1]:8642"),
        ("192.0.2.7:8642", None),
        ("off", None),
    ],
)
def test_a_link_leads_to_where_a_browser_on_this_machine_reaches_the_pages(listen, place):
    found = find_local_address(listen)
    assert (found and str(found)) == place


async def test_a_logout_ends_the_session_everywhere(site, provider):
    async with site.browser() as client:
        await log_in(site, provider, client)
        text = client.cookies[SESSION]
        csrf = make_csrf_text(text)
        for headers, form in (
            ({}, {"csrf": csrf}),
            ({"origin": FLEET}, {}),
            ({"origin": FLEET}, {"csrf": "x"}),
        ):
            assert (await client.post("/logout", headers=headers, data=form)).status_code in {403, 415}
        assert await site.access.sessions.find(text) is not None
        answer = await client.post("/logout", headers={"origin": FLEET}, data={"csrf": csrf})
        assert (answer.status_code, "max-age=0" in flags(answer, SESSION)) == (303, True)
    assert await site.access.sessions.find(text) is None
    async with site.browser() as client:
        assert (await client.get("/logout")).status_code == 405
        assert (await client.post("/logout")).status_code == 401


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"csrf=%FF", 403),
        ("application/x-www-form-urlencoded", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"a", 400),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 70_000, 413),
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 300), 400),
    ],
)
async def test_a_form_is_bounded(site, provider, kind, body, status):
    async with site.browser() as client:
        await log_in(site, provider, client)
        headers = {"origin": FLEET, "content-type": kind}
        assert (await client.post("/logout", headers=headers, content=body)).status_code == status


async def test_every_answer_has_the_headers_of_pages(site):
    async with site.browser() as client:
        for answer in (
            await client.get("/login"),
            await client.get("/login/callback"),
            await client.get("/login/link"),
        ):
            assert {name: answer.headers[name] for name in PAGE_HEADERS} == dict(PAGE_HEADERS)
    assert "unsafe" not in CONTENT_POLICY
    assert "frame-ancestors 'none'" in CONTENT_POLICY
