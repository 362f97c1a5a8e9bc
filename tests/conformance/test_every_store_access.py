"""What a store of any kind keeps of tokens and sessions: only digests, and only until they end."""

from datetime import timedelta

import pytest
from support.driver import NOON

from reconciler.core.actor import Actor
from reconciler.core.roles import AccessRole, Grant
from reconciler.errors import UsageError
from reconciler.ports import access_store
from reconciler.ports.access_store import COARSE, TOKENS_LISTED_FOR, AccessToken, LoginSession
from reconciler.store.factory import open_store
from reconciler.store.sql import access_tokens, login_sessions

KIM = Actor("kim", "ops-1")
GRANTS = (Grant(AccessRole.LOOK), Grant(AccessRole.OPERATE, ("web-*", "db")))
IDLE, LONGEST = timedelta(minutes=30), timedelta(hours=12)


class Standing:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Standing()


@pytest.fixture
def store(url, clock):
    with open_store(url, clock=clock) as store:
        yield store


def token(name="ci", days=90):
    return AccessToken(name, GRANTS, NOON + timedelta(days=days), NOON, KIM)


def session(name="kim", expires=NOON + LONGEST):
    return LoginSession(name, "oidc", ("ops", "web"), IDLE, expires)


async def test_a_token_is_found_by_its_digest_alone(store):
    await store.create_access_token("d1", token())
    assert await store.use_access_token("d1") == token()
    assert await store.use_access_token("d2") is None
    assert await store.use_access_token("") is None


async def test_the_last_use_is_recorded_and_not_with_each_request(store, clock):
    await store.create_access_token("d1", token())
    await store.use_access_token("d1")
    clock.now += COARSE / 2
    await store.use_access_token("d1")
    assert [one.used for one in await store.list_access_tokens()] == [NOON]
    clock.now += COARSE
    await store.use_access_token("d1")
    assert [one.used for one in await store.list_access_tokens()] == [clock.now]


async def test_a_token_ends_at_its_moment(store, clock):
    await store.create_access_token("d1", token(days=1))
    clock.now += timedelta(days=1) - timedelta(seconds=1)
    assert await store.use_access_token("d1") is not None
    clock.now += timedelta(seconds=1)
    assert await store.use_access_token("d1") is None
    (listed,) = await store.list_access_tokens()
    assert not listed.counts(clock.now)


async def test_a_revoked_token_ends_at_once_and_stays_listed_for_a_while(store, clock):
    await store.create_access_token("d1", token())
    await store.revoke_access_token("ci", KIM)
    assert await store.use_access_token("d1") is None
    assert [one.revoked for one in await store.list_access_tokens()] == [NOON]
    await store.create_access_token("d2", token())
    assert await store.use_access_token("d1") is None
    clock.now += TOKENS_LISTED_FOR + timedelta(seconds=1)
    await store.create_access_token("d3", token("other", days=120))
    assert [one.name for one in await store.list_access_tokens()] == ["ci", "other"]


async def test_names_of_tokens_in_force_are_unique(store):
    await store.create_access_token("d1", token())
    with pytest.raises(UsageError, match="a token ci already"):
        await store.create_access_token("d2", token())
    assert await store.use_access_token("d2") is None


@pytest.mark.parametrize("name", ["CI", "other", ""])
async def test_only_a_token_in_force_is_revoked(store, name):
    await store.create_access_token("d1", token())
    with pytest.raises(UsageError, match="is in force"):
        await store.revoke_access_token(name, KIM)
    assert await store.use_access_token("d1") is not None


async def test_tokens_are_bounded(store, monkeypatch):
    monkeypatch.setattr(access_tokens, "MOST_TOKENS", 2)
    await store.create_access_token("d1", token("a"))
    await store.create_access_token("d2", token("b"))
    with pytest.raises(UsageError, match="2 tokens already"):
        await store.create_access_token("d3", token("c"))
    await store.revoke_access_token("a", KIM)
    await store.create_access_token("d3", token("c"))


async def test_making_and_revoking_a_token_is_in_the_history(store):
    await store.create_access_token("d1", token())
    await store.revoke_access_token("ci", Actor("lee", "ops-1", why="left the team"))
    revoked, made = await store.list_past_orders()
    assert (made.kind, made.node, made.actor.user) == ("token", "ci", "kim")
    assert (revoked.kind, revoked.node, revoked.actor.why) == ("token revoked", "ci", "left the team")


async def test_a_session_is_found_by_its_digest_until_it_is_ended(store):
    await store.begin_session("d1", session())
    assert await store.use_session("d1") == session()
    assert await store.use_session("d2") is None
    await store.end_session("d2")
    assert await store.use_session("d1") is not None
    await store.end_session("d1")
    assert await store.use_session("d1") is None


async def test_a_session_ends_when_it_is_not_used(store, clock):
    await store.begin_session("d1", session())
    for _ in range(3):
        clock.now += IDLE * 0.9
        assert await store.use_session("d1") is not None
    clock.now += IDLE
    assert await store.use_session("d1") is None


async def test_a_session_in_use_ends_too(store, clock):
    await store.begin_session("d1", session())
    while clock.now < NOON + LONGEST:
        assert await store.use_session("d1") is not None
        clock.now += IDLE / 2
    assert await store.use_session("d1") is None


async def test_sessions_are_bounded_and_the_one_unused_longest_goes(store, clock, monkeypatch):
    monkeypatch.setattr(login_sessions, "MOST_SESSIONS", 2)
    await store.begin_session("d1", session())
    await store.begin_session("d2", session())
    clock.now += IDLE / 2
    await store.use_session("d1")
    await store.begin_session("d3", session())
    assert [await store.use_session(one) is not None for one in ("d1", "d2", "d3")] == [True, False, True]


async def test_each_host_of_a_store_knows_the_session(store, url, clock):
    await store.begin_session("d1", session())
    with open_store(url, clock=clock) as other:
        assert await other.use_session("d1") == session()
        await other.end_session("d1")
    assert await store.use_session("d1") is None


def test_the_bounds_are_those_of_the_port():
    assert access_tokens.MOST_TOKENS == access_store.MOST_TOKENS
    assert login_sessions.MOST_SESSIONS == access_store.MOST_SESSIONS
