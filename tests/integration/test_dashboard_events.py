"""The events of the dashboard on a real socket: who gets them, how many, and until when."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from ipaddress import ip_network

import pytest
from support.access import make_access
from support.dashboard import Dashboard
from support.waiting import wait_until
from support.web_server import Site

from reconciler.core.actor import Actor
from reconciler.core.roles import AccessRole, Grant
from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessToken
from reconciler.server.access.identity import LoginMethod
from reconciler.server.access.role_table import RoleTable
from reconciler.server.access.secret_texts import digest_secret, make_token_text
from reconciler.server.pages import change_events
from reconciler.server.pages.change_events import MOST_OF_ONE, MOST_READERS
from reconciler.store.factory import open_store

RULES = """
  proxy: {header: X-Remote-User, networks: [127.0.0.1/32]}
  roles: [{role: look, users: [kim]}, {role: look, clusters: [edge], users: [lee]}]
"""
ENCRYPTED = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7", "host": "fleet.example.com"}
PROXIES = (ip_network("127.0.0.1/32"),)


class EventSite:
    """The pages of a watch behind a proxy on this machine."""

    def __init__(self, store):
        self.store, self.dashboard = store, Dashboard(store, values={"a": "old", "b": "old", "x": "other"})
        self.access = self.dashboard.access = make_access(store, RULES, trusted=PROXIES)
        application = self.dashboard.make_application()
        self.site = Site(application=application, trusted_proxies=[str(one) for one in PROXIES])

    async def open(self, stack, after="", **headers):
        """Status and lines of an answer with events."""
        sent = ENCRYPTED | {name.replace("_", "-"): value for name, value in headers.items()}
        request = self.site.client.stream("GET", f"/events?after={after}", headers=sent, timeout=30)
        answer = await stack.enter_async_context(request)
        return answer.status_code, answer.aiter_lines()

    def change(self, cluster):
        self.dashboard.watch_state.note(cluster, doing="planning")

    async def make_token(self):
        text, now = make_token_text(), utc_now()
        token = AccessToken("ci", (Grant(AccessRole.LOOK),), now + timedelta(days=1), now, Actor("kim"))
        await self.store.create_access_token(digest_secret(text), token)
        return text


@pytest.fixture
async def events(tmp_path):
    with open_store(tmp_path) as store:
        found = EventSite(store)
        await found.dashboard.run_passes()
        async with found.site:
            yield found


async def find_event(lines, seconds=5):
    """Wait for a change; False if the answer ends without one."""
    async with asyncio.timeout(seconds):
        async for line in lines:
            if line == "event: change":
                return True
    return False


async def log_in_by_session(events):
    text = await events.access.sessions.begin("kim", LoginMethod.OIDC)

    async def end():
        await events.access.sessions.end(text)

    return {"cookie": f"__Host-reconcile-session={text}"}, end


async def log_in_by_token(events):
    text = await events.make_token()

    async def end():
        await events.store.revoke_access_token("ci", Actor("root"))

    return {"authorization": f"Bearer {text}"}, end


async def log_in_by_expiring_token(events):
    text, now = make_token_text(), utc_now()
    token = AccessToken("brief", (Grant(AccessRole.LOOK),), now + timedelta(seconds=1), now, Actor("kim"))
    await events.store.create_access_token(digest_secret(text), token)

    async def end():
        await asyncio.sleep(1)

    return {"authorization": f"Bearer {text}"}, end


async def log_in_by_proxy(events):
    async def end():
        roles = RoleTable((), frozenset(), frozenset())
        events.access.roles = events.access.sessions.roles = roles

    return {"x_remote_user": "kim"}, end


@pytest.mark.parametrize(
    "log_in", [log_in_by_session, log_in_by_token, log_in_by_expiring_token, log_in_by_proxy]
)
async def test_events_end_with_the_right_to_look(events, log_in, monkeypatch):
    monkeypatch.setattr(change_events, "CHECK_SECONDS", 0.05)
    headers, end = await log_in(events)
    async with AsyncExitStack() as stack:
        status, lines = await events.open(stack, **headers)
        assert status == 200
        events.change("edge")
        assert await find_event(lines)
        await end()
        # It ends by itself, long before its time, and tells of no other change.
        await asyncio.sleep(0.2)
        events.change("edge")
        assert not await find_event(lines)
        assert (await events.open(stack, **headers))[0] in {401, 403}


async def test_who_sees_some_clusters_is_told_of_these_alone(events):
    async with AsyncExitStack() as stack:
        _, lines = await events.open(stack, x_remote_user="lee")
        events.change("lab")
        with pytest.raises(TimeoutError):
            await find_event(lines, seconds=0.3)
        _, lines = await events.open(stack, x_remote_user="lee")
        events.change("edge")
        assert await find_event(lines)


async def test_what_changed_while_nobody_listened_is_told_at_once(events):
    known = events.dashboard.watch_state.changes.number
    events.change("edge")
    async with AsyncExitStack() as stack:
        _, lines = await events.open(stack, after=known, x_remote_user="kim")
        assert await find_event(lines)
        # The page that was made after the change knows it.
        page = (await events.site.client.get("/", headers=ENCRYPTED | {"x-remote-user": "kim"})).text
        assert f'data-change="{known + 1}"' in page
        _, lines = await events.open(stack, after=known + 1, x_remote_user="kim")
        with pytest.raises(TimeoutError):
            await find_event(lines, seconds=0.3)
        # A browser that connects again names the event that it got last.
        _, lines = await events.open(stack, after=known, last_event_id=str(known + 1), x_remote_user="kim")
        with pytest.raises(TimeoutError):
            await find_event(lines, seconds=0.3)


async def test_one_caller_leaves_places_to_others(events):
    token = {"authorization": f"Bearer {await events.make_token()}"}
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(*(events.open(stack, x_remote_user="kim") for _ in range(12)))
        statuses = [status for status, _ in opened]
        assert (statuses.count(200), statuses.count(503)) == (MOST_OF_ONE, 12 - MOST_OF_ONE)
        for headers in ({"x_remote_user": "lee"}, token):
            assert (await events.open(stack, **headers))[0] == 200
    await wait_until(lambda: events.dashboard.watch_state.changes.readers == 0)
    async with AsyncExitStack() as stack:
        assert (await events.open(stack, x_remote_user="kim"))[0] == 200


async def test_readers_are_bounded_in_all_also_those_that_come_at_once(events):
    names = [f"user-{number}" for number in range(MOST_READERS + 20)]
    rules = f"{RULES[: RULES.index('roles')]}roles: [{{role: look, users: [{', '.join(names)}]}}]"
    events.access.roles = events.access.sessions.roles = make_access(events.store, rules).roles
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(*(events.open(stack, x_remote_user=name) for name in names))
        assert [status for status, _ in opened].count(200) == MOST_READERS


async def test_a_reader_that_reads_nothing_gives_its_place_back(events, monkeypatch):
    monkeypatch.setattr(change_events, "EVENT_SECONDS", 0.3)
    lines = [f"{name}: {value}" for name, value in (ENCRYPTED | {"x-remote-user": "kim"}).items()]
    request = "\r\n".join(["GET /events HTTP/1.1", *lines, "", ""]).encode()
    async with AsyncExitStack() as stack:
        for _ in range(MOST_OF_ONE):
            _, writer = await asyncio.open_connection(*events.site.address)
            stack.callback(writer.close)
            writer.write(request)
            await writer.drain()
        await wait_until(lambda: events.dashboard.watch_state.changes.readers == MOST_OF_ONE)
        assert (await events.open(stack, x_remote_user="kim"))[0] == 503
        await wait_until(lambda: events.dashboard.watch_state.changes.readers == 0)
        assert (await events.open(stack, x_remote_user="kim"))[0] == 200
