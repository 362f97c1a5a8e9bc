"""Who sent a request: by token, by session, by a proxy's header, or not known; and every attack on these."""

import re
from datetime import timedelta
from ipaddress import ip_network

import pytest
from support.access import OUTSIDE, MovedClock, make_access, make_request

from reconciler.core.actor import Actor
from reconciler.core.roles import EVERYTHING_ALLOWED, AccessRole, Grant
from reconciler.errors import StateError
from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessToken
from reconciler.server.access import access_control, failure_limit, sessions
from reconciler.server.access.failure_limit import FailureLimit
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity, LoginMethod
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.secret_texts import (
    digest_secret,
    make_csrf_text,
    make_secret_text,
    make_token_text,
)
from reconciler.store.factory import open_store

OIDC = """
  oidc: {issuer: "https://login.example.com", client: a, secret: /a, redirect: "https://fleet.example.com"}
"""
PROXY = """
  proxy: {header: X-Remote-User, networks: [192.0.2.10/32]}
"""
ROLES = """
  roles:
    - {role: look, users: [kim, lee, josé], clusters: ["web-*"]}
    - {role: operate, groups: [ops]}
"""
LOOK, APPROVE, OPERATE = AccessRole
HOST_COOKIE = "__Host-reconcile-session"


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as store:
        yield store


async def make_token(store, *grants, days=1, name="ci"):
    text = make_token_text()
    now = utc_now()
    token = AccessToken(name, grants or (Grant(LOOK),), now + timedelta(days=days), now, Actor("kim"))
    await store.create_access_token(digest_secret(text), token)
    return text


async def refused(call):
    with pytest.raises(AccessRefused) as caught:
        await call
    return caught.value


def bearer(text, **how):
    return make_request(**how, authorization=f"Bearer {text}")


async def test_somebody_on_this_machine_may_look_and_is_told_how_to_act():
    access = make_access()
    assert await access.identify(make_request()) == SOMEBODY_LOCAL
    assert await access.require(make_request(), LOOK, "web-1") == SOMEBODY_LOCAL
    error = await refused(access.require_act(make_request(), OPERATE, "web-1"))
    assert error.status == 401
    assert "reconcile dashboard" in error.remedy


async def test_somebody_elsewhere_needs_a_login_to_look():
    access = make_access()
    assert await access.identify(make_request(**OUTSIDE)) is None
    assert (await refused(access.require(make_request(**OUTSIDE), LOOK))).status == 401


@pytest.mark.parametrize("how", [{}, OUTSIDE])
async def test_a_token_acts_with_its_grants_alone(store, how):
    access, text = make_access(store), await make_token(store, Grant(OPERATE, ("web-*",)))
    found = await access.require_act(bearer(text, **how), OPERATE, "web-1")
    assert (found.name, found.method) == ("ci", LoginMethod.TOKEN)
    for role, cluster in ((APPROVE, "web-1"), (OPERATE, "db"), (LOOK, "db"), (OPERATE, "")):
        assert (await refused(access.require_act(bearer(text, **how), role, cluster))).status == 403


async def test_a_token_is_never_accepted_where_somebody_can_read_it(store):
    access, text = make_access(store), await make_token(store)
    error = await refused(access.identify(bearer(text, **(OUTSIDE | {"scheme": "http"}))))
    assert error.status == 403
    assert "replace the token" in error.remedy


async def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(store):
    access, good = make_access(store), await make_token(store)
    await store.revoke_access_token("ci", Actor())
    expired = await make_token(store, days=-1, name="old")
    values = [good, expired, make_token_text(), good[:-1], good.upper(), "x", "rcl_", "é", "a" * 100_000]
    lines = [f"Bearer {value}" for value in values] + ["", "Bearer", "Basic a2ltOmtpbQ==", "Bearer a b"]
    answers = set()
    for line in lines:
        access.failures = FailureLimit()
        error = await refused(access.identify(make_request(**OUTSIDE, authorization=line)))
        answers.add((error.message, error.remedy, error.status))
        assert not any(value in f"{error.message}{error.remedy}" for value in values if len(value) > 4)
    assert len(answers) == 1
    assert {status for *_, status in answers} == {401}


