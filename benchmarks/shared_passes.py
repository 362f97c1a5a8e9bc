"""How many passes more hosts bring: one PostgreSQL database, whose queue 1, 2 and 4 hosts share.

    python benchmarks/shared_passes.py [--hosts 1 2 4] [--clusters 300] [--seconds 15] [--read 0.2] [--cpu 0]

For a machine with fewer cores than hosts. First, the CPU of a pass is measured: real passes that find nothing
to do, over one cluster of 30 M2 nodes in a fleet of CLUSTERS, with a store in a real database and nodes that
answer from memory. Then each host is a process with the real queue (procrastinate), real leases, and what
such a pass reads from the store and writes to it. Simulated are the CPU of the pass, by a wait as long as was
measured (CPU seconds, if given), one at a time in each process, as if it had one core; and the reading of the
nodes, by a wait of READ seconds. So two cores bear the rest: the queue, the client of the store, and the
database. Each cluster is due again at once.

It prints the passes a second for each number of hosts, the ratio to half as many hosts, and how many backends
of the database worked or waited on average. The programs of PostgreSQL are on PATH.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from cluster_pass import OF_CLUSTER, measure, write_fleet
from store_hosts import read_results, running_server, sample_waits, start_hosts, tell_hosts
from support.postgres_servers import PostgresServer

from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.plan import Revision
from reconciler.ports.pass_queue import NextPass, PassQueue
from reconciler.ports.store import AppliedMembers, ClusterFacts, Store
from reconciler.store.factory import open_store
from reconciler.store.postgres.access import HostIdentity, PostgresAccess
from reconciler.store.postgres.address import PostgresAddress

IDENTITY = FleetIdentity("/benchmark")
REVISION = Revision("/benchmark", "0" * 40, "0000000")
STATUS = json.dumps({"result": "converged", "nodes": ["n" * 20] * 40})
"""As long as the status of a cluster of 30 nodes, or longer."""

PASSES = 8
"""At the same time on a host."""


class PassHost:
    """One host, whose passes cost a wait in place of CPU.

    Args:
        names: of all clusters.
        cpu: seconds of CPU of a pass.
        read: seconds that its nodes take to answer.
    """

    def __init__(self, store: Store, queue: PassQueue, names: list[str], cpu: float, read: float) -> None:
        self.store = store
        self.queue = queue
        self.names = names
        self.cpu = cpu
        self.read = read
        self.done = 0
        self._core = asyncio.Lock()

    async def run(self, cluster: str) -> None:
        """One pass, if one is due."""
        begun = await self.queue.begin(cluster)
        if begun is None:
            return
        await self.store.fleets()
        await self.store.is_open(cluster)
        await self.store.read_memory(without_nodes=[name for name in self.names if name != cluster])
        await asyncio.sleep(self.read)
        async with self._core:
            await asyncio.sleep(self.cpu)
        nodes = [f"{cluster}-{index}" for index in range(OF_CLUSTER)]
        own = await self.store.enter_fleet(IDENTITY)
        async with own.lock(cluster):
            await own.record_pass(
                cluster,
                ClusterFacts(
                    members=AppliedMembers(OF_CLUSTER, tuple(nodes), REVISION.source, "m2"),
                    applied=REVISION,
                    shown_revisions=dict.fromkeys(nodes, REVISION.id),
                ),
            )
        await self.queue.end(begun, STATUS, NextPass(0.0, "interval"))
        self.done += 1


async def serve(options: argparse.Namespace) -> None:
    """Be one host, from the first line of the input to the second; prints its passes."""
    folder = Path(options.folder)
    access = PostgresAccess(PostgresAddress(options.url), folder / "host.key", HostIdentity(options.host, {}))
    with open_store(access) as store:
        own = await store.enter_fleet(IDENTITY)
        queue = own.open_pass_queue("all")
        names = [f"edge-{number:05}" for number in range(options.clusters)]
        host = PassHost(own, queue, names, options.cpu, options.read)
        work = asyncio.ensure_future(queue.serve(host.run, PASSES, lambda: None))
        loop = asyncio.get_running_loop()
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        before, used, begun = host.done, time.process_time(), time.monotonic()
        await loop.run_in_executor(None, sys.stdin.readline)
        seconds = time.monotonic() - begun
        told = {"passes": (host.done - before) / seconds, "cpu": (time.process_time() - used) / seconds}
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        print(json.dumps(told), flush=True)


async def publish(url: str, folder: str, clusters: int) -> None:
    """Make all clusters due."""
    access = PostgresAccess(PostgresAddress(url), Path(folder) / "host.key", HostIdentity("first", {}))
    with open_store(access) as store:
        own = await store.enter_fleet(IDENTITY)
        names = [f"edge-{number:05}" for number in range(clusters)]
        await own.open_pass_queue("all").publish(
            REVISION.id, dict.fromkeys(names, ""), "start", instead_of=""
        )


def measure_hosts(server: PostgresServer, options: argparse.Namespace, hosts: int) -> dict[str, float]:
    """Let some hosts share the passes."""
    import psycopg  # noqa: PLC0415  (an extra)

    url = server.create_database()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(publish(url, folder, options.clusters))
        given = {name: getattr(options, name) for name in ("clusters", "cpu", "read")}
        processes = start_hosts(__file__, hosts, url=url, folder=folder, **given)
        time.sleep(options.warm_up)
        tell_hosts(processes)
        end = time.monotonic() + options.seconds
        with psycopg.connect(url, autocommit=True) as watcher:
            waits, _ = sample_waits(watcher, end, 0.05)
        tell_hosts(processes)
        told = read_results(processes)
    return {
        "passes": sum(one["passes"] for one in told),
        "least": min(one["passes"] for one in told),
        "cpu": sum(one["cpu"] for one in told),
    } | waits


def measure_cpu(server: PostgresServer, clusters: int) -> float:
    """Seconds of CPU of a real pass over one cluster."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_fleet(folder / "fleet", clusters * OF_CLUSTER)
        return asyncio.run(measure(folder, server.create_database(), profiled=False))["one_cpu"]


def main() -> None:
    """A row for each number of hosts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--clusters", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--read", type=float, default=0.2)
    parser.add_argument("--cpu", type=float, default=0.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    for name in ("--url", "--folder", "--host"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        asyncio.run(serve(options))
        return
    with running_server() as server:
        options.cpu = options.cpu or measure_cpu(server, options.clusters)
        print(f"CPU of a pass over one of {options.clusters} clusters: {options.cpu * 1e3:.0f} ms")
        print(
            "hosts  passes/s   ratio   of one host  CPU of the hosts, in cores  database: works  lock  disk"
        )
        known: dict[int, float] = {}
        for hosts in options.hosts:
            row = measure_hosts(server, options, hosts)
            known[hosts] = row["passes"]
            ratio = f"{row['passes'] / known[hosts // 2]:.2f}" if hosts // 2 in known else "-"
            print(
                f"{hosts:5} {row['passes']:9.1f} {ratio:>7} {row['least']:13.1f} {row['cpu']:27.2f}"
                f" {row['none']:16.2f} {row['Lock']:5.2f} {row['IO']:5.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
