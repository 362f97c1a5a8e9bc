"""nginx in front of the watch, as the documentation shows it: TLS, logins by certificate, and forms."""

import io
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from support.access import read_rules
from support.certificates import write_certificate
from support.dashboard import Dashboard

from reconciler.core.endpoint import SocketAddress
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.role_table import RoleTable
from reconciler.server.http_listener import HttpListener
from reconciler.server.logs import open_log
from reconciler.server.web import bind_socket
from reconciler.store.factory import open_store

pytestmark = pytest.mark.component("nginx")

PAGE = Path(__file__).parents[2] / "docs/access.md"
RULES = """
  proxy: {header: X-Remote-User, networks: [127.0.0.1/32]}
  roles:
    - {role: look, users: [kim, lee]}
    - {role: operate, clusters: [edge], users: [kim]}
"""
AROUND = """
daemon off;
error_log stderr error;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{server}
}}
"""


def read_documented_server():
    """The block of nginx's configuration in the page about access."""
    (found,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found


def find_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def write_passwords(file):
    """Users with a password each, in the form of `openssl passwd`."""
    lines = []
    for name in ("kim", "lee"):
        command = ["openssl", "passwd", "-apr1", f"{name}-s3cret"]
        lines.append(f"{name}:{subprocess.run(command, capture_output=True, text=True, check=True).stdout}")
    file.write_text("".join(lines))
    file.chmod(0o644)


class Proxied:
    """The pages of a watch behind nginx."""

    def __init__(self, folder, dashboard):
        self.folder, self.port = folder, find_port()
        folder.chmod(0o755)
        self.opened = bind_socket(SocketAddress("127.0.0.1", 0))
        self.own = f"http://127.0.0.1:{self.opened.getsockname()[1]}"
        rules = read_rules(RULES)
        networks = rules.proxy.networks
        dashboard.access = AccessControl(
            rules, dashboard.access.store, RoleTable(rules.roles, frozenset(), frozenset()), networks
        )
        self.serving = HttpListener(
            dashboard.make_application(),
            self.opened,
            log=open_log(io.StringIO(), form="json"),
            dropped=lambda _: None,
            report=lambda *_: None,
            trusted_proxies=[str(one) for one in networks],
        ).serving()
        write_passwords(folder / "users")
        files = write_certificate(folder, "fleet.example.com")
        server = read_documented_server()
        for shown, used in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("http://127.0.0.1:8642", self.own),
            ("/etc/nginx/fleet.pem", str(files["certificate"])),
            ("/etc/nginx/fleet.key", str(files["key"])),
            ("/etc/nginx/users", str(folder / "users")),
        ):
            assert shown in server, shown
            server = server.replace(shown, used)
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, server=server))
        self.trust = ssl.create_default_context(cafile=files["certificate"])

    def open_client(self, user=None):
        """A browser of somebody, whom nginx asks for the password."""
        return httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}",
            auth=(user, f"{user}-s3cret") if user else None,
            verify=self.trust,
            trust_env=False,
        )

    async def __aenter__(self):
        await self.serving.__aenter__()
        command = [shutil.which("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        with (self.folder / "stderr").open("wb") as errors:
            self.process = subprocess.Popen([*command, *user], stderr=errors)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder / "stderr").read_text()
            with socket.socket() as found:
                if found.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError("nginx does not listen")

    async def __aexit__(self, *error):
        self.process.terminate()
        self.process.wait(10)
        await self.serving.__aexit__(*error)
        self.opened.close()


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