async def test_a_wrong_token_on_this_machine_is_not_taken_for_nobody(store):
    assert (await refused(make_access(store).identify(bearer(make_token_text())))).status == 401


async def test_two_tokens_in_one_request_are_refused(store):
    text = await make_token(store)
    twice = make_request(lines=[("authorization", f"Bearer {text}")] * 2)
    assert (await refused(make_access(store).identify(twice))).status == 401


async def test_the_host_may_switch_tokens_off(store):
    text = await make_token(store)
    assert (await refused(make_access(store, "  tokens: false").identify(bearer(text)))).status == 401


async def test_guessing_is_limited_for_each_caller_and_ends_by_itself(store):
    clock = MovedClock()
    access, text = make_access(store), await make_token(store)
    access.failures = FailureLimit(clock.seconds)
    for _ in range(failure_limit.FAILURES):
        assert (await refused(access.identify(bearer(make_token_text(), **OUTSIDE)))).status == 401
    error = await refused(access.identify(bearer(text, **OUTSIDE)))
    assert (error.status, 0 < error.wait <= failure_limit.PERIOD) == (429, True)
    assert await access.identify(bearer(text, **(OUTSIDE | {"peer": "198.51.100.5"}))) is not None
    clock.now += timedelta(seconds=error.wait)
    assert await access.identify(bearer(text, **OUTSIDE)) is not None


async def test_a_caller_behind_a_proxy_is_limited_and_not_the_proxy(store):
    access, text = make_access(store, trusted=[ip_network("192.0.2.10")]), await make_token(store)
    proxied = OUTSIDE | {"peer": "192.0.2.10"}
    for _ in range(failure_limit.FAILURES):
        await refused(access.identify(bearer(make_token_text(), **proxied, client="198.51.100.7")))
    assert (await refused(access.identify(bearer("x", **proxied, client="198.51.100.7")))).status == 429
    assert await access.identify(bearer(text, **proxied, client="198.51.100.8")) is not None


async def test_who_shares_an_address_with_an_attacker_goes_on(store):
    access, text = make_access(store), await make_token(store)
    assert await access.identify(bearer(text, **OUTSIDE)) is not None
    for _ in range(failure_limit.FAILURES + 1):
        await refused(access.identify(bearer(make_token_text(), **OUTSIDE)))
    assert await access.identify(bearer(text, **OUTSIDE)) is not None
    await store.revoke_access_token("ci", Actor())
    assert (await refused(access.identify(bearer(text, **OUTSIDE)))).status == 401
    assert (await refused(access.identify(bearer(text, **OUTSIDE)))).status == 429


def with_session(text, **how):
    return make_request(**(OUTSIDE | how), cookies={HOST_COOKIE: text})


async def count_session_reads(store, monkeypatch):
    found, use = [], store.use_session

    async def use_session(digest):
        found.append(digest)
        return await use(digest)

    monkeypatch.setattr(store, "use_session", use_session)
    return found


async def test_texts_that_are_no_sessions_are_limited_and_a_known_session_goes_on(store, monkeypatch):
    access = make_access(store, ROLES)
    text = await access.sessions.begin("kim", LoginMethod.OIDC)
    assert (await access.identify(with_session(text))).name == "kim"
    asked = await count_session_reads(store, monkeypatch)
    for _ in range(failure_limit.FAILURES):
        assert await access.identify(with_session(make_secret_text())) is None
    for _ in range(20):
        assert (await refused(access.identify(with_session(make_secret_text())))).status == 429
    assert len(asked) == failure_limit.FAILURES
    assert (await access.identify(with_session(text))).name == "kim"
    assert await access.identify(with_session(make_secret_text(), peer="198.51.100.9")) is None


async def test_a_browser_whose_session_has_ended_is_not_stopped(store, monkeypatch):
    access = make_access(store, ROLES)
    text = await access.sessions.begin("kim", LoginMethod.OIDC)
    assert await access.identify(with_session(text)) is not None
    await access.sessions.end(text)
    asked = await count_session_reads(store, monkeypatch)
    for _ in range(50):
        assert await access.identify(with_session(text)) is None
    assert len(asked) == 1
    fresh = await access.sessions.begin("kim", LoginMethod.OIDC)
    assert await access.identify(with_session(fresh)) is not None


