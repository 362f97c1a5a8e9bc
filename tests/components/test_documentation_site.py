"""The documentation site in Chromium: no warning, nothing from elsewhere, and its search finds the page."""

import functools
import http.server
import re
import threading
from contextlib import asynccontextmanager

import pytest
from support.browser import ARGUMENTS

from tools.documentation_site import build_site

pytestmark = pytest.mark.component("chromium")

QUESTIONS = {
    "undo a bad commit": {"rollback"},
    "rollback to earlier revision": {"rollback"},
    "node does not answer timeout": {"retries"},
    "node stalled": {"retries"},
    "change window": {"rollouts"},
    "freeze changes at christmas": {"rollouts"},
    "suspend a cluster": {"rollouts"},
    "approve a plan": {"rollouts", "cli"},
    "exit status 3": {"cli", "pull-requests", "guards"},
    "github actions": {"pull-requests"},
    "gitlab merge request": {"pull-requests"},
    "where are secrets kept": {"overlays-and-secrets"},
    "passwords in settings": {"overlays-and-secrets"},
    "webhook signature": {"watch", "host-configuration"},
    "prometheus metrics": {"watch"},
    "systemd unit": {"watch", "ssh"},
    "backup of the state": {"state"},
    "move to another host": {"state", "postgresql"},
    "high availability": {"postgresql"},
    "openid login": {"access"},
    "who may approve": {"access"},
    "api token": {"access", "server-api"},
    "openapi": {"server-api", "node-messages"},
    "purge cache": {"operations"},
    "stop a node for maintenance": {"maintenance"},
    "hold a node": {"maintenance"},
    "replace a sora node": {"sora", "guards", "check"},
    "majority lost": {"guards", "sora"},
    "override a guard": {"guards"},
    "signed commits gpg": {"signed-commits"},
    "jump host bastion": {"ssh"},
    "nodes behind a firewall": {"central-server"},
    "dynamic inventory ec2": {"inventory"},
    "json schema for my editor": {"validate"},
    "migrate from ansible": {"other-tools"},
    "how many nodes can one host manage": {"scale"},
    "canary": {"rollouts"},
    "reconcile enroll": {"central-server"},
    "drift": {"watch", "rollback"},
    "nginx reload": {"collab"},
    "kafka topic": {"kafka"},
    "write a driver for my product": {"drivers"},
    "import running nodes": {"import"},
    "somebody changed a node by hand": {"rollback"},
}
"""What operators type -> pages of which one is among the first three that the search finds."""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002  (the name of the base class)
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    assert build_site(folder) == 0
    return folder


@pytest.fixture(scope="module")
def site(folder):
    """The address of the built site."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def open_page(base):
    """A page in a browser, and what it asked of other places or complained about."""
    from playwright.async_api import async_playwright  # noqa: PLC0415  (only where it is installed)

    complaints = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda one: one.ok or complaints.append(f"{one.status} {one.url}"))
        page.on(
            "request", lambda one: one.url.startswith((base, "blob:", "data:")) or complaints.append(one.url)
        )
        yield page, complaints
        await browser.close()


async def search(page, question):
    """The first three pages that are found, by their names."""
    box = page.locator(".md-search__input")
    meta = page.locator(".md-search-result__meta")
    for text, shown in (("", "Type to start searching"), (question, re.compile("matching document"))):
        await box.fill(text)
        await box.press("End")  # the theme listens to keys
        await meta.filter(has_text=shown).wait_for()
    first = [one.locator("a").first for one in await page.locator(".md-search-result__item").all()]
    links = [await one.get_attribute("href") for one in first[:3]]
    return [link.split("?")[0].split("#")[0].rstrip("/").rsplit("/", 1)[-1] for link in links]


async def test_an_operator_finds_the_right_page(site):
    async with open_page(site) as (page, complaints):
        await page.goto(site + "/docs/watch/")
        await page.locator(".md-search__input").click()
        await page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for()
        found = {question: await search(page, question) for question in QUESTIONS}
        missed = {q: pages for q, pages in found.items() if not QUESTIONS[q] & set(pages)}
        assert missed == {}
        assert complaints == []


def test_no_page_loads_anything_from_elsewhere(folder):
    loads = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""")
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) > 40
    found = {page.name: loads.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: links for name, links in found.items() if links} == {}
    styles = [path.read_text(encoding="utf-8") for path in folder.rglob("*.css")]
    assert styles
    assert not any(re.search(r"url\([\"']?(?:https?:)?//", style) for style in styles)
