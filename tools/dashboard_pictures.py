"""The pictures of the dashboard in the documentation.

`python -m tools.dashboard_pictures LINK` takes them into `docs/` in Debian's Chromium, by playwright; LINK is what
`reconcile dashboard` prints, such as for the watch of `reconcile demo --keep`. Look at each before it is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DOCS = Path(__file__).parents[1] / "docs"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
WIDE, NARROW = {"width": 1200, "height": 940}, {"width": 360, "height": 740}
PICTURES = (
    ("dashboard-fleet", WIDE, "light", "/", ""),
    ("dashboard-plan", WIDE, "light", "/clusters/live/plan", ""),
    ("dashboard-acts", WIDE, "dark", "/", "Suspend all clusters"),
    ("dashboard-narrow", NARROW, "light", "/", ""),
    ("dashboard-narrow-dark", NARROW, "dark", "/clusters/edge", "Suspend edge"),
)
"""Name, size, mode, page, and the form that is open."""


def take_pictures(link: str) -> None:
    """Take all pictures of a watch."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (only where it is installed)

    place = urlsplit(link)
    base = f"{place.scheme}://{place.netloc}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        known = browser.new_context()
        known.new_page().goto(link)
        state: Any = known.storage_state()
        for name, size, mode, path, form in PICTURES:
            context = browser.new_context(viewport=size, color_scheme=mode, storage_state=state)
            page = context.new_page()
            page.goto(base + path)
            if form:
                page.locator("summary", has_text=form).click()
                page.get_by_role("button", name=form).scroll_into_view_if_needed()
            page.screenshot(path=DOCS / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    take_pictures(sys.argv[1])
