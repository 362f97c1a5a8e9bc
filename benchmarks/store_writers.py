"""What a PostgreSQL store bears of several hosts that write: transactions and steps a second.

    python benchmarks/store_writers.py [--hosts 1 2 4] [--seconds 8] [--round-trip 0] [--clusters 4]

A real server with `fsync`, whose programs are on PATH, and a process for each host. A host changes CLUSTERS
clusters of 30 M2 nodes at a time, 8 steps of each at once, as a run does: lease, begin of the run, for each
step the intent and the outcome with its message, end of the run, facts of the pass. No node is called: only
the store is measured. ROUND_TRIP milliseconds are waited for each statement, as if the server were away.

It prints, for each number of hosts: transactions and steps a second, the time of one intent, and how many
backends waited for a lock, for the disk, or worked on average.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from store_hosts import PostgresServer, read_results, running_server, sample_waits, start_hosts, tell_hosts

from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Revision, Step
from reconciler.ports.store import ClusterFacts, OutboxMessage, RunStart, StepEnd, Store
from reconciler.store.factory import open_store
from reconciler.store.postgres.access import HostIdentity, PostgresAccess
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.postgres.connection import PostgresConnection

NODES, AT_ONCE = 30, 8
SETTING = {"meta": {"version": "1"}, "env": {"management": {"api": {"port": 10040}}}}


def make_plan(cluster: str) -> Plan:
    """A plan that changes every node of a cluster."""
    from reconciler.core.observation import Observed, Present  # noqa: PLC0415
    from reconciler.documents.document import parse_document  # noqa: PLC0415
    from reconciler.drivers.m2.content import ContentCache  # noqa: PLC0415
    from reconciler.drivers.m2.product import DRIVER  # noqa: PLC0415
    from reconciler.drivers.m2.schema import LoadedSetting, M2Cluster  # noqa: PLC0415
    from reconciler.ports.cluster_input import ClusterInput  # noqa: PLC0415

    nodes = [{"name": f"{cluster}-{index}", "address": f"10.0.0.{index}"} for index in range(NODES)]
    entry = M2Cluster.model_validate({"name": cluster, "kind": "m2", "setting": "s.json", "nodes": nodes})
    document = parse_document("s.json", json.dumps(SETTING).encode())
    revision = Revision("benchmark", "0" * 40, "0000000")
    cluster_input = ClusterInput(entry, document, "", revision, {node["name"]: document for node in nodes})
    shown = json.dumps(SETTING | {"meta": {"version": "0"}}).encode()
    contents = ContentCache()
    seen = {node["name"]: Present(LoadedSetting(contents.read(shown))) for node in nodes}
    return Plan(revision, "0", (DRIVER.plan(DRIVER.desire(cluster_input), Observed(seen)),))


class Writer:
    """One host that changes clusters until its time is over.

    Args:
        store: of its fleet.
        plans: cluster -> its plan.
    """

    def __init__(self, store: Store, plans: dict[str, Plan]) -> None:
        self.store = store
        self.plans = plans
        self.end = 0.0
        self.steps = 0
        self.intents: list[float] = []

    async def change(self, cluster: str) -> None:
        """Change one cluster again and again."""
        plan = self.plans[cluster]
        while time.monotonic() < self.end:
            async with self.store.lock(cluster):
                run = await self.store.begin_run(RunStart("interval", plan))
                waiting = list(plan.steps())
                await asyncio.gather(*(self._work(run, waiting) for _ in range(AT_ONCE)))
                await self.store.finish_run(run, 0)
                shown = {step.node: plan.revision.id for step in plan.steps()}
                await self.store.record_pass(
                    cluster, ClusterFacts(applied=plan.revision, shown_revisions=shown)
                )

    async def _work(self, run: str, waiting: list[Step]) -> None:
        while waiting:
            step = waiting.pop()
            begun = time.monotonic()
            await self.store.record_intent(run, step, {"attempts/setting": "1"})
            self.intents.append(time.monotonic() - begun)
            message = OutboxMessage(f"{run}/{step.id}", b"{}" * 300, wanted=False)
            end = StepEnd(
                Outcome(step, State.DONE, sent=True), facts={"revision": run}, outbox_message=message
            )
            await self.store.record_outcomes(run, [end])
            self.steps += time.monotonic() < self.end


def delay_statements(seconds: float) -> None:
    """Wait before each statement, as if the server were far away."""

    def delay(work: Any) -> Any:
        def later(*given: Any, **named: Any) -> Any:
            time.sleep(seconds)
            return work(*given, **named)

        return later

    for name in ("begin", "end", "execute"):
        setattr(PostgresConnection, name, delay(getattr(PostgresConnection, name)))


async def write(options: argparse.Namespace) -> None:
    """Be one host; prints what it did."""
    delay_statements(options.round_trip / 1000) if options.round_trip else None
    folder = Path(options.folder)
    access = PostgresAccess(PostgresAddress(options.url), folder / "host.key", HostIdentity(options.host, {}))
    with open_store(access) as host:
        store = await host.enter_fleet(FleetIdentity("/benchmark"))
        names = [f"{options.host}-{number}" for number in range(options.clusters)]
        writer = Writer(store, {name: make_plan(name) for name in names})
        print("ready", flush=True)
        sys.stdin.readline()
        used = time.process_time()
        writer.end = time.monotonic() + options.seconds
        await asyncio.gather(*map(writer.change, names))
        ordered = sorted(writer.intents)
        told = {
            "steps": writer.steps,
            "cpu": (time.process_time() - used) / max(1, len(ordered)),
            "half": ordered[len(ordered) // 2],
            "most": ordered[int(len(ordered) * 0.99)],
        }
        print(json.dumps(told), flush=True)


def measure(server: PostgresServer, options: argparse.Namespace, hosts: int) -> dict[str, float]:
    """Let some hosts write at once."""
    import psycopg  # noqa: PLC0415  (an extra)

    url = server.create_database()
    with tempfile.TemporaryDirectory() as folder:
        given = {"url": url, "folder": folder, "seconds": options.seconds, "clusters": options.clusters}
        processes = start_hosts(__file__, hosts, **given, round_trip=options.round_trip)
        tell_hosts(processes)
        end = time.monotonic() + options.seconds - 1
        time.sleep(0.5)
        with psycopg.connect(url, autocommit=True) as watcher:
            count = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            (first,) = watcher.execute(count).fetchone()
            begun = time.monotonic()
            waits, samples = sample_waits(watcher, end, 0.02)
            (last,) = watcher.execute(count).fetchone()
            transactions = (last - first - samples) / (time.monotonic() - begun)
        told = read_results(processes)
    return {
        "transactions": transactions,
        "steps": sum(one["steps"] for one in told) / options.seconds,
        "half": max(one["half"] for one in told) * 1e3,
        "most": max(one["most"] for one in told) * 1e3,
        "cpu": max(one["cpu"] for one in told) * 1e3,
    } | waits


def main() -> None:
    """A row for each number of hosts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--round-trip", type=float, default=0.0, help="milliseconds")
    parser.add_argument("--clusters", type=int, default=4, help="that a host changes at once")
    for name in ("--url", "--folder", "--host"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        asyncio.run(write(options))
        return
    with running_server() as server:
        print("hosts  transactions/s  steps/s  intent: half, 99 %  CPU of a step  lock  disk  client  work")
        for hosts in options.hosts:
            row = measure(server, options, hosts)
            print(
                f"{hosts:5} {row['transactions']:15,.0f} {row['steps']:8,.0f} {row['half']:9.1f} ms"
                f" {row['most']:7.1f} ms {row['cpu']:7.2f} ms {row['Lock']:5.1f} {row['IO']:5.1f}"
                f" {row['Client']:7.1f} {row['none']:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
