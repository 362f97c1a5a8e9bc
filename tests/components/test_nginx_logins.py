"""nginx in front of the watch, as the documentation shows it: TLS, logins by certificate, and forms."""

import asyncio
import json
import os
import re
import sys
from datetime import timedelta

import pytest
from nginx_site import Proxied
from support.dashboard import Dashboard

from reconciler.core.actor import Actor
from reconciler.core.roles import AccessRole, Grant
from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessToken
from reconciler.server.access.secret_texts import digest_secret, make_token_text
from reconciler.store.factory import open_store

pytestmark = pytest.mark.component("nginx")


@pytest.fixture
async def proxied(tmp_path):
    with open_store(tmp_path / "state") as store:
        dashboard = Dashboard(store, values={"a": "old", "b": "old", "x": "other"}, silent={"b"})
        await dashboard.run_passes()
        async with Proxied(tmp_path, dashboard) as found:
            found.store = store
            yield found


def read_forms(page):
    return set(re.findall(r'<form[^>]*action="/acts/([\w-]+)"', page))


async def send(client, act, origin=None, **values):
    origin = origin or str(client.base_url).rstrip("/")
    page = (await client.get("/clusters/edge")).text
    values["csrf"] = next(iter(re.findall(r'name="csrf" value="([^"]+)"', page)), "")
    return await client.post(f"/acts/{act}", data=values, headers={"origin": origin}, follow_redirects=True)


async def test_whom_nginx_knows_acts_with_the_forms_and_is_in_the_history(proxied):
    async with proxied.open_client("kim") as kim:
        page = (await kim.get("/clusters/edge")).text
        assert 'kim <span class="muted">(proxy)</span>' in page
        assert {"suspend", "look-again"} <= read_forms(page)
        assert read_forms((await kim.get("/clusters/lab")).text) == set()
        answer = await send(kim, "suspend", cluster="edge", reason="disk is full")
        assert answer.status_code == 200, answer.text
        assert "Cluster edge is suspended: disk is full" in answer.text
        assert "proxy:kim" in (await kim.get("/history")).text
    (suspension,) = (await proxied.store.orders()).suspensions
    assert (suspension.cluster, suspension.reason) == ("edge", "disk is full")
    assert "proxy:kim" in suspension.by


async def test_who_has_no_role_gets_no_form_and_no_act(proxied):
    async with proxied.open_client("lee") as lee:
        assert read_forms((await lee.get("/clusters/edge")).text) == set()
        answer = await send(lee, "suspend", cluster="edge", reason="x")
        assert answer.status_code == 403, answer.text
    assert (await proxied.store.orders()).suspensions == ()


async def test_a_page_of_another_origin_sends_no_form(proxied):
    async with proxied.open_client("kim") as kim:
        for origin in ("https://evil.example.com", "null", proxied.own):
            answer = await send(kim, "suspend", origin, cluster="edge", reason="x")
            assert answer.status_code == 403, origin
    assert (await proxied.store.orders()).suspensions == ()


@pytest.mark.parametrize("name", ["X-Remote-User", "x-remote-user", "X_Remote_User", "X-Remote_User"])
async def test_a_header_that_somebody_sends_names_nobody(proxied, name):
    async with proxied.open_client("lee") as lee:
        page = (await lee.get("/clusters/edge", headers={name: "kim"})).text
        assert 'lee <span class="muted">(proxy)</span>' in page
    async with proxied.open_client() as nobody:
        assert (await nobody.get("/", headers={name: "kim"})).status_code == 401


async def test_an_address_that_is_made_up_and_events_pass_the_proxy(proxied):
    async with proxied.open_client("kim") as kim:
        answer = await kim.get("/", headers={"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"})
        assert answer.status_code == 200
        async with kim.stream("GET", "/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            assert (await anext(events.aiter_text())).startswith("retry:")


async def make_token(store, *grants):
    text, now = make_token_text(), utc_now()
    token = AccessToken("ci", grants, now + timedelta(days=1), now, Actor("kim"))
    await store.create_access_token(digest_secret(text), token)
    return text


async def test_programs_reach_the_api_with_a_token_and_without_a_password(proxied):
    token = await make_token(proxied.store, Grant(AccessRole.OPERATE, ("edge",)))
    bearer = {"authorization": f"Bearer {token}"}
    async with proxied.open_client() as program:
        found = (await program.get("/api/v1/clusters", headers=bearer)).json()["clusters"]
        assert [one["name"] for one in found] == ["edge"]
        act = "/api/v1/acts/suspend"
        answer = await program.post(act, headers=bearer, json={"cluster": "edge", "reason": "disk"})
        assert answer.status_code == 200, answer.text
        answer = await program.post(act, headers=bearer, json={"cluster": "lab", "reason": "disk"})
        assert answer.status_code == 403
        # The pages want a password all the same, and take no token.
        assert (await program.get("/", headers=bearer)).status_code == 401
    (suspension,) = (await proxied.store.orders()).suspensions
    assert suspension.by.startswith("token:ci")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Remote-User": "kim"},
        {"X_Remote_User": "kim"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"},
        {"Authorization": "Bearer rcl_wrong"},
        {"Authorization": "Basic a2ltOmtpbS1zM2NyZXQ="},
    ],
    ids=["nothing", "name", "other-spelling", "as-from-here", "wrong-token", "password"],
)
async def test_the_api_answers_nobody_without_a_token(proxied, headers):
    async with proxied.open_client() as program:
        # A password opens what is not below `/api/`.
        others = (
            () if "Basic" in str(headers) else ("/api/../", "/api/v1/../../", "/api//", "/API/v1/clusters")
        )
        for path in ("/api/v1/clusters", *others):
            answer = await program.get(path, headers=headers)
            assert answer.status_code in {401, 403}, path
            assert "edge" not in answer.text


async def test_a_command_gets_its_answer_through_the_proxy(proxied, tmp_path):
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(await make_token(proxied.store, Grant(AccessRole.LOOK)))
    command = [sys.executable, "-m", "reconciler.cli.main", "history", "orders", "--format", "json"]
    command += ["--server", f"https://127.0.0.1:{proxied.port}", "--token-file", str(file)]
    environment = {**os.environ, "SSL_CERT_FILE": str(proxied.certificate), "HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error
    assert [one["kind"] for one in json.loads(out)] == ["token"]
