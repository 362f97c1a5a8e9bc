"""nginx in front of the pages and the API of a watch, as the documentation shows it."""

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
from starlette.routing import Mount, Router
from support.access import read_rules
from support.api_sites import Readings
from support.certificates import write_certificate

from reconciler.core.endpoint import SocketAddress
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.role_table import RoleTable
from reconciler.server.http_listener import HttpListener
from reconciler.server.json_api.endpoint import PREFIX, JsonApi
from reconciler.server.json_api.reads import WatchReader
from reconciler.server.logs import open_log
from reconciler.server.views.watch_views import WatchViews
from reconciler.server.web import bind_socket

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
        views = WatchViews(dashboard.watch_state, dashboard.open_store)
        with dashboard.open_store() as store:
            api = JsonApi(dashboard.access, WatchReader(views, store, Readings()), dashboard.acts)
        pages = dashboard.make_application()
        self.serving = HttpListener(
            Router(routes=[Mount(PREFIX, app=api), Mount("/", app=pages)]),
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
        self.certificate = files["certificate"]
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
