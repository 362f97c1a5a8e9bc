"""The JSON API over real HTTP, with a client that is not ours."""

import asyncio
import json
import sys

from support.api_sites import PLAN, ApiSite
from support.commands import run_process
from support.web_server import Site

from reconciler.store.factory import open_store


async def test_httpie_looks_and_orders(tmp_path):
    with open_store(tmp_path) as store:
        site = ApiSite(store)
        await site.fill()
        bearer = f"Authorization:Bearer {await site.make_token()}"
        async with Site(application=site.api) as served:
            host, port = served.address

            async def call(method, path, *items):
                told = await asyncio.to_thread(
                    run_process,
                    *(sys.executable, "-m", "httpie", "--ignore-stdin", "--body", "--check-status"),
                    *(method, f"http://{host}:{port}/api/v1{path}", *items),
                )
                return told.returncode, json.loads(told.stdout)

            status, answer = await call("POST", "/acts/approve", bearer, f"plan={PLAN[:8]}", "reason=seen")
            assert (status, answer["plan"]) == (0, PLAN)
            status, answer = await call("GET", "/orders", bearer)
            assert (status, answer["approvals"][0]["reason"]) == (0, "seen")
            status, answer = await call("POST", "/acts/suspend", "reason=storm")
            assert (status, answer["code"]) == (4, "login-needed")
            status, answer = await call("GET", "/clusters", "X-Forwarded-For:192.0.2.1")
            assert (status, answer["status"]) == (4, 403)
