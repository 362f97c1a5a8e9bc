"""The OpenAPI document of the API says what the API does."""

import asyncio
import json
import sys
from pathlib import Path

from support.api_sites import PLAN, ApiSite, make_rollbacks
from support.web_server import Site

from reconciler.server.json_api.openapi import make_api_document
from reconciler.store.factory import open_store

CONFIG = """
[parameters]
"path.cluster" = "edge"
"path.node" = "edge-1"

[checks.positive_data_acceptance]
# valid orders that cannot be given as things are: unknown names, plans that nobody made
expected-statuses = ["2xx", "304", "404", "409", "503"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "408", "409", "413", "415", "422", "428"]
"""


async def test_schemathesis_finds_nothing(tmp_path: Path):
    (tmp_path / "openapi.json").write_text(json.dumps(make_api_document()))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with open_store(tmp_path / "state") as store:
        planned = {"status": 0, "refused": [], "plan": PLAN, "empty": False}
        site = ApiSite(store, rollbacks=make_rollbacks(planned))
        await site.fill()
        token = await site.make_token()
        async with Site(application=site.api) as served:
            host, port = served.address
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "schemathesis.cli", "run", "openapi.json"),
                *("--url", f"http://{host}:{port}", "-H", f"Authorization: Bearer {token}"),
                *("--seed", "1", "--max-examples", "10", "--no-color"),
                *("--phases", "examples,coverage,fuzzing"),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
