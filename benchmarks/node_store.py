"""What the store bears of nodes that poll: calls, offers and readings a second, each durable when it returns.

    python benchmarks/node_store.py [NODES]

NODES (10,000) nodes are enrolled; then their polls, heartbeats and settings of 16 kB are stored in groups of
50 and of 500, offers of 12 kB and a shared part of 1 MB are recorded by 64 tasks, and everything is read.
At the end, a pass makes offers while 2,000 calls a second are stored beside it, in one process.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.ports.node_store import CallRecord
from reconciler.ports.store import Store
from reconciler.ports.transport import OfferDraft
from reconciler.store.factory import open_store

WORDS = [f"name{number}" for number in range(400)]
SETTING = " ".join(
    random.Random(1).choices(WORDS, k=2_100)
).encode()  # a size and an entropy like a setting's
SHARED = os.urandom(1_000_000)


def make_poll(node: str, now: datetime) -> CallRecord:
    return CallRecord(
        fleet=1, cluster="c", node=node, at=now, asked=now, label="v1", feed=OfferFeed.SETTING, address="::1"
    )


def make_heartbeat(node: str, now: datetime) -> CallRecord:
    return CallRecord(fleet=1, cluster="c", node=node, at=now, kind="heartbeat.feedback", body=b"x" * 180)


def make_feedback(node: str, now: datetime) -> CallRecord:
    return CallRecord(
        fleet=1, cluster="c", node=node, at=now, kind="setting.feedback", body=b"x" * 800, content=SETTING
    )


def make_draft(node: str, label: str) -> OfferDraft:
    own = SETTING[: 12_000 - len(node)] + node.encode()
    return OfferDraft(
        cluster="c",
        node=node,
        feed=OfferFeed.SETTING,
        step=f"c/{node}/{label}",
        parts=(own, SHARED),
        label=label,
        content=node + label,
        period=15,
        seconds=300,
    )


async def measure_calls(store: Store, nodes: Sequence[str]) -> None:
    makers: tuple[Callable[[str, datetime], CallRecord], ...] = (make_poll, make_heartbeat, make_feedback)
    for make in makers:
        for size in (50, 500):
            begun, used = time.perf_counter(), time.process_time()
            for start in range(0, len(nodes), size):
                now = datetime.now(UTC)
                await store.record_calls([make(node, now) for node in nodes[start : start + size]])
            seconds = time.perf_counter() - begun
            cost = (time.process_time() - used) / len(nodes) * 1e6
            name = make.__name__.removeprefix("make_")
            print(
                f"{name} in groups of {size}: {len(nodes) / seconds:,.0f} a second, {cost:.0f} µs of CPU each"
            )


async def offer_all(store: Store, nodes: Sequence[str], label: str, seconds: float = 1e9) -> list[float]:
    """Record offers by 64 tasks; gives how long each took."""
    waiting, took, end = list(nodes), [], time.monotonic() + seconds

    async def work() -> None:
        while waiting and time.monotonic() < end:
            begun = time.monotonic()
            await store.offer(make_draft(waiting.pop(), label), "run", "revision")
            took.append(time.monotonic() - begun)

    await asyncio.gather(*(work() for _ in range(64)))
    return took


async def measure_readings(store: Store, nodes: Sequence[str]) -> None:
    for name, read in (
        ("tokens", lambda: store.tokens("c", nodes)),
        ("mail", lambda: store.mail("c", nodes)),
        ("contacts", store.contacts),
        ("all changes", lambda: store.read_changes(0)),
    ):
        begun = time.perf_counter()
        await read()
        print(f"{name}: {(time.perf_counter() - begun) / len(nodes) * 1e6:.0f} µs a node")
    position = (await store.read_changes(0)).position
    begun = time.perf_counter()
    for _ in range(100):
        await store.read_changes(position)
    print(f"no changes: {(time.perf_counter() - begun) / 100 * 1e6:.0f} µs")


async def serve(folder: Path, nodes: Sequence[str], seconds: float) -> None:
    with open_store(folder) as store:
        took, end, start = [], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            now, some = datetime.now(UTC), [nodes[(start + one) % len(nodes)] for one in range(100)]
            start, begun = start + 100, time.monotonic()
            await store.record_calls([make(one, now) for one in some for make in (make_poll, make_heartbeat)])
            took.append(time.monotonic() - begun)
            await asyncio.sleep(max(0.0, 0.1 - took[-1]))
    print(f"groups of 200 calls beside a pass: {describe(took)}")


async def run_pass(folder: Path, nodes: Sequence[str], seconds: float) -> None:
    with open_store(folder) as store:
        took = await offer_all(store.select_fleet(1), nodes, "beside", seconds)
    print(f"offers beside calls: {len(took) / seconds:,.0f} a second, {describe(took)}")


def describe(took: list[float]) -> str:
    ordered = sorted(took)
    half, most = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"half within {half * 1e3:.0f} ms, 99 % within {most * 1e3:.0f} ms"


async def measure(folder: Path, nodes: Sequence[str]) -> None:
    with open_store(folder) as host:
        store = await host.enter_fleet(FleetIdentity("/benchmark"))
        begun = time.perf_counter()
        await store.enrol("c", "m2", nodes)
        print(f"enrolment: {(time.perf_counter() - begun) / len(nodes) * 1e6:.0f} µs a node")
        await measure_calls(store, nodes)
        begun = time.perf_counter()
        took = await offer_all(store, nodes, "v1")
        print(f"offers: {len(nodes) / (time.perf_counter() - begun):,.0f} a second, {describe(took)}")
        await measure_readings(store, nodes)
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    print(f"state: {size / len(nodes) / 1e3:.1f} kB a node")


def main(arguments: Sequence[str]) -> None:
    nodes = [f"n{number:05}" for number in range(int(arguments[0]) if arguments else 10_000)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(measure(folder, nodes))
        threads = [
            threading.Thread(target=lambda: asyncio.run(serve(folder, nodes, 5))),
            threading.Thread(target=lambda: asyncio.run(run_pass(folder, nodes, 5))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
