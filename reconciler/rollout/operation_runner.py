"""Performs operations: reaches nodes wave by wave, and follows each one to its end.

A node gets an operation at least once: after a crash, a lost answer or a lost report it gets it again.
Repetition harms nothing, and each node counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

from reconciler.core.defect import name_error
from reconciler.core.fields import resolve_amount
from reconciler.core.offers import Offer
from reconciler.core.operations import OPEN_STATES, Operation, OperationResult, OperationState
from reconciler.core.timestamps import Clock
from reconciler.errors import ClusterBusy, NodeError, NodeUnreachable, StateError
from reconciler.host.clock import utc_now
from reconciler.planning.plan_operation import OperationCluster, find_patience
from reconciler.ports.call_permit import require_permit
from reconciler.ports.store import Store
from reconciler.ports.transport import OfferDraft, Transports

LIFETIME: Final = timedelta(hours=24)
"""How long a node that is overdue may still get an operation, and report it."""

TICK: Final = 1.0
"""Seconds between two looks at the open operations."""

CALLS: Final = 64
"""Calls of one operation of low risk at the same time."""

OFFERS: Final = 256
"""Offers that are written together."""

LONGEST_TICKS: Final = 5
"""Ticks between two looks if nothing is expected soon."""

REPEAT_POLLS: Final = 4
"""Polls after which a node that took an operation and did not report gets it again; doubled each time."""

FIRST_REPEAT: Final = timedelta(seconds=1)
"""Pause before a node that did not answer is called again; doubled each time, up to `LONGEST_REPEAT`."""

LONGEST_REPEAT: Final = timedelta(seconds=60)

ReadClusters: TypeAlias = Callable[[str], Awaitable[Mapping[str, OperationCluster]]]
"""Gives the clusters that have a kind of operation, as the fleet file and the orders are now."""


def ignore_operation(operation: Operation) -> None:
    """Tell nobody that an operation is over."""


@dataclass(slots=True)
class _Attempts:
    """What this process sent of one operation to one node."""

    count: int = 0
    due: datetime | None = None
    error: str = ""

    def note(self, now: datetime, pause: timedelta, longest: timedelta) -> None:
        """Count one more, and double the pause before the next."""
        self.due = now + min(longest, pause * 2**self.count)
        self.count = min(self.count + 1, 30)


@dataclass(slots=True)
class OperationRunner:
    """Performs the open operations of one fleet; for each cluster, one process at a time does so.

    Args:
        store: limited to the fleet.
        transports: to its nodes; they mask secrets.
        read_clusters: asked at each look, since nodes, suspensions and windows change.
        clock: dates results.
        tick: seconds between two looks.
        wake: set when an operation was recorded.
        on_over: called once for each operation that is over, also if a late result may still come.
    """

    store: Store
    transports: Transports
    read_clusters: ReadClusters
    clock: Clock = utc_now
    tick: float = TICK
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    on_over: Callable[[Operation], None] = ignore_operation
    _told: set[str] = field(default_factory=set)
    _periods: dict[str, float] = field(default_factory=dict)
    _attempts: dict[tuple[str, str], _Attempts] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[bool]] = field(default_factory=dict)
    _held: set[str] = field(default_factory=set)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event, *, until: frozenset[str] = frozenset()) -> None:
        """Perform open operations until `stop`, or until the operations with these ids are over.

        Calls in progress are completed and recorded.

        Raises:
            StateError: the store cannot be used.
        """
        self._stop = stop
        async with AsyncExitStack() as locks:
            try:
                while not stop.is_set():
                    opened = await self.store.open_operations()
                    self._tell(opened)
                    if until and all(one.is_over for one in opened if one.id in until):
                        return
                    await self._look(opened, locks)
                    if not await self._collect():
                        await self._rest(opened)
            finally:
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
                self._held.clear()

    async def _look(self, opened: Sequence[Operation], locks: AsyncExitStack) -> None:
        """Start a task for each open operation that has none; the oldest first."""
        clusters = {kind: await self.read_clusters(kind) for kind in {one.kind for one in opened}}
        for operation in opened:
            if operation.id in self._tasks or not await self._hold(operation.cluster, locks):
                continue
            cluster = clusters[operation.kind].get(operation.cluster)
            if cluster is not None:
                self._periods[operation.cluster] = min(node.period for node in cluster.nodes.values())
            self._tasks[operation.id] = asyncio.create_task(self._advance(operation, cluster))

    async def _hold(self, cluster: str, locks: AsyncExitStack) -> bool:
        """Whether this process performs the operations of a cluster; another one may do so."""
        if cluster not in self._held:
            try:
                await locks.enter_async_context(self.store.lock_operations(cluster))
            except ClusterBusy:
                return False
            self._held.add(cluster)
        return True

    async def _collect(self) -> bool:
        """Wait a tick for tasks; gives whether one moved its operation on, so that it is looked at again."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self.tick, return_when=asyncio.FIRST_COMPLETED)
        ended = [name for name, task in self._tasks.items() if task.done()]
        moved = [self._tasks.pop(name).result() for name in ended]
        return any(moved)

    def _tell(self, opened: Sequence[Operation]) -> None:
        over = [one for one in opened if one.is_over]
        for one in over:
            if one.id not in self._told:
                self.on_over(one)
        self._told = {one.id for one in over}

    async def _rest(self, opened: Sequence[Operation]) -> None:
        """Wait until the next look is due, something new was recorded, or `stop`."""
        # Reading an operation of ten thousand nodes takes a while. What nodes do at their polls is looked at
        # a few times in a period, and what is overdue still less often.
        pauses = [
            0.0 if one.direct else self._periods.get(one.cluster, 0.0) / 4
            for one in opened
            if not one.is_over
        ]
        waiting = {asyncio.ensure_future(one.wait()) for one in (self._stop, self.wake)}
        await asyncio.wait(
            waiting,
            timeout=max(self.tick, min([*pauses, LONGEST_TICKS * self.tick])),
            return_when=asyncio.FIRST_COMPLETED,
        )
        for one in waiting:
            one.cancel()
        self.wake.clear()

    async def _advance(self, operation: Operation, cluster: OperationCluster | None) -> bool:
        """Take an operation one move further; gives whether anything changed."""
        now = self.clock()
        if cluster is None:
            results = [_skip(node, "its cluster left the fleet") for node in _list_unsettled(operation)]
        else:
            errors = {node: one.error for (id_, node), one in self._attempts.items() if id_ == operation.id}
            results = list(find_due_results(operation, cluster, now, errors))
        if results:
            await self._record(operation, results)
            return True
        if not _list_unsettled(operation) or (operation.is_over and now - operation.at >= LIFETIME):
            await self.store.end_operation(operation.id)
            for node in operation.nodes:
                self._attempts.pop((operation.id, node), None)
            return False
        assert cluster is not None
        if find_holds(operation, cluster):
            return False
        wave = frozenset(operation.next_wave)
        open_nodes = frozenset(_list_open(operation))
        nodes = [node for node in _list_unsettled(operation) if node in wave or node not in open_nodes]
        if operation.direct:
            return await self._call(operation, cluster, nodes)
        return await self._offer(operation, cluster, nodes)

    async def _call(self, operation: Operation, cluster: OperationCluster, nodes: Sequence[str]) -> bool:
        """Call the nodes whose call is due; gives whether there were any."""
        now = self.clock()
        due = [node for node in nodes if self._is_due(operation, node, now)]
        limit = cluster.concurrency if len(operation.waves) > 1 else max(CALLS, cluster.concurrency)
        gate = asyncio.Semaphore(limit)

        async def call_one(node: str) -> None:
            async with gate:
                if not self._stop.is_set():
                    await self._call_node(operation, cluster, node)

        await asyncio.gather(*(call_one(node) for node in due))
        return bool(due)

    async def _call_node(self, operation: Operation, cluster: OperationCluster, node: str) -> None:
        # On disk before the call, as for a step: a process that is killed in between calls the node again.
        await self._record(operation, [OperationResult(node, OperationState.SENT)])
        attempts = self._get_attempts(operation, node)
        try:
            with require_permit(partial(self.store.hold_for, operation.cluster)):
                result = await cluster.product.call(cluster.desired, node, operation.targets, self.transports)
        except StateError:
            raise
        except NodeUnreachable as error:
            attempts.error = error.reason
            attempts.note(self.clock(), FIRST_REPEAT, LONGEST_REPEAT)
            return
        except NodeError as error:
            result = OperationResult(node, OperationState.FAILED, error.message)
        except Exception as error:  # noqa: BLE001  (a defect at one node must not stop the others)
            result = OperationResult(
                node, OperationState.FAILED, f"an unexpected error of this program: {name_error(error)}"
            )
        await self._record(operation, [result])

    async def _offer(self, operation: Operation, cluster: OperationCluster, nodes: Sequence[str]) -> bool:
        """Offer it to nodes that poll, and note which have taken it; gives whether anything changed."""
        now = self.clock()
        newest = await self.store.newest_offers(cluster.name, cluster.product.feed)
        parts = cluster.product.pack(operation.targets)
        results: list[OperationResult] = []
        drafts: list[OfferDraft] = []
        patience = find_patience(cluster, direct=False)
        for node in nodes:
            offer, state = newest.get(node), operation.result(node).state
            period = timedelta(seconds=cluster.nodes[node].period)
            if offer is not None and offer.taken is None and _is_open(offer, now):
                # One at a time: a further offer would replace this one, and the node would never get it.
                if offer.run == operation.id and state is OperationState.PENDING:
                    results.append(OperationResult(node, OperationState.OFFERED, at=now))
                continue
            if offer is not None and offer.taken is not None and offer.run == operation.id:
                if state in {OperationState.PENDING, OperationState.OFFERED}:
                    results.append(OperationResult(node, OperationState.SENT, at=offer.taken))
                self._expect_report(operation, node, offer.taken + REPEAT_POLLS * period)
            if state is not OperationState.PENDING and not self._is_due(operation, node, now):
                continue
            # The store takes the same step of the same operation for the same offer.
            again = f"/after-{offer.id}" if offer is not None and offer.run == operation.id else ""
            drafts.append(
                OfferDraft(
                    cluster=cluster.name,
                    node=node,
                    feed=cluster.product.feed,
                    step=f"{cluster.name}/{node}/{operation.kind}{again}",
                    parts=parts,
                    period=0.0 if cluster.nodes[node].channel else cluster.nodes[node].period,
                    channel=cluster.nodes[node].channel,
                    seconds=max(patience, operation.at + LIFETIME - now).total_seconds(),
                )
            )
            self._get_attempts(operation, node).note(now, REPEAT_POLLS * period, LIFETIME)
            if state is OperationState.PENDING:
                results.append(OperationResult(node, OperationState.OFFERED, at=now))
        # Together: the store writes what waits for it in one transaction.
        for some in _divide(drafts, OFFERS):
            await asyncio.gather(*(self.store.offer(draft, operation.id, "") for draft in some))
        if results:
            await self._record(operation, results)
        return bool(results)

    def _expect_report(self, operation: Operation, node: str, due: datetime) -> None:
        """After a restart: an offer that an earlier process made is repeated as late as its own would be."""
        attempts = self._get_attempts(operation, node)
        if attempts.due is None:
            attempts.due = due

    def _is_due(self, operation: Operation, node: str, now: datetime) -> bool:
        due = self._get_attempts(operation, node).due
        return due is None or due <= now

    def _get_attempts(self, operation: Operation, node: str) -> _Attempts:
        return self._attempts.setdefault((operation.id, node), _Attempts())

    async def _record(self, operation: Operation, results: Sequence[OperationResult]) -> None:
        now = self.clock()
        await self.store.record_results(operation.id, [replace(one, at=one.at or now) for one in results])


