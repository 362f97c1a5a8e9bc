"""Answers whether a node may be stopped, from a fresh look, and reserves it if so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from reconciler.api.fleet_store import open_fleet_store
from reconciler.api.operator import make_operation_id
from reconciler.api.reader import Reader
from reconciler.core.actor import Actor
from reconciler.core.defect import name_error
from reconciler.core.guard import GuardContext
from reconciler.core.operations import Operation, OperationResult, OperationState
from reconciler.core.reservations import (
    ALLOW_STOP,
    RELEASE,
    Reservation,
    SeenCluster,
    StopAnswer,
    StopDecision,
    StopQuestion,
    StopReply,
    StopRequest,
)
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.errors import ReconcilerError, UsageError
from reconciler.guards.change_control import find_temporary_holds
from reconciler.host.clock import utc_now
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.read_only import restrict_to_reading
from reconciler.planning.routed_transports import route_transports
from reconciler.ports.store import Store
from reconciler.text.one_line import LONGEST_NAME, join_some, quote_text
from reconciler.text.suggestions import find_similar
from reconciler.transports.mailbox import MailReader

WAIT: Final = 120.0
"""Seconds to wait for another question about the same cluster."""

LOOKS: Final = 3
"""Looks at a cluster that changes while it is looked at."""

_STATES: Final = {
    StopAnswer.YES: OperationState.DONE,
    StopAnswer.NO: OperationState.FAILED,
    StopAnswer.UNKNOWN: OperationState.SKIPPED,
}
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class StopGate:
    """Decides about nodes that somebody wants to stop; each question is an operation in the history.

    Args:
        reader: reads source and nodes.
        store: opened by the caller.
        clock: dates answers.
    """

    reader: Reader
    store: Store
    clock: Clock = utc_now

    async def ask(
        self,
        request: StopRequest,
        actor: Actor,
        fleet: Fleet | None = None,
        *,
        require: Callable[[str], None] = lambda _cluster: None,
    ) -> StopReply:
        """Answer a request; a yes is on disk as a reservation when this returns.

        Args:
            request: what is asked.
            actor: who asks, and why.
            fleet: one that was read before; None to read the source now.
            require: called with the name of its cluster, before anything else is done; raises if the actor
                may not ask about it.

        Raises:
            UsageError: there is no such node.
            ReconcilerError: the source or the store cannot be used; then nothing is reserved.
        """
        if not 0 < len(request.node) <= LONGEST_NAME:
            raise UsageError("the name of a node is missing or too long", remedy="name a node of the fleet")
        fleet = fleet or await self.reader.read_fleet()
        store = await open_fleet_store(self.reader, self.store, fleet)
        if request.release:
            cluster, node = await _find_reserved_node(request, fleet, store)
            require(cluster)
            return await self._release((cluster, node), actor, store)
        cluster, node = _find_node(request, fleet)
        require(cluster)
        async with store.lock_questions(cluster, WAIT):
            for _ in range(LOOKS):
                reply = await self._ask_once(request, (cluster, node), actor, fleet, store)
                if reply is not None:
                    return reply
            words = "the cluster changed each time that it was looked at; ask again"
            decision = StopDecision(StopAnswer.UNKNOWN, (words,))
            now = self.clock()
            operation = _make_operation(ALLOW_STOP, (cluster, node), actor, now, decision)
            await store.record_answer(operation, None, SeenCluster())
            return StopReply(cluster=cluster, node=node, decision=decision, operation=operation.id)

    async def _ask_once(
        self, request: StopRequest, place: tuple[str, str], actor: Actor, fleet: Fleet, store: Store
    ) -> StopReply | None:
        """The recorded answer by one look; None if the cluster is not as it was seen any more."""
        cluster, node = place
        # Before the look: what changes after this is found when the answer is recorded.
        seen = await store.see_cluster(cluster)
        decision = await self._decide(cluster, node, fleet, seen)
        now = self.clock()
        operation = _make_operation(ALLOW_STOP, (cluster, node), actor, now, decision)
        reservation = None
        if decision.answer is StopAnswer.YES:
            reservation = Reservation(
                id=operation.id, cluster=cluster, node=node, actor=actor, at=now, until=now + request.time
            )
            operation = replace(operation, deadline=reservation.until)
        if not await store.record_answer(operation, reservation, seen):
            return None
        return StopReply(
            cluster=cluster,
            node=node,
            decision=decision,
            operation=operation.id,
            until=reservation.until if reservation else None,
        )

    async def _decide(self, cluster: str, node: str, fleet: Fleet, seen: SeenCluster) -> StopDecision:
        reader = replace(self.reader, store=self.store, is_applying=True)
        async with reader.connected() as connected:
            plan_result = await connected.plan(fleet, cluster=cluster)
            (case,) = plan_result.guard_contexts
            why = _find_refusal(case, node, seen)
            facts = tuple(hold.message for hold in find_temporary_holds(case))
            if why:
                return StopDecision(StopAnswer.NO, (why,), facts)
            away = {name: f"is {one.description}" for name, one in case.reserved.nodes.items()}
            away |= dict.fromkeys(seen.busy, "is being changed by a run")
            driver = self.reader.products[case.entry.kind]
            _, own = await reader.bind(fleet)
            async with connected.connect(self.reader.host) as transports:
                routed = route_transports(
                    replace(transports, mailbox=MailReader(own)), fleet, self.reader.products
                )
                reading = mask_transports(routed, fleet.secrets)
                try:
                    observed = await driver.observe_stop(
                        case.desired, case.observed, node, restrict_to_reading(reading, driver.reads)
                    )
                    question = StopQuestion(node, case.entry, case.desired, observed, case.policy, away)
                    decision = driver.decide_stop(question)
                except ReconcilerError:
                    raise
                except Exception as error:  # noqa: BLE001  (a defect must never become a yes)
                    words = f"an unexpected error of this program: {name_error(error)}"
                    return StopDecision(StopAnswer.UNKNOWN, (words,))
        return replace(decision, facts=(*decision.facts, *facts))

    async def _release(self, place: tuple[str, str], actor: Actor, store: Store) -> StopReply:
        """End the reservations of a node, which may have left the fleet."""
        cluster, node = place
        operation = _make_operation(RELEASE, place, actor, self.clock(), None)
        released = await store.release(operation)
        return StopReply(
            cluster=cluster, node=node, operation=operation.id if released else "", released=released
        )


async def _find_reserved_node(request: StopRequest, fleet: Fleet, store: Store) -> tuple[str, str]:
    """The cluster and the name of the node whose reservation is meant; it may have left the fleet.

    Raises:
        UsageError: there is none, or several.
    """
    found = {
        (one.cluster, one.node)
        for one in await store.reservations()
        if request.cluster in {"", one.cluster} and request.node in _get_names(one.cluster, one.node)
    }
    if len(found) > 1:
        raise _make_ambiguous_error(request.node, (cluster for cluster, _ in found))
    return found.pop() if found else _find_node(request, fleet)


def _find_refusal(case: GuardContext, node: str, seen: SeenCluster) -> str:
    """Why the node must not be stopped, whatever its product; empty if nothing speaks against it."""
    if node in case.reserved.nodes:
        return f"it is {case.reserved.nodes[node].description}"
    if node in seen.busy:
        return "a run is changing it, or left a step on it whose effect is not known"
    progress = case.cluster_memory.progress
    if progress is not None and progress.wave and node in progress.nodes:
        return f"wave {progress.number} of a rollout has changed it, and has not passed its gates yet"
    return ""


def _get_names(cluster: str, node: str) -> set[str]:
    return {node, f"{cluster}/{node}"}


def _find_node(request: StopRequest, fleet: Fleet) -> tuple[str, str]:
    """The cluster and the name of the node that is meant.

    Raises:
        UsageError: there is none, or several.
    """
    if request.cluster and request.cluster not in fleet.clusters:
        raise UsageError(
            f"the fleet has no cluster {quote_text(request.cluster)}",
            remedy="`reconcile status` lists the clusters",
        )
    entries = [cluster_input.entry for cluster_input in fleet.cluster_inputs]
    nodes = [
        (entry.name, node.name)
        for entry in entries
        if request.cluster in {"", entry.name}
        for node in entry.members()
    ]
    found = [(cluster, node) for cluster, node in nodes if request.node in _get_names(cluster, node)]
    if len(found) > 1:
        raise _make_ambiguous_error(request.node, (cluster for cluster, _ in found))
    if not found:
        near = find_similar(request.node, sorted(node for _, node in nodes), most=_MOST_NAMED)
        raise UsageError(
            f"the fleet file names no node {quote_text(request.node)}",
            remedy=f"similar names: {', '.join(near)}" if near else "`reconcile status` lists the nodes",
        )
    return found[0]


def _make_ambiguous_error(node: str, clusters: Iterable[str]) -> UsageError:
    return UsageError(
        f"several clusters have a node {quote_text(node)}: {join_some(sorted(clusters), _MOST_NAMED)}",
        remedy="add --cluster NAME",
    )


def _make_operation(
    kind: str, place: tuple[str, str], actor: Actor, now: datetime, decision: StopDecision | None
) -> Operation:
    cluster, node = place
    state = _STATES[decision.answer] if decision else OperationState.DONE
    # Of a yes the reasons belong to the record, too: later it has to be clear by what it was found.
    reason = "; ".join(decision.reasons) if decision else ""
    results: dict[str, Any] = {node: OperationResult(node, state, reason, at=now)}
    return Operation(
        id=make_operation_id(now),
        kind=kind,
        cluster=cluster,
        targets=(node,),
        actor=actor,
        at=now,
        deadline=now,
        direct=True,
        waves=((node,),),
        results=results,
    )
