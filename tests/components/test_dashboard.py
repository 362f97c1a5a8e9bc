"""The dashboard in Debian's Chromium: accessible, quick, on small screens, by keyboard, self-contained."""

from contextlib import asynccontextmanager

import pytest
from support.browser import find_barriers, open_page
from support.dashboard import OF_EDGE, PAGES, Dashboard, show_many_nodes
from support.web_server import Site

from reconciler.store.factory import open_store

pytestmark = pytest.mark.component("chromium")

LOOKS = [("light", 360), ("light", 1280), ("dark", 360), ("dark", 1280)]
FIRST_PAINT = """() => new Promise(done => new PerformanceObserver(list => {
    const found = list.getEntriesByName('first-contentful-paint');
    if (found.length) done(found[0].startTime);
}).observe({type: 'paint', buffered: true}))"""


@asynccontextmanager
async def open_browser(dashboard, scheme="light", width=1280):
    """A page in a browser, the address of the dashboard, and what the browser complained about."""
    async with Site(application=dashboard.make_application()) as site:
        base = "http://{}:{}".format(*site.address)
        async with open_page(base, scheme, width) as (page, complaints):
            yield page, base, complaints


async def log_in(dashboard, page, base):
    """Open a link as `reconcile dashboard` gives it."""
    code = dashboard.access.links.make("root", ())
    await page.goto(f"{base}/login/link?code={code}")
    await page.get_by_role("button", name="Log out").wait_for()


@pytest.fixture
async def dashboard(tmp_path):
    with open_store(tmp_path) as store:
        found = Dashboard(store, values={"a": "old", "b": "old", "x": "other"}, silent={"b"})
        await found.run_passes()
        found.run = (await store.runs())[0].id
        yield found


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
async def test_every_page_is_accessible_and_fits(dashboard, scheme, width):
    async with open_browser(dashboard, scheme, width) as (page, base, complaints):
        for path in (*PAGES, *OF_EDGE, f"/history/{dashboard.run}", "/clusters/none"):
            complaints.clear()
            await page.goto(base + path)
            assert await find_barriers(page) == [], path
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            # A browser tells of a page that is not found; of nothing else.
            assert [one for one in complaints if "404" not in one] == [], path


async def test_a_keyboard_reaches_everything_and_shows_where_it_is(dashboard):
    async with open_browser(dashboard) as (page, base, _):
        await page.goto(base)
        reached = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate(
                    "[document.activeElement.textContent.trim(),"
                    " getComputedStyle(document.activeElement).outlineStyle]"
                )
            )
        names = [name for name, _ in reached]
        assert names[0] == "Skip to the content"
        assert {"Fleet", "History", "Calendar", "Search", "edge", "lab"} <= set(names)
        assert all(outline == "solid" for name, outline in reached if name in {"Fleet", "edge", "Search"})
        await page.goto(base)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "content"


async def test_ten_thousand_nodes_are_painted_within_a_second(dashboard, record_property):
    show_many_nodes(dashboard.watch_state, 10_000)
    async with open_browser(dashboard) as (page, base, _):
        await page.goto(base)  # the first page of a process loads the templates
        for path in ("/", "/nodes", "/clusters/many", "/nodes?q=node-99&page=2"):
            await page.goto(base + path)
            painted = await page.evaluate(FIRST_PAINT)
            record_property(path, f"first paint after {painted:.0f} ms")
            assert painted < 1000, path


async def test_a_change_shows_without_a_reload(dashboard):
    async with open_browser(dashboard) as (page, base, _):
        await page.goto(f"{base}/clusters/edge")
        await page.evaluate("window.marked = true")
        await page.wait_for_timeout(500)
        dashboard.watch_state.note("edge", doing="observing 2 nodes")
        await page.get_by_text("Now: observing 2 nodes").wait_for(timeout=10_000)
        assert await page.evaluate("window.marked")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
async def test_every_page_with_its_forms_is_accessible_and_fits(dashboard, scheme, width):
    await dashboard.request_approval()
    async with open_browser(dashboard, scheme, width) as (page, base, complaints):
        await log_in(dashboard, page, base)
        for path in ("/", "/orders", *OF_EDGE):
            await page.goto(base + path)
            for summary in await page.locator(".acts summary").all():
                await summary.click()
            assert await find_barriers(page) == [], path
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert complaints == []


async def test_a_person_logs_in_approves_and_suspends(dashboard):
    await dashboard.request_approval()
    async with open_browser(dashboard) as (page, base, complaints):
        await log_in(dashboard, page, base)
        await page.goto(f"{base}/orders")
        await page.get_by_text("Approve plan").first.click()
        await page.get_by_label("What was checked").fill("read every step")
        await page.get_by_role("button", name="Approve plan").click()
        await page.get_by_text("is approved for one run").wait_for()
        assert await find_barriers(page) == []
        await page.get_by_role("link", name="Back").click()
        await page.wait_for_url(f"{base}/orders")
        await page.get_by_text("read every step").wait_for()
        await page.goto(f"{base}/clusters/edge")
        await page.get_by_text("Suspend edge").first.click()
        await page.locator('form[action="/acts/suspend"] input[name=reason]').fill("disk is full")
        await page.get_by_role("button", name="Suspend edge").click()
        await page.get_by_text("Cluster edge is suspended: disk is full").wait_for()
        await page.goto(base)
        await page.get_by_text("Suspend all clusters").first.click()
        await page.locator('form[action="/acts/suspend"] input[name=reason]').fill("storm")
        await page.get_by_role("button", name="Suspend all clusters").click()
        await page.get_by_role("heading", name="Suspend all clusters?").wait_for()
        assert await find_barriers(page) == []
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_text("Not logged in").wait_for()
        assert complaints == []