def find_holds(operation: Operation, cluster: OperationCluster) -> str:
    """Why nothing of an operation is sent now; empty if it may be sent."""
    # An operation in waves is one of high risk.
    holds = cluster.holds_of_high_risk if len(operation.waves) > 1 else cluster.holds
    return holds[0].message if holds else ""


def find_due_results(
    operation: Operation, cluster: OperationCluster, now: datetime, errors: Mapping[str, str]
) -> Iterator[OperationResult]:
    """States that follow from time and from the fleet file: nodes that left, failed waves, overdue nodes.

    Args:
        operation: as recorded.
        cluster: as it is now.
        now: the present moment.
        errors: node -> why the last call was not answered.
    """
    left = [node for node in _list_unsettled(operation) if node not in cluster.nodes]
    if left:
        yield from (_skip(node, "it left the fleet") for node in left)
        return
    failure = find_failed_wave(operation, cluster.max_unknown)
    if failure:
        yield from (_skip(node, failure) for node in _list_open(operation))
        return
    kept = [node for node in _list_open(operation) if node in cluster.held_nodes]
    if kept:
        # Not later, when the hold is over: whoever asked for it is told now, and may ask again.
        yield from (_skip(node, f"it {cluster.held_nodes[node]}") for node in kept)
        return
    patience, held = find_patience(cluster, direct=operation.direct), find_holds(operation, cluster)
    for node in operation.next_wave:
        result = operation.result(node)
        if result.state not in OPEN_STATES:
            continue
        since = operation.deadline - patience if result.at is None else result.at
        # A node to which nothing was sent is overdue only while something keeps it from being sent.
        if now < since + patience or (result.at is None and not held and now - operation.at < LIFETIME):
            continue
        reason = errors.get(node) or _OVERDUE[result.state] + (f": {held}" if held else "")
        yield OperationResult(node, OperationState.OVERDUE, reason)


