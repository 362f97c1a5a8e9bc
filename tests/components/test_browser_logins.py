"""Logins in Debian's Chromium: with a real OpenID provider, by nginx, and with a token."""

import re
from datetime import timedelta

import pytest
from nginx_site import Proxied
from openid_site import OpenidSite
from support.browser import find_barriers, open_page
from support.dashboard import Dashboard
from support.web_server import Site

from reconciler.core.actor import Actor
from reconciler.core.roles import EVERYTHING_ALLOWED
from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessToken
from reconciler.server.access.role_table import RoleTable
from reconciler.server.access.secret_texts import digest_secret, make_token_text
from reconciler.server.pages import change_events
from reconciler.server.pages.endpoint import Pages
from reconciler.server.views.watch_views import WatchViews
from reconciler.store.factory import open_store

pytestmark = pytest.mark.component("chromium")


@pytest.fixture
async def dashboard(tmp_path):
    with open_store(tmp_path / "state") as store:
        found = Dashboard(store, values={"a": "old", "b": "old", "x": "other"}, silent={"b"})
        await found.run_passes()
        found.store = store
        yield found


async def suspend(page, base, reason):
    """Suspend a cluster by its form, as a person does."""
    await page.goto(f"{base}/clusters/edge")
    await page.get_by_text("Suspend edge").first.click()
    await page.locator('form[action="/acts/suspend"] input[name=reason]').fill(reason)
    await page.get_by_role("button", name="Suspend edge").click()
    await page.get_by_text(f"Cluster edge is suspended: {reason}").wait_for()


class LateAccess:
    """Who may of a site that is made after its pages."""

    def __getattr__(self, name):
        return getattr(self.site.access, name)


async def test_a_person_logs_in_with_an_openid_provider_and_out(dashboard, tmp_path):
    late = LateAccess()
    views = WatchViews(dashboard.watch_state, dashboard.open_store)
    pages = Pages(views, late, dashboard.acts, dashboard.tasks).list_routes()
    late.site = site = OpenidSite(tmp_path, dashboard.store, pages)
    async with site, open_page("http://127.0.0.1") as (page, complaints):
        await page.goto(f"{site.base}/clusters/edge")
        await page.get_by_role("link", name="Log in").click()
        await page.wait_for_url(f"{site.issuer}/**")
        await page.locator("input[name=login]").fill("kim")
        await page.locator("input[name=password]").fill("any")
        await page.locator("button[type=submit]").click()
        await page.get_by_role("button", name="Continue").click()
        await page.wait_for_url(f"{site.base}/clusters/edge")
        await page.get_by_text("kim@example.com").wait_for()
        (cookie,) = [one for one in await page.context.cookies() if one["name"] == "reconcile-session"]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        await suspend(page, site.base, "disk is full")
        assert await find_barriers(page) == []
        before = complaints.copy()
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_role("link", name="Log in").wait_for()
        await page.go_back()
        assert not await page.get_by_role("button", name="Log out").is_visible()
    (suspension,) = (await dashboard.store.orders()).suspensions
    assert suspension.by.startswith("oidc:kim@example.com")
    own = [one for one in before if "example.com" in one]
    assert own == []


async def test_a_person_whom_nginx_logs_in_acts_and_is_told_when_their_role_ends(
    dashboard, tmp_path, monkeypatch
):
    monkeypatch.setattr(change_events, "CHECK_SECONDS", 0.2)
    dashboard.access.store = dashboard.store
    async with Proxied(tmp_path, dashboard) as proxied:
        base = f"https://127.0.0.1:{proxied.port}"
        login = {"username": "kim", "password": "kim-s3cret"}
        async with open_page(base, http_credentials=login, ignore_https_errors=True) as (page, complaints):
            await page.goto(base)
            await page.get_by_text("kim (proxy)").wait_for()
            (cookie,) = await page.context.cookies()
            assert cookie["name"] == "__Host-reconcile-form"
            assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
            await suspend(page, base, "disk is full")
            await page.goto(f"{base}/clusters/edge")
            await page.wait_for_timeout(500)
            dashboard.watch_state.note("edge", doing="observing 2 nodes")
            await page.get_by_text("Now: observing 2 nodes").wait_for(timeout=10_000)
            assert complaints == []
            dashboard.access.roles = RoleTable((), frozenset(), frozenset())
            await page.get_by_text("may no longer look at this").wait_for(timeout=20_000)
            await page.reload()
            await page.get_by_text("kim has no role here").wait_for()
            assert await find_barriers(page) == []
    (suspension,) = (await dashboard.store.orders()).suspensions
    assert suspension.by.startswith("proxy:kim")


async def test_a_page_with_a_token_acts_as_the_token(dashboard):
    text, now = make_token_text(), utc_now()
    token = AccessToken("ci", EVERYTHING_ALLOWED, now + timedelta(days=1), now, Actor("kim"))
    await dashboard.store.create_access_token(digest_secret(text), token)
    async with Site(application=dashboard.make_application()) as site:
        base = "http://{}:{}".format(*site.address)
        headers = {"authorization": f"Bearer {text}"}
        async with open_page(base, extra_http_headers=headers) as (page, complaints):
            await suspend(page, base, "disk is full")
            assert text not in await page.content()
            await dashboard.store.revoke_access_token("ci", Actor("kim"))
            await page.goto(base)
            await page.get_by_text("The token is not accepted").wait_for()
            assert [one for one in complaints if not re.search("401", one)] == []
    (suspension,) = (await dashboard.store.orders()).suspensions
    assert suspension.by.startswith("token:ci")
