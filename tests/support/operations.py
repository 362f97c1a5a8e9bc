"""Operations over a real store and a product that only counts: time passes when a test says so."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.operations import Operation, OperationResult, OperationState
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.plan_operation import OperationCluster
from reconciler.ports.node_store import CallRecord
from reconciler.ports.operations import OperationNode, OperationTarget, ProductOperation
from reconciler.ports.transport import OfferDraft, Transports
from reconciler.rollout.operation_runner import LIFETIME, OperationRunner
from reconciler.store.factory import open_store

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeProduct(ProductOperation[Any]):
    """Counts its calls; a node fails as the test says."""

    kind = "purge"
    feed = OfferFeed.PURGE

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.on_call: Any = None

    def read_targets(self, texts):
        return tuple(OperationTarget(text) for text in texts)

    def remark(self, desired, targets):
        return ()

    def list_nodes(self, desired):
        return (OperationNode("a"),)

    def pack(self, targets):
        return tuple(text.encode() for text in targets)

    async def call(self, desired, node, targets, transports):
        self.calls.append(node)
        if self.on_call:
            await self.on_call(node)
        if node in self.errors:
            raise self.errors[node]
        return OperationResult(node, OperationState.DONE, totals={"count": 1})


@dataclass
class OperationBench:
    """One cluster `edge`, its operations, and what its nodes do."""

    store: Any
    clock: SetClock
    product: FakeProduct = field(default_factory=FakeProduct)
    nodes: tuple[str, ...] = ()
    period: float = 0.0
    hold: str = ""
    max_unknown: str = "0"
    concurrency: int = 5
    _runner: OperationRunner | None = None

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[OperationBench]:
        clock = SetClock()
        with open_store(folder, clock=clock) as store:
            yield cls(store, clock)

    async def enter(self) -> None:
        self.store = await self.store.enter_fleet(FleetIdentity("/srv/ours", name="ours"))

    async def begin(self, *waves: tuple[str, ...], direct: bool = False, period: float = 0.0) -> str:
        """Record an operation; gives its id."""
        name = f"op-{len(await self.store.operations(100)) + 1}"
        self.nodes = self.nodes or tuple(node for wave in waves for node in wave)
        self.period = period
        if period:
            await self.store.enrol("edge", "m2", self.nodes)
        operation = Operation(
            id=name,
            kind="purge",
            cluster="edge",
            targets=("a.com/x",),
            actor=Actor("kim"),
            at=self.clock(),
            deadline=self.clock() + timedelta(seconds=period * 20 or 60) * len(waves),
            direct=direct,
            waves=waves,
        )
        await self.store.begin_operation(operation)
        return name

    async def read_clusters(self, kind: str) -> dict[str, OperationCluster]:
        if not self.nodes:
            return {}
        holds = (Diagnostic(Severity.ERROR, "frozen", self.hold),) if self.hold else ()
        nodes = {name: OperationNode(name, period=self.period) for name in self.nodes}
        return {
            "edge": OperationCluster(
                "edge", self.product, None, nodes, self.concurrency, self.max_unknown, holds, holds
            )
        }

    def runner(self, *, fresh: bool = False) -> OperationRunner:
        if self._runner is None or fresh:
            self._runner = OperationRunner(
                self.store, Transports(), self.read_clusters, clock=self.clock, tick=0.01
            )
        return self._runner

    async def run(self, name: str, *, pass_time: bool = False) -> None:
        """Run until an operation is over; with `pass_time`, each look is two seconds later."""
        stop = asyncio.Event()

        async def forward() -> None:
            while True:
                await asyncio.sleep(0.01)
                self.clock.forward(2)

        mover = asyncio.create_task(forward()) if pass_time else None
        try:
            async with asyncio.timeout(20):
                await self.runner().run(stop, until=frozenset({name}))
        finally:
            if mover:
                mover.cancel()

    async def look(self, *, fresh: bool = False) -> None:
        """Let the runner look until nothing moves."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.runner(fresh=fresh).run(stop))
        await asyncio.sleep(0.15)
        stop.set()
        await task

    async def newest(self, node: str) -> Offer:
        return (await self.store.newest_offers("edge", OfferFeed.PURGE))[node]

    async def offer(self, name: str, node: str) -> Offer:
        """An offer of which a killed process recorded no state."""
        draft = OfferDraft(
            cluster="edge",
            node=node,
            feed=OfferFeed.PURGE,
            step=f"edge/{node}/purge",
            parts=self.product.pack(("a.com/x",)),
            period=self.period,
            seconds=LIFETIME.total_seconds(),
        )
        return await self.store.offer(draft, name, "")

    def _call(self, node: str, **more: Any) -> CallRecord:
        return CallRecord(fleet=1, cluster="edge", node=node, at=self.clock(), **more)

    async def take(self, node: str) -> Offer:
        """The node polls and gets its newest offer."""
        offer = await self.newest(node)
        refused = await self.store.record_calls([self._call(node, feed=OfferFeed.PURGE, took=offer.id)])
        assert not refused
        return offer

    async def report(self, node: str, *, run: str = "", count: int = 0, failure: str = "") -> None:
        """The node reports the newest offer that it took, or the newest one of an operation."""
        newest = await self.newest(node)
        offer = newest.id if not run or newest.run == run else self.former[run, node]
        state = OperationState.FAILED if failure else OperationState.DONE
        result = OperationResult(node, state, failure, {"count": count}, self.clock())
        await self.store.record_calls(
            [
                self._call(
                    node,
                    kind="purge.feedback",
                    body=b"{}",
                    about=OfferFeed.PURGE,
                    offer=offer,
                    result=result,
                )
            ]
        )

    @property
    def former(self) -> dict[tuple[str, str], str]:
        """(operation, node) -> id of its offer, by the database."""
        with sqlite3.connect(self.store._database._path) as opened:
            rows = opened.execute(
                "SELECT run, polled_node.node, id FROM node_offer JOIN polled_node"
                " ON polled_node.number = node_offer.node"
            )
            return {(run, node): name for run, node, name in rows}
