"""The login with a real OpenID provider, over real HTTP."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from starlette.routing import Router
from support.access import make_access

from reconciler.core.endpoint import SocketAddress
from reconciler.host.access_rules import OidcProvider
from reconciler.server.access.identity import LoginMethod
from reconciler.server.access.login_endpoint import LoginEndpoint
from reconciler.server.access.oidc_login import OidcLogin
from reconciler.server.http_listener import HttpListener
from reconciler.server.logs import open_log
from reconciler.server.pages.page_guard import render_problem_alone
from reconciler.server.web import bind_socket
from reconciler.store.factory import open_store

pytestmark = pytest.mark.component("node")

SCRIPT = Path(__file__).with_name("openid_provider.mjs")
MODULES = "RECONCILE_OPENID_NODE"
"""The variable with the folder `node_modules` that has the provider."""


class Site:
    """A provider, and a server whose users it logs in."""

    def __init__(self, folder, store):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.issuer = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.opened = bind_socket(SocketAddress("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.opened.getsockname()[1]}"
        secret = folder / "secret"
        secret.write_text("s3cret-of-the-client\n")
        secret.chmod(0o600)
        provider = OidcProvider(
            issuer=self.issuer,
            client="reconciler",
            secret=secret,
            redirect=self.base,
            scopes=("openid", "email", "groups"),
        )
        self.access = make_access(store, "  roles: [{role: operate, groups: [ops]}]")
        self.access.rules = self.access.rules.model_copy(update={"oidc": provider})
        log = open_log(io.StringIO(), form="json")
        endpoint = LoginEndpoint(self.access, log, render_problem_alone, OidcLogin(provider, secret))
        self.app = Router(routes=endpoint.routes())
        self.serving = HttpListener(
            self.app, self.opened, log=log, dropped=lambda _: None, report=lambda *_: None
        ).serving()

    async def __aenter__(self):
        modules = os.environ.get(MODULES)
        assert modules, f".ci/components sets {MODULES}"
        port = self.issuer.rpartition(":")[2]
        command = [shutil.which("node"), SCRIPT, modules, port, f"{self.base}/login/callback"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self.process.poll() is None, "the provider ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
                break
            time.sleep(0.05)
        await self.serving.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.serving.__aexit__(*error)
        self.opened.close()
        self.process.kill()
        self.process.wait(10)


async def reach_callback(browser, site, user):
    """Log in at the provider's forms; gives the URL with which it sends the browser back."""
    answer = await browser.get(f"{site.base}/login", params={"next": "/clusters"})
    for _ in range(12):
        if answer.is_redirect:
            place = urljoin(str(answer.url), answer.headers["location"])
            if place.startswith(f"{site.base}/login/callback"):
                return place
            answer = await browser.get(place)
            continue
        assert answer.status_code == 200, answer.text
        action = re.search(r'<form[^>]* action="([^"]+)"', answer.text)[1]
        prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)[1]
        form = {"prompt": prompt} | ({"login": user, "password": "any"} if prompt == "login" else {})
        answer = await browser.post(urljoin(str(answer.url), action), data=form)
    raise AssertionError("the provider does not send the browser back")


@pytest.fixture
async def site(tmp_path):
    with open_store(tmp_path / "state") as store:
        async with Site(tmp_path, store) as site:
            yield site


async def test_a_user_logs_in_with_a_real_provider(site):
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(await reach_callback(browser, site, "kim"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/clusters"), answer.text
        found = await site.access.sessions.find(browser.cookies["reconcile-session"])
    assert (found.name, found.method) == ("kim@example.com", LoginMethod.OIDC)
    assert found.may_look


async def test_a_code_is_of_no_use_twice_or_to_another_browser(site):
    async with httpx.AsyncClient(trust_env=False) as browser, httpx.AsyncClient(trust_env=False) as thief:
        place = await reach_callback(browser, site, "kim")
        begun = browser.cookies["reconcile-login"]
        assert (await thief.get(place)).status_code == 401
        # With a login of its own that has the state of the other one, the thief lacks the verifier.
        await thief.get(f"{site.base}/login")
        own = json.loads(decode(thief.cookies["reconcile-login"]))
        state = parse_qs(urlsplit(place).query)["state"][0]
        thief.cookies.clear()
        headers = {"cookie": f"reconcile-login={encode(own | {'state': state})}"}
        refused = await thief.get(place, headers=headers)
        assert (refused.status_code, "invalid_grant" in refused.text) == (401, True), refused.text
        # The browser that began the login is not disturbed; then the code is used up.
        headers = {"cookie": f"reconcile-login={begun}"}
        assert [(await browser.get(place, headers=headers)).status_code for _ in range(2)] == [303, 401]


async def test_a_user_whose_address_is_not_verified_is_refused(site):
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(await reach_callback(browser, site, "mallory"))
    assert (answer.status_code, "not verified" in answer.text) == (401, True)


async def test_a_wrong_client_secret_logs_nobody_in(site):
    (Path(site.access.rules.oidc.secret)).write_text("another\n")
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(await reach_callback(browser, site, "kim"))
    assert (answer.status_code, "invalid_client" in answer.text) == (401, True)
    assert "another" not in answer.text


def decode(text):
    return urlsafe_b64decode(text.strip('"'))


def encode(value):
    return urlsafe_b64encode(json.dumps(value).encode()).decode()
