"""How long the passes over nodes that poll take, and how time and memory grow with their number.

    python benchmarks/polled_pass.py [NODES] [--profile PASS]

For each size in a process of its own: a pass before any node has called, one that makes an offer to every
node, one after all have taken and reported it, and one with nothing to do. The store is a real one. With
--profile, one size runs, and the functions that take most of a pass are printed.
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
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

CLUSTER = "edge"
SERVER = "http://127.0.0.1:9"
PASSES = ("first", "offer", "settle", "idle")


def write_fleet(folder: Path, count: int) -> None:
    """Write a fleet of nodes that poll."""
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.simulation.products import FIRST, generate_fleet  # noqa: PLC0415

    folder.mkdir()
    for name, text in generate_fleet("m2", count, DRIVERS, FIRST, server=SERVER).items():
        (folder / name).write_text(text.replace(f'"{SERVER}"', f'"{SERVER}", every: 10m'))


async def measure(folder: Path, count: int, profiled: str) -> dict[str, float]:
    """Seconds of each pass, and the peak of memory in megabytes."""
    from reconciler.api.reader import Reader  # noqa: PLC0415
    from reconciler.api.reconciler import Reconciler  # noqa: PLC0415
    from reconciler.desired.fleet import add_desired_state  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.sources.folder import FolderSource  # noqa: PLC0415
    from reconciler.store.factory import open_store  # noqa: PLC0415

    source, found = FolderSource(folder / "fleet"), dict[str, float]()
    with open_store(folder / "state") as store:
        reconciler = Reconciler(Reader(source), store)
        begun = time.perf_counter()
        fleet = add_desired_state(await reconciler.reader.read_fleet(), DRIVERS)
        found["read"] = time.perf_counter() - begun
        names = [node.name for one in fleet.cluster_inputs for node in one.entry.members()]
        assert len(names) == count
        for name in PASSES:
            profile = cProfile.Profile()
            begun = time.perf_counter()
            if name == profiled:
                profile.enable()
            done = await reconciler.run(fleet)
            profile.disable()
            found[name] = time.perf_counter() - begun
            if name == profiled:
                pstats.Stats(profile).sort_stats("tottime").print_stats(45)
                pstats.Stats(profile).sort_stats("cumtime").print_stats(90)
            assert done.report is not None
            states = Counter(one.state for one in done.report.outcomes)
            assert states.total() == (count if name == "offer" else 0), (name, states)
            known = await store.fleets()
            await report(store.select_fleet(known[0].number), names, folder / "fleet", name)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


async def report(store: object, names: Sequence[str], fleet: Path, after: str) -> None:
    """What nodes do after a pass: first they have a setting of their own, later they take offers."""
    from reconciler.core.offers import OfferFeed  # noqa: PLC0415
    from reconciler.drivers.m2.central_server.offered_parts import read_package  # noqa: PLC0415
    from reconciler.ports.node_store import CallRecord  # noqa: PLC0415
    from reconciler.store.sqlite.store import SqliteStore  # noqa: PLC0415

    assert isinstance(store, SqliteStore)
    setting = json.loads((fleet / "setting.json").read_text())
    setting["meta"]["version"] = "0"
    for start in range(0, len(names), 200):
        some, calls, now = names[start : start + 200], [], datetime.now(UTC)
        mail = await store.mail(CLUSTER, some)
        for node in some:
            body = {"messageVer": "1", "node": {"hostname": node, "iplist": []}}
            content, took, label = json.dumps(setting).encode(), "", "0"
            if mail[node].offers:
                newest = mail[node].offers[0]
                content, took, label = (
                    read_package(newest.parts).setting(),
                    newest.offer.id,
                    newest.offer.label,
                )
                result = {"version": "22.02.0", "method": "deploy", "status": "ok"}
                body |= {"userdata": {"offer": took}, "parameters": [{"url": "", "result": result}]}
            action = {"action": {"api": "/setting/upload", "event": "/env"}}
            if after in {"first", "offer"}:
                calls.append(
                    CallRecord(
                        fleet=store._fleet,  # noqa: SLF001
                        cluster=CLUSTER,
                        node=node,
                        at=now,
                        kind="setting.feedback",
                        body=json.dumps(body | action).encode(),
                        content=content,
                        offer=took,
                        took=took,
                    )
                )
            poll = CallRecord(
                fleet=store._fleet,  # noqa: SLF001
                cluster=CLUSTER,
                node=node,
                at=now,
                feed=OfferFeed.SETTING,
                label=label,
                asked=now,
            )
            calls.append(poll)
        await store.record_calls(calls)


def main() -> None:
    """Three sizes, each in its own process; a row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("nodes", type=int, nargs="?", default=10_000)
    parser.add_argument("--profile", choices=PASSES, default="")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one or options.profile:
        with tempfile.TemporaryDirectory() as name:
            write_fleet(Path(name) / "fleet", options.nodes)
            print(json.dumps(asyncio.run(measure(Path(name), options.nodes, options.profile))))
        return
    print("   nodes   read fleet   first pass   pass of offers   pass that settles   idle pass   peak memory")
    for count in (options.nodes // 10, options.nodes // 4, options.nodes):
        command = [sys.executable, __file__, str(count), "--one"]
        row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(
            f"{count:8} {row['read']:10.2f} s {row['first']:10.2f} s {row['offer']:14.2f} s "
            f"{row['settle']:17.2f} s {row['idle']:9.2f} s {row['peak']:10.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
