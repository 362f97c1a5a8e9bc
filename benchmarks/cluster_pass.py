"""What one pass of a watch over one cluster costs, and how that grows with the size of the fleet.

    python benchmarks/cluster_pass.py [NODES ...] [--state URL] [--profile]

Each size (3,000, 30,000 and 100,000 nodes of M2 in clusters of 30) runs in a process of its own, with a
real store: a file, or the database of URL. The nodes answer from memory: no time goes to HTTP. A first pass
over the whole fleet fills the store; then ten clusters have a pass each that finds nothing to do.

It prints for each size: reading the fleet file and making the desired state, the pass over all, one pass over
one cluster, and the peak of memory. With --profile, the functions that take most of a pass over one cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.host.host import Host
from reconciler.host.interpreter import prepare_interpreter
from reconciler.ports.transport import Http, HttpAnswer, Transports
from reconciler.transports.bundle import open_transports

SIZES = (3_000, 30_000, 100_000)
OF_CLUSTER = 30
SETTING = json.dumps({"meta": {"version": "1"}, "env": {"management": {"api": {"port": 10040}}}}).encode()


class RecordedNodes(Http):
    """All nodes: each shows the setting of the fleet."""

    async def send(self, method: str, *_: Any, **__: Any) -> HttpAnswer:
        assert method == "GET"
        return HttpAnswer(200, {}, SETTING)


def write_fleet(folder: Path, count: int) -> None:
    """Write a fleet whose clusters have a setting each, with equal content."""
    folder.mkdir()
    clusters = []
    for first in range(0, count, OF_CLUSTER):
        name = f"edge-{first // OF_CLUSTER:05}"
        (folder / f"{name}.json").write_bytes(SETTING)
        nodes = [
            {"name": f"n{index:06}", "address": f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}:10040"}
            for index in range(first, min(first + OF_CLUSTER, count))
        ]
        clusters.append({"name": name, "kind": "m2", "setting": f"{name}.json", "nodes": nodes})
    policy = {"max_risky": "100%", "max_cache_lost": "100%"}
    (folder / "fleet.json").write_text(json.dumps({"name": "scale", "policy": policy, "clusters": clusters}))


def time_work(found: dict[str, float], name: str, begun: float, used: float, count: int = 1) -> None:
    """Note the seconds of a piece of work and its seconds of CPU."""
    found[name] = (time.perf_counter() - begun) / count
    found[f"{name}_cpu"] = (time.process_time() - used) / count


async def measure(folder: Path, state: str, *, profiled: bool) -> dict[str, float]:
    """Seconds of each part, and the peak of memory in megabytes."""
    from reconciler.api.reader import Reader  # noqa: PLC0415
    from reconciler.api.reconciler import Reconciler  # noqa: PLC0415
    from reconciler.desired.fleet import add_desired_state  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.sources.folder import FolderSource  # noqa: PLC0415
    from reconciler.store.factory import make_access, open_store  # noqa: PLC0415

    nodes, found = RecordedNodes(), dict[str, float]()

    @asynccontextmanager
    async def connect(host: Host) -> AsyncIterator[Transports]:
        async with open_transports(host) as transports:
            yield replace(transports, http=nodes)

    place = make_access(state, folder, Host()) if state else folder / "state"
    with open_store(place) as store:
        reader = Reader(FolderSource(folder / "fleet"), connect=connect)
        reconciler = Reconciler(reader, store)
        begun, used = time.perf_counter(), time.process_time()
        fleet = add_desired_state(await reader.read_fleet(), DRIVERS)
        time_work(found, "read", begun, used)
        names = [one.entry.name for one in fleet.cluster_inputs]
        begun, used = time.perf_counter(), time.process_time()
        done = await reconciler.run(fleet)
        time_work(found, "all", begun, used)
        assert done.report is not None
        assert not done.report.outcomes
        some = names[-11:]
        await reconciler.run(fleet, cluster=some.pop())  # reads what the first pass of a process reads
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun, used = time.perf_counter(), time.process_time()
        profile = cProfile.Profile()
        profile.enable() if profiled else None
        for name in some:
            done = await reconciler.run(fleet, cluster=name)
            assert done.report is not None
            assert not done.report.outcomes
        profile.disable()
        time_work(found, "one", begun, used, len(some))
        if profiled:
            pstats.Stats(profile).sort_stats("cumtime").print_stats(70)
    return found


def main() -> None:
    """A row for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("nodes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--state", default="", help="URL of an empty database")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one or options.profile:
        prepare_interpreter()  # as the command does
        with tempfile.TemporaryDirectory() as name:
            (count,) = options.nodes
            write_fleet(Path(name) / "fleet", count)
            work = measure(Path(name), options.state, profiled=options.profile)
            print(json.dumps(asyncio.run(work)))
        return
    print("   nodes   read fleet      pass over all   idle pass over one cluster (CPU)   memory   a node")
    for count in options.nodes:
        command = [sys.executable, __file__, str(count), "--one", "--state", options.state]
        row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(
            f"{count:8,} {row['read']:10.2f} s {row['all']:16.2f} s {row['one'] * 1e3:19.1f} ms"
            f" ({row['one_cpu'] * 1e3:.1f}) {row['peak']:13,.0f} MB {row['peak'] * 1e3 / count:5.1f} kB",
            flush=True,
        )


if __name__ == "__main__":
    main()
