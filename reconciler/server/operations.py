"""Operations in a running watch: planned and recorded on request, performed by a loop of their own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from reconciler.api.operator import Operator
from reconciler.api.stop_gate import StopGate
from reconciler.core.actor import Actor
from reconciler.core.operations import Operation, OperationState
from reconciler.core.reservations import StopRequest
from reconciler.desired.fleet import Fleet
from reconciler.errors import StateError, UsageError, WorldChanged
from reconciler.planning.plan_operation import OperationRequest
from reconciler.server.cluster_loops import PassScheduler
from reconciler.server.logs import Log
from reconciler.server.supervision import is_set_within

Answer: TypeAlias = tuple[dict[str, Any], bytes]
"""The answer as plain data, and the bytes that follow it."""

_RETRY: Final = 2.0
"""Seconds before operations are taken up again after the store failed."""

MOST_IDS: Final = 1_000
"""Operations of one request; a fleet has no more clusters."""

_PAUSE: Final = 0.2
"""Seconds between two looks for the first fleet."""


def count_operation_nodes(operations: Sequence[Operation]) -> dict[tuple[str, str, str], int]:
    """(cluster, kind, state) -> number of nodes, for metrics."""
    found: Counter[tuple[str, str, str]] = Counter()
    for one in operations:
        for state, count in one.count_states().items():
            found[one.cluster, one.kind, state.value] += count
    return dict(found)


@dataclass(frozen=True, slots=True)
class OperationService:
    """Plans, records and performs operations of the watched fleet.

    A loop of its own performs them, so that neither a rollout nor its soak time delays a purge.

    Args:
        operator: of the watch's source and store.
        scheduler: has the newest fleet.
        stop: once set, nothing more is sent.
        log: gets a line when an operation is over.
    """

    operator: Operator
    scheduler: PassScheduler
    stop: asyncio.Event
    log: Log

    async def serve(self) -> None:
        """Perform open operations until `stop`, those of an earlier process too."""
        while self.scheduler.fleet is None:
            if await is_set_within(self.stop, _PAUSE):
                return
        while not self.stop.is_set():
            # The check of the store reports it, and `/readyz` shows it: nothing is sent that is not recorded.
            with suppress(StateError):
                await self.operator.perform(self._get_fleet, self.stop, on_over=self._log_end)
            await is_set_within(self.stop, _RETRY)

    def _log_end(self, operation: Operation) -> None:
        counts = {state.value: count for state, count in sorted(operation.count_states().items())}
        is_good = set(counts) <= {OperationState.DONE.value}
        (self.log.info if is_good else self.log.warning)(
            "operation over",
            operation=operation.id,
            kind=operation.kind,
            cluster=operation.cluster,
            nodes=counts,
            totals=operation.add_totals(),
        )

    async def run(
        self, request: OperationRequest, plan: str, actor: Actor, require: Callable[[str], None]
    ) -> Answer:
        """Give the plan of an operation, or record exactly the plan that the operator confirmed.

        Args:
            request: what is asked for.
            plan: digest of the confirmed plan; empty to get the plan.
            actor: who asks.
            require: called with the name of each cluster; raises if the operator may not operate it.

        Raises:
            ReconcilerError: it cannot be planned or recorded, or the plan has changed.
        """
        fleet = self._get_fleet()
        found = await self.operator.plan(request, fleet)
        for planned in found.clusters:
            require(planned.operation.cluster)
        if not plan:
            return {}, json.dumps(found.plain()).encode()
        if self.stop.is_set():
            raise StateError("the watch is stopping; nothing was recorded", remedy="repeat it afterwards")
        # The operator confirmed exactly one plan; another one needs another confirmation.
        if found.digest != plan:
            raise WorldChanged(
                "the fleet has changed since the plan was shown; nothing was recorded",
                remedy="run the command again and check the new plan",
            )
        begun = await self.operator.begin(found, actor, fleet)
        return {}, json.dumps([one.plain() for one in begun]).encode()

    async def ask_stop(self, request: StopRequest, actor: Actor, require: Callable[[str], None]) -> Answer:
        """Answer whether a node may be stopped, or end its reservation.

        Args:
            request: what is asked.
            actor: who asks.
            require: called with the name of the node's cluster; raises if the operator may not operate it.

        Raises:
            ReconcilerError: there is no answer; then nothing is reserved.
        """
        fleet = self._get_fleet()
        if self.stop.is_set():
            raise StateError("the watch is stopping; nothing was reserved", remedy="repeat it afterwards")
        gate = StopGate(self.operator.reader, self.operator.store, self.operator.clock)
        reply = await gate.ask(request, actor, fleet, require=require)
        self.log.info(
            "question answered" if reply.decision else "reservation released",
            cluster=reply.cluster,
            node=reply.node,
            answer=reply.decision.answer.value if reply.decision else "",
            reasons="; ".join(reply.decision.reasons) if reply.decision else "",
            operation=reply.operation,
        )
        return {}, json.dumps(reply.plain()).encode()

    async def look(self, ids: Sequence[str]) -> Answer:
        """How far operations are.

        Raises:
            UsageError: there is no such operation, or they are too many.
        """
        if len(ids) > MOST_IDS:
            raise UsageError(f"more than {MOST_IDS:,} operations", remedy="ask for fewer")
        found = [await self.operator.store.operation(name) for name in ids]
        return {}, json.dumps([one.plain() for one in found]).encode()

    def _get_fleet(self) -> Fleet:
        """The newest fleet.

        Raises:
            StateError: the watch has not read its source yet.
        """
        if self.scheduler.fleet is None:
            raise StateError(
                "the watch has not read its source yet; nothing was done", remedy="try again in a moment"
            )
        return self.scheduler.fleet