async def test_what_is_remembered_of_tokens_is_bounded(store, monkeypatch):
    monkeypatch.setattr(access_control, "_REMEMBERED", 2)
    access = make_access(store)
    for number in range(4):
        await access.identify(bearer(await make_token(store, name=f"ci-{number}")))
    assert len(access._remembered) == 2


@pytest.mark.parametrize("peer", ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:a::"])
def test_addresses_of_one_ipv6_network_are_one_caller(peer):
    limit = FailureLimit()
    for number in range(failure_limit.FAILURES):
        limit.count(f"2001:db8::{number:x}:0:0:1")
    with pytest.raises(AccessRefused):
        limit.check(peer)
    limit.check("2001:db8:0:1::1")


def test_failures_of_any_number_of_callers_take_bounded_memory(monkeypatch):
    monkeypatch.setattr(failure_limit, "CALLERS", 10)
    limit = FailureLimit()
    for number in range(100):
        limit.count(f"192.0.2.{number}")
    assert len(limit._failures) == 10


async def test_a_session_acts_with_the_roles_of_the_user(store):
    access = make_access(store, OIDC + ROLES)
    text = await access.sessions.begin("kim", LoginMethod.OIDC, ["ops"])
    request = make_request(**OUTSIDE, cookies={HOST_COOKIE: text})
    found = await access.identify(request)
    assert (found.name, found.method) == ("kim", LoginMethod.OIDC)
    assert found.grants == (Grant(LOOK, ("web-*",)), Grant(OPERATE))


async def test_roles_are_read_anew_with_each_request(store):
    text = await make_access(store, OIDC + ROLES).sessions.begin("kim", LoginMethod.OIDC)
    request = make_request(**OUTSIDE, cookies={HOST_COOKIE: text})
    later = make_access(store, OIDC + "  roles: [{role: operate, users: [lee]}]")
    error = await refused(later.identify(request))
    assert (error.status, "has no role" in error.message) == (403, True)


@pytest.mark.parametrize(
    ("how", "name", "known"),
    [
        (OUTSIDE, HOST_COOKIE, True),
        (OUTSIDE, "reconcile-session", False),
        (OUTSIDE | {"scheme": "http"}, HOST_COOKIE, False),
        (OUTSIDE | {"scheme": "http"}, "reconcile-session", False),
    ],
)
async def test_a_cookie_counts_only_where_nobody_else_could_set_it(store, how, name, known):
    access = make_access(store, OIDC + ROLES)
    text = await access.sessions.begin("kim", LoginMethod.OIDC)
    found = await access.identify(make_request(**how, cookies={name: text}))
    assert (found is not None) is known


@pytest.mark.parametrize("text", ["", "x", "a" * 43, "a" * 10_000, "../../x", digest_secret("x")])
async def test_an_unknown_session_is_nobody(store, text):
    access = make_access(store, OIDC + ROLES)
    assert await access.identify(make_request(**OUTSIDE, cookies={HOST_COOKIE: text})) is None
    assert await access.identify(make_request(cookies={"reconcile-session": text})) == SOMEBODY_LOCAL


async def test_the_store_knows_neither_tokens_nor_sessions_in_clear(store, tmp_path):
    access = make_access(store, OIDC + ROLES)
    texts = [await make_token(store), await access.sessions.begin("kim", LoginMethod.OIDC)]
    found = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert b"kim" in found
    assert not any(text.encode() in found or text[-43:].encode() in found for text in texts)


async def test_a_session_of_a_local_user_is_kept_by_this_watch_alone(store):
    access, other = make_access(store), make_access(store)
    text = await access.sessions.begin("watcher", LoginMethod.LOCAL)
    request = make_request(cookies={"reconcile-session": text})
    assert (await access.identify(request)).grants == EVERYTHING_ALLOWED
    assert await other.identify(request) == SOMEBODY_LOCAL
    await access.sessions.end(text)
    assert await access.identify(request) == SOMEBODY_LOCAL


async def test_a_session_in_memory_ends_idle_or_in_any_case(monkeypatch):
    clock, access = MovedClock(), make_access()
    access.sessions.clock = clock
    text = await access.sessions.begin("watcher", LoginMethod.LOCAL)
    clock.now += sessions.IDLE - timedelta(seconds=1)
    assert await access.sessions.find(text) is not None
    clock.now += sessions.IDLE
    assert await access.sessions.find(text) is None
    text, start = await access.sessions.begin("watcher", LoginMethod.LOCAL), clock.now
    while clock.now < start + sessions.LONGEST:
        assert await access.sessions.find(text) is not None
        clock.now += sessions.IDLE / 2
    assert await access.sessions.find(text) is None


async def test_sessions_in_memory_are_bounded_and_the_one_unused_longest_goes(monkeypatch):
    monkeypatch.setattr(sessions, "KEPT_HERE", 2)
    access = make_access()
    one, two = [await access.sessions.begin("watcher", LoginMethod.LOCAL) for _ in range(2)]
    await access.sessions.find(one)
    three = await access.sessions.begin("watcher", LoginMethod.LOCAL)
    assert [await access.sessions.find(text) is not None for text in (one, two, three)] == [True, False, True]


def proxied(*values, peer="192.0.2.10"):
    return make_request(**(OUTSIDE | {"peer": peer}), lines=[("X-Remote-User", value) for value in values])


@pytest.mark.parametrize(("sent", "name"), [("kim", "kim"), ("josé", "josé")])
async def test_a_named_proxy_names_the_user(sent, name):
    found = await make_access(rules=PROXY + ROLES).identify(proxied(sent))
    assert (found.name, found.method, found.grants) == (name, LoginMethod.PROXY, (Grant(LOOK, ("web-*",)),))


@pytest.mark.parametrize(
    "request_",
    [
        proxied("kim", peer="192.0.2.11"),
        proxied("kim", "kim"),
        proxied("kim", "lee"),
        proxied(""),
        proxied("k\tm"),
        proxied("k" * 201),
        make_request(lines=[("X-REMOTE-USER", "kim")]),
    ],
    ids=["another peer", "twice", "two users", "empty", "control character", "too long", "loopback"],
)
async def test_a_header_that_the_proxy_did_not_set_once_is_refused(request_):
    assert (await refused(make_access(rules=PROXY + ROLES).identify(request_))).status == 403


async def test_the_client_that_a_proxy_names_does_not_make_the_caller_the_proxy():
    spoofed = make_request(
        **(OUTSIDE | {"peer": "198.51.100.9"}), client="192.0.2.10", lines=[("X-Remote-User", "kim")]
    )
    access = make_access(rules=PROXY + ROLES, trusted=[ip_network("198.51.100.9")])
    assert (await refused(access.identify(spoofed))).status == 403


async def test_the_header_means_nothing_without_a_proxy_in_the_configuration():
    assert await make_access(rules=ROLES).identify(proxied("kim")) is None


async def test_a_user_of_one_method_is_not_that_of_another():
    rules = PROXY + "  roles: [{role: operate, users: [kim], login: [local]}]"
    assert (await refused(make_access(rules=rules).identify(proxied("kim")))).status == 403


async def test_the_store_may_fail_and_nobody_gets_in(store, monkeypatch):
    access, text = make_access(store), await make_token(store)

    async def fail(_digest):
        raise StateError("the disk is full")

    monkeypatch.setattr(store, "use_access_token", fail)
    assert (await refused(access.identify(bearer(text)))).status == 503


PAGE = {"origin": "https://fleet.example.com", "sec_fetch_site": "same-origin"}
KIM = Identity("kim", LoginMethod.OIDC)


@pytest.mark.parametrize(
    ("headers", "csrf", "passes"),
    [
        (PAGE, "own", True),
        ({"origin": PAGE["origin"]}, "own", True),
        (PAGE, "", False),
        (PAGE, "other", False),
        (PAGE | {"origin": "https://evil.example"}, "own", False),
        (PAGE | {"origin": "https://fleet.example.com.evil.example"}, "own", False),
        (PAGE | {"origin": "http://fleet.example.com"}, "own", False),
        (PAGE | {"origin": "https://fleet.example.com:444"}, "own", False),
        (PAGE | {"origin": "null"}, "own", False),
        ({"sec_fetch_site": "same-origin"}, "own", False),
        (PAGE | {"sec_fetch_site": "same-site"}, "own", False),
        (PAGE | {"sec_fetch_site": "cross-site"}, "own", False),
        (PAGE | {"sec_fetch_site": "none"}, "own", False),
    ],
)
@pytest.mark.parametrize("place", ["form", "header"])
async def test_an_act_by_a_session_comes_from_a_page_of_that_session(store, headers, csrf, passes, place):
    access = make_access(store, OIDC + ROLES)
    text, other = [await access.sessions.begin("kim", LoginMethod.OIDC, ["ops"]) for _ in range(2)]
    cookies = {HOST_COOKIE: text}
    own = access.make_csrf_token(make_request(**OUTSIDE, cookies=cookies), KIM)
    given = {"own": own, "": ""}
    given["other"] = make_csrf_text(other)
    sent = {"x_csrf_token": given[csrf]} if place == "header" else {}
    request = make_request(**OUTSIDE, cookies=cookies, **headers, **sent)
    call = access.require_act(request, OPERATE, "web-1", csrf=given[csrf] if place == "form" else "")
    if passes:
        assert (await call).name == "kim"
    else:
        assert (await refused(call)).status == 403


async def test_the_token_of_a_page_does_not_tell_its_session(store):
    access = make_access(store, OIDC + ROLES)
    text = await access.sessions.begin("kim", LoginMethod.OIDC)
    token = access.make_csrf_token(make_request(**OUTSIDE, cookies={HOST_COOKIE: text}), KIM)
    assert re.fullmatch(r"[\w-]{43}", token)
    assert token not in text
    assert await access.identify(make_request(**OUTSIDE, cookies={HOST_COOKIE: token})) is None


@pytest.mark.parametrize(
    ("headers", "csrf", "passes"),
    [
        (PAGE, "own", True),
        (PAGE, "", False),
        (PAGE, "other", False),
        (PAGE, "of a session", False),
        ({}, "own", False),
        (PAGE | {"origin": "https://evil.example"}, "own", False),
        (PAGE | {"sec_fetch_site": "same-site"}, "own", False),
    ],
)
async def test_an_act_of_a_user_whom_a_proxy_names_comes_from_a_page_of_this_browser(headers, csrf, passes):
    access = make_access(rules=PROXY + "  roles: [{role: operate, users: [kim]}]")
    arrival, named = OUTSIDE | {"peer": "192.0.2.10"}, [("X-Remote-User", "kim")]
    kim = Identity("kim", LoginMethod.PROXY)
    text = access.make_form_text(make_request(**arrival, lines=named), kim)
    cookies = {"__Host-reconcile-form": text, HOST_COOKIE: "s" * 43}
    request = make_request(**arrival, **headers, lines=named, cookies=cookies)
    assert access.make_form_text(request, kim) == "", "the browser keeps its cookie"
    given = {"own": access.make_csrf_token(request, kim), "other": make_csrf_text("o" * 43), "": ""}
    given["of a session"] = make_csrf_text("s" * 43)
    call = access.require_act(request, OPERATE, "web-1", csrf=given[csrf])
    if passes:
        assert (await call).name == "kim"
    else:
        assert (await refused(call)).status == 403


async def test_a_token_needs_no_page(store):
    access, text = make_access(store), await make_token(store, Grant(OPERATE))
    assert await access.require_act(bearer(text, **OUTSIDE), OPERATE) is not None


async def test_a_request_with_token_and_session_has_the_rights_of_the_token(store):
    access, text = make_access(store, OIDC + ROLES), await make_token(store, Grant(LOOK))
    cookies = {HOST_COOKIE: await access.sessions.begin("kim", LoginMethod.OIDC, ["ops"])}
    both = make_request(**OUTSIDE, cookies=cookies, authorization=f"Bearer {text}")
    assert (await refused(access.require_act(both, OPERATE, "web-1"))).status == 403
