"""The login with a real OpenID provider, over real HTTP."""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from openid_site import OpenidSite

from reconciler.server.access.identity import LoginMethod
from reconciler.store.factory import open_store

pytestmark = pytest.mark.component("node")


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
        async with OpenidSite(tmp_path, store) as site:
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