def find_failed_wave(operation: Operation, max_unknown: str) -> str:
    """Why later waves must not start; empty if no wave has failed."""
    for number, wave in enumerate(operation.waves[:-1], 1):
        states = [operation.result(node).state for node in wave]
        if not OPEN_STATES.isdisjoint(states):
            return ""
        failed = states.count(OperationState.FAILED)
        unknown = states.count(OperationState.OVERDUE)
        if failed:
            return f"wave {number} failed at {failed} of {len(wave)} nodes"
        if unknown > min(len(wave), resolve_amount(max_unknown, len(wave))):
            return f"wave {number} has {unknown} overdue of {len(wave)} nodes"
    return ""


_OVERDUE: Final = {
    OperationState.PENDING: "nothing was sent",
    OperationState.OFFERED: "it did not poll",
    OperationState.SENT: "it did not report a result",
}


def _divide(drafts: Sequence[OfferDraft], size: int) -> Iterator[Sequence[OfferDraft]]:
    """The drafts in groups of at most `size`."""
    for start in range(0, len(drafts), size):
        yield drafts[start : start + size]


def _is_open(offer: Offer, now: datetime) -> bool:
    """Whether a node may still take it."""
    return not offer.withdrawn and now < offer.closes


def _list_open(operation: Operation) -> list[str]:
    return [node for node in operation.nodes if operation.result(node).state in OPEN_STATES]


def _list_unsettled(operation: Operation) -> list[str]:
    """Nodes that are open or overdue: a result of them still counts."""
    unsettled = OPEN_STATES | {OperationState.OVERDUE}
    return [node for node in operation.nodes if operation.result(node).state in unsettled]


def _skip(node: str, reason: str) -> OperationResult:
    return OperationResult(node, OperationState.SKIPPED, reason)
