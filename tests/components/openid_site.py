"""A real OpenID provider, and a server whose users it logs in."""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from starlette.routing import Router
from support.access import make_access

from reconciler.core.endpoint import SocketAddress
from reconciler.host.access_rules import OidcProvider
from reconciler.server.access.login_endpoint import LoginEndpoint
from reconciler.server.access.oidc_login import OidcLogin
from reconciler.server.http_listener import HttpListener
from reconciler.server.logs import open_log
from reconciler.server.pages.page_guard import render_problem_alone
from reconciler.server.web import bind_socket

SCRIPT = Path(__file__).with_name("openid_provider.mjs")
MODULES = "RECONCILE_OPENID_NODE"
"""The variable with the folder `node_modules` that has the provider."""


class OpenidSite:
    """A provider, and a server whose users it logs in."""

    def __init__(self, folder, store, pages=()):
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
        self.app = Router(routes=[*endpoint.routes(), *pages])
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
