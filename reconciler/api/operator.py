"""Operations by command line, server or another program: plan one, record it, follow it to its end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.api.fleet_store import open_fleet_store
from reconciler.api.reader import Reader
from reconciler.core.actor import Actor
from reconciler.core.cluster_renames import apply_renames, find_renames
from reconciler.core.memory import FleetMemory
from reconciler.core.operations import Operation
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal
from reconciler.host.clock import utc_now
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.plan_operation import (
    OperationCluster,
    OperationPlan,
    OperationRequest,
    list_operation_clusters,
    plan_operation,
)
from reconciler.planning.routed_transports import route_transports
from reconciler.ports.store import Store
from reconciler.rollout.operation_runner import TICK, OperationRunner, ignore_operation
from reconciler.secrets.redaction import TokenRedactor


def make_operation_id(now: datetime) -> str:
    """The id of an operation: its second in UTC and eight random digits."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Operator:
    """Plans and performs what operators ask for beside desired state, such as a purge.

    Args:
        reader: reads the source; never a node.
        store: opened by the caller.
        clock: dates operations and their results.
        tick: seconds between two looks at open operations.
        wake: set when an operation was recorded, so that it is performed at once.
    """

    reader: Reader
    store: Store
    clock: Clock = utc_now
    tick: float = TICK
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def plan(self, request: OperationRequest, fleet: Fleet | None = None) -> OperationPlan:
        """Which nodes get it, in which waves, and what holds it back; sends nothing and reads no node.

        Args:
            request: what is asked for.
            fleet: one that was read before; None to read the source now.

        Raises:
            ReconcilerError: the source cannot be used, or the request is invalid.
        """
        fleet = fleet or await self.reader.read_fleet()
        store = await open_fleet_store(self.reader, self.store, fleet)
        return plan_operation(
            fleet, request, drivers=self.reader.products, memory=await _read_memory(store, fleet)
        )

    async def begin(self, plan: OperationPlan, actor: Actor, fleet: Fleet) -> tuple[Operation, ...]:
        """Record a planned operation, one for each cluster that nothing holds back; sends nothing.

        Args:
            plan: a result of `plan`.
            actor: who asked for it.
            fleet: of the plan.

        Raises:
            GuardRefusal: every cluster is held back; nothing was recorded.
            StateError: the store cannot be written.
        """
        released = [planned for planned in plan.clusters if not planned.violations]
        if not released:
            raise GuardRefusal(plan.violations)
        store, begun = await open_fleet_store(self.reader, self.store, fleet), []
        for planned in released:
            now = self.clock()
            later = now - planned.operation.at  # an operator may have taken a while to confirm
            operation = replace(
                planned.operation,
                id=make_operation_id(now),
                actor=actor,
                at=now,
                deadline=planned.operation.deadline + later,
            )
            # Used before it is recorded: a crash in between costs an approval, and never uses one twice.
            if planned.is_approved:
                await store.use_approval(operation.digest)
            await store.begin_operation(operation)
            begun.append(operation)
        self.wake.set()
        return tuple(begun)

    async def perform(
        self,
        fleet: Callable[[], Fleet],
        stop: asyncio.Event,
        *,
        until: frozenset[str] = frozenset(),
        on_over: Callable[[Operation], None] = ignore_operation,
    ) -> None:
        """Perform the open operations of a fleet until `stop`, or until these ones are over.

        Args:
            fleet: gives the newest one.
            stop: once set, nothing more is sent; calls in progress are completed and recorded.
            until: ids; empty to continue until `stop`.
            on_over: called once for each operation that is over.

        Raises:
            StateError: the store cannot be used.
        """
        store = await open_fleet_store(self.reader, self.store, fleet())
        async with self.reader.connect(self.reader.host) as transports:

            async def read_clusters(kind: str) -> Mapping[str, OperationCluster]:
                newest = fleet()
                # The secrets of the newest fleet: a node may quote them in its answer.
                routed = route_transports(transports, newest, self.reader.products)
                runner.transports = mask_transports(routed, newest.secrets)
                memory = await _read_memory(store, newest)
                clusters = list_operation_clusters(newest, self.reader.products, memory, kind)
                # A node that reports and is called knows the token in its own URL.
                if tokens := await _read_tokens(store, clusters):
                    runner.transports = mask_transports(runner.transports, TokenRedactor(tokens))
                return clusters

            masked = mask_transports(transports, fleet().secrets)
            runner = OperationRunner(
                store,
                masked,
                read_clusters,
                clock=self.clock,
                tick=self.tick,
                wake=self.wake,
                on_over=on_over,
            )
            await runner.run(stop, until=until)


async def _read_tokens(store: Store, clusters: Mapping[str, OperationCluster]) -> frozenset[str]:
    """The tokens in clear of all nodes that report and can be called: their settings have their URLs."""
    found: set[str] = set()
    for cluster in clusters.values():
        names = [node.name for node in cluster.nodes.values() if node.reports and node.is_callable]
        own = await store.tokens(cluster.name, names) if names else {}
        found |= {str(one.value) for pair in own.values() for one in (pair.current, pair.former) if one}
    return frozenset(found)


async def _read_memory(store: Store, fleet: Fleet) -> FleetMemory:
    memory = await store.read_memory()
    entries = [cluster_input.entry for cluster_input in fleet.cluster_inputs]
    return apply_renames(memory, find_renames(memory, entries))
