"""How long it takes to render a fleet from a base with overlays, and how memory grows.

    python benchmarks/render.py [NODES]

Each node has the base's, the cluster's and a group's overlays, and one of its own: no two get the same.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot

BASE_BYTES = 26_000
GROUPS = 10


class Memory:
    """A revision's files in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def names(self) -> list[str]:
        """Paths of all files."""
        return sorted(self.files)

    def read(self, path: str) -> bytes:
        """The bytes of one file."""
        return self.files[path]


def files(count: int) -> dict[str, bytes]:
    """A fleet of one cluster whose base has 26 KB."""
    hosting = [{"name": f"www-{number}.example.com", "listen": "*:80"} for number in range(400)]
    base = {"meta": {"version": "1"}, "env": {"management": {"api": {"port": 10040}}}, "hosting": hosting}
    nodes = [
        {
            "name": f"edge-{index}",
            "address": f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}",
            "overlays": [{"merge": {"meta": {"site": f"site-{index}"}}}],
        }
        for index in range(count)
    ]
    groups = [
        {
            "name": f"group-{number}",
            "nodes": [f"edge-*{number}"],
            "overlays": [{"patch": [{"op": "add", "path": "/hosting/0", "value": {"name": f"g{number}"}}]}],
        }
        for number in range(GROUPS)
    ]
    cluster = {
        "name": "edge",
        "kind": "m2",
        "setting": "base.json",
        "overlays": ["common.json"],
        "groups": groups,
        "nodes": nodes,
    }
    text = json.dumps(base)
    return {
        "fleet.json": json.dumps({"clusters": [cluster]}).encode(),
        "base.json": (text + " " * (BASE_BYTES - len(text))).encode(),
        "common.json": b'{"env": {"management": {"api": {"port": 10041}}}}',
    }


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    snapshot = Snapshot(Revision("benchmark", "0" * 40, "0000000"), Memory(files(count)))
    began = time.perf_counter()
    fleet = load_fleet(snapshot, DRIVERS)
    loaded = time.perf_counter()
    documents = fleet.cluster_inputs[0].documents
    assert len({id(document) for document in documents.values()}) == count
    size = sum(len(json.dumps(document.value)) for document in documents.values())
    written = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} nodes: loaded and rendered in {loaded - began:.2f} s,", end=" ")
    print(f"written as {size / 1e6:.0f} MB of JSON in {written - loaded:.2f} s more; peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
