"""Debian's Chromium for component tests, driven by Playwright, which only their environment has."""

import os
from contextlib import asynccontextmanager
from pathlib import Path

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


@asynccontextmanager
async def open_page(base, scheme="light", width=1280, **options):
    """A page in a browser, and what the browser complained about, also requests to elsewhere."""
    from playwright.async_api import async_playwright  # noqa: PLC0415  (only where it is installed)

    complaints = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        viewport = {"width": width, "height": 860}
        context = await browser.new_context(viewport=viewport, color_scheme=scheme, **options)
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda one: one.url.startswith(base) or complaints.append(one.url))
        yield page, complaints
        await browser.close()


async def find_barriers(page):
    """What axe finds on the page that is shown, also what it is not sure of."""
    axe = Path(os.environ["RECONCILE_AXE"]).read_text(encoding="utf-8")
    await page.evaluate(f"{axe};0")
    found = await page.evaluate("axe.run()")
    return [
        (kind, one["id"], one["nodes"][0]["html"])
        for kind in ("violations", "incomplete")
        for one in found[kind]
    ]
