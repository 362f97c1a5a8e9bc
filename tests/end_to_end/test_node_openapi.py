"""The OpenAPI document says what the node server does."""

import asyncio
import json
import sys
from pathlib import Path

from support.node_servers import RECENT, MemoryNodes, NodeSite

from reconciler.core.offers import OfferFeed
from reconciler.core.plan import Payload
from reconciler.drivers.m2.central_server.offered_parts import write_package
from reconciler.drivers.m2.central_server.server import CENTRAL_SERVER
from reconciler.drivers.m2.package import PackageCache
from reconciler.drivers.m2.purge_targets import pack_targets
from reconciler.server.nodes.openapi import make_openapi

CONFIG = """
[parameters]
"path.token" = "t1"
"path.offer" = "o1.tgz"

[checks.positive_data_acceptance]
# a valid condition that does not hold, and a valid range that there is not
expected-statuses = ["2xx", "3xx", "404", "412", "416"]
"""


def m2_store():
    """A node of M2 that has taken a setting and a purge."""
    store = MemoryNodes()
    store.add("t1", "n1", kind="m2")
    package = write_package(Payload({"hosting": []}), PackageCache())
    store.offer("n1", *package, id="o1", taken=RECENT)
    store.offer("n1", pack_targets(["www.example.com/*"]), id="p1", feed=OfferFeed.PURGE, taken=RECENT)
    return store


def test_every_path_has_the_token_and_every_answer_of_the_server():
    document = make_openapi({"M2": CENTRAL_SERVER})
    assert set(document["paths"]) == {
        "/{token}/setting",
        "/{token}/setting.tgz",
        "/{token}/package/{offer}",
        "/{token}/purge",
        "/{token}/report",
    }
    for item in document["paths"].values():
        assert item["parameters"][0]["name"] == "token"
        for method in set(item) - {"parameters"}:
            assert {"404", "410", "429", "503"} <= set(item[method]["responses"])
    assert {"206", "304", "412", "416"} <= set(
        document["paths"]["/{token}/package/{offer}"]["get"]["responses"]
    )


async def test_schemathesis_finds_nothing(tmp_path: Path):
    (tmp_path / "openapi.json").write_text(json.dumps(make_openapi({"M2": CENTRAL_SERVER})))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    async with NodeSite(m2_store(), products={"m2": CENTRAL_SERVER}, rate=1e9) as site:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", site.url),
            *("--seed", "1", "--max-examples", "10", "--no-color"),
            *("--phases", "examples,coverage,fuzzing"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
