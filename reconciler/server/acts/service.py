"""Performs what people order of a running watch: the one service behind control socket, pages and API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

from reconciler.api.acts import (
    Act,
    ApproveAct,
    HoldAct,
    LookAct,
    LookResult,
    PurgeAct,
    PurgeReport,
    ReleaseAct,
    ResultT,
    ResumeAct,
    RetryAct,
    RollBackAct,
    RollBackResult,
    StopAct,
    StopResult,
    UnpinAct,
)
from reconciler.api.known_nodes import UnknownName
from reconciler.api.orders import Orders
from reconciler.core.reservations import StopRequest
from reconciler.core.roles import AccessRole
from reconciler.core.selection import Selection, format_selection
from reconciler.errors import UsageError
from reconciler.host.actor import get_current_actor
from reconciler.planning.plan_operation import OperationRequest
from reconciler.ports.store import Store
from reconciler.server.access.identity import Identity
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.visibility import VisibleOrders, sees_everything
from reconciler.server.acts.caller import Caller
from reconciler.server.acts.checked_orders import CheckedOrders, OrderDenied
from reconciler.server.logs import Log
from reconciler.server.operations import OperationService
from reconciler.server.rollbacks import Answer, RollbackRequest, RollbackRunner

_Work = TypeVar("_Work")


@dataclass(frozen=True, slots=True)
class ActService:
    """Performs acts for callers, each with the role that it needs.

    Args:
        store: where orders are written; None for a dry run, which accepts none.
        log: gets a line for each act.
        rollbacks: runs rollbacks; None for a dry run.
        operations: plans and records operations; None for a dry run.
        request_pass: runs a pass over a cluster now, with the name empty over all; gives their names.
    """

    store: Store | None
    log: Log
    rollbacks: RollbackRunner | None = None
    operations: OperationService | None = None
    request_pass: Callable[[str], tuple[str, ...]] | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _rollback_tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def perform(self, act: Act[ResultT], identity: Identity) -> ResultT:
        """Perform an act of a page or of the API.

        Args:
            act: what is ordered, and why.
            identity: who orders it.

        Raises:
            AccessRefused: they may not.
            ReconcilerError: it is refused, or cannot be done now.
        """
        actor = identity.make_actor(host=get_current_actor().host, why=act.reason.strip(), claim=act.by)
        caller = Caller(identity, actor, {"login": identity.method.value})
        caller.require_somewhere(get_needed_role(type(act)))
        result: object
        match act:
            case LookAct():
                result = LookResult(await self.look_again(caller, act.cluster))
            case RollBackAct():
                result = await self._roll_back(act, caller)
            case PurgeAct():
                result = await self._purge(act, caller)
            case StopAct():
                asked = StopRequest(
                    act.node, act.cluster, timedelta(seconds=act.seconds), release=act.release
                )
                _, data = await self.ask_stop(asked, caller)
                result = StopResult(json.loads(data))
            case _:
                return await self._give_order(act, caller)
        # Each act names the type of its result.
        return cast("ResultT", result)

    def make_orders(self, caller: Caller) -> CheckedOrders:
        """The orders of a caller.

        Raises:
            OrderDenied: the watch is a dry run.
        """
        return CheckedOrders(self._get_store(), caller, self.log)

    async def look_again(self, caller: Caller, cluster: str = "") -> tuple[str, ...]:
        """Read the source, and run a pass over a cluster or all; gives their names.

        Raises:
            AccessRefused: the caller may not.
            UsageError: there is no such cluster.
            StateError: it cannot be recorded; the pass begins all the same.
        """
        caller.require_to_operate(cluster)
        if self.request_pass is None:
            raise OrderDenied("this watch runs no pass on request", remedy="wait for its next pass")
        found = self.request_pass(cluster)
        if cluster and not found:
            raise UsageError(
                f"this watch has no cluster {cluster!r}", remedy="`reconcile status` lists the clusters"
            )
        if self.store is not None:
            await self.store.record_look(cluster, caller.actor)
        self.log.info(
            "order accepted", order="look", cluster=cluster, user=caller.actor.user, **caller.origin
        )
        return found

    async def roll_back(self, request: RollbackRequest, caller: Caller) -> Answer:
        """Plan a rollback, or apply exactly the plan that the request names.

        Raises:
            AccessRefused: the caller may not operate one of its clusters.
            ReconcilerError: it cannot be planned or applied, or the plan has changed.
        """
        if self.rollbacks is None:
            raise _make_dry_run_error()
        if request.plan:
            self._note("rollback", caller, revision=request.revision, only=request.only, plan=request.plan)
        work = self.rollbacks.run(request, caller.actor, caller.identity, caller.require_to_operate)
        return await self._keep(work, self._rollback_tasks)

    async def operate(self, request: OperationRequest, plan: str, caller: Caller) -> Answer:
        """Plan an operation, or record exactly the plan that is named.

        Raises:
            AccessRefused: the caller may not operate one of its clusters.
            ReconcilerError: it cannot be planned or recorded, or the plan has changed.
        """
        _require_named_cluster(caller, request.cluster)
        operations = self.get_operations()
        if plan:
            self._note(request.kind, caller, plan=plan)
        work = operations.run(request, plan, caller.actor, caller.require_to_operate)
        return await self._keep(work, self._tasks)

    async def ask_stop(self, request: StopRequest, caller: Caller) -> Answer:
        """Answer whether a node may be stopped, or end its reservation.

        Raises:
            AccessRefused: the caller may not operate its cluster.
            ReconcilerError: there is no answer; then nothing is reserved.
        """
        _require_named_cluster(caller, request.cluster)
        operations = self.get_operations()
        work = operations.ask_stop(request, caller.actor, caller.require_to_operate)
        return await self._keep(work, self._tasks)

    def get_operations(self) -> OperationService:
        """The operations of the watch.

        Raises:
            OrderDenied: the watch is a dry run.
        """
        if self.operations is None:
            raise _make_dry_run_error()
        return self.operations

    async def finish(self) -> None:
        """Wait for rollbacks, which read their steps back."""
        if self._rollback_tasks:
            await asyncio.wait(self._rollback_tasks)

    async def _give_order(self, act: Act[ResultT], caller: Caller) -> ResultT:
        store, identity = self._get_store(), caller.identity
        if isinstance(act, HoldAct | ReleaseAct) and "/" in act.node:
            caller.require_to_operate(act.node.partition("/")[0])
        visible = store if sees_everything(identity) else VisibleOrders(store, identity)
        try:
            result = await Orders(lambda: visible, lambda: self.make_orders(caller)).give(act, caller.actor)
        except UnknownName as error:
            if sees_everything(identity):
                raise
            # The same answer for what there is not, and for what they may not see.
            raise AccessRefused(
                f"{error.message}, or {identity.name} may not look at it",
                remedy=f"{error.remedy}; or ask who writes the host configuration for the role",
            ) from None
        # What may be changed again need not wait for the next pass.
        if (
            isinstance(act, ApproveAct | ResumeAct | ReleaseAct | RetryAct | UnpinAct)
            and self.request_pass is not None
        ):
            self.request_pass("")
        return result

    async def _roll_back(self, act: RollBackAct, caller: Caller) -> RollBackResult:
        only = format_selection(Selection(act.only, act.skip)) if act.only or act.skip else ""
        answer, data = await self.roll_back(RollbackRequest(act.revision, only, act.plan), caller)
        # The pages show what the last pass read: not for another interval what was there before.
        if act.plan and self.request_pass is not None:
            self.request_pass("")
        return RollBackResult(
            status=answer["status"],
            refused=tuple(answer["refused"]),
            plan=answer.get("plan", ""),
            is_empty=answer.get("empty", False),
            plan_file=data.decode(),
            run=answer.get("run", ""),
        )

    async def _purge(self, act: PurgeAct, caller: Caller) -> PurgeReport:
        request = OperationRequest("purge", act.targets, cluster=act.cluster, direct=act.direct)
        _, data = await self.operate(request, act.plan, caller)
        plain = json.loads(data)
        return PurgeReport(begun=tuple(plain)) if act.plan else PurgeReport(plan=plain)

    async def _keep(self, work: Coroutine[Any, Any, _Work], tasks: set[asyncio.Task[Any]]) -> _Work:
        """The result of work that goes on if the caller disconnects."""
        # A caller that disconnects must not stop a rollback between two steps, or leave a reservation half
        # decided.
        task = asyncio.create_task(work)
        tasks.add(task)

        def end(ended: asyncio.Task[_Work]) -> None:
            tasks.discard(ended)
            if not ended.cancelled():
                ended.exception()  # asyncio would log an error that nobody waits for any more

        task.add_done_callback(end)
        return await asyncio.shield(task)

    def _get_store(self) -> Store:
        if self.store is None:
            raise _make_dry_run_error()
        return self.store

    def _note(self, order: str, caller: Caller, **more: object) -> None:
        fields: Mapping[str, object] = {"user": caller.actor.user, **caller.origin, **more}
        self.log.info("order accepted", order=order, **fields)


def _require_named_cluster(caller: Caller, cluster: str) -> None:
    """Check that whoever operates some clusters only names one of them.

    A node or a target is looked for in all clusters otherwise, and an answer would name those of others.

    Raises:
        AccessRefused: they name none, or another one.
    """
    if cluster or caller.identity.allows(AccessRole.OPERATE):
        caller.require_to_operate(cluster)
        return
    caller.require_somewhere(AccessRole.OPERATE)
    raise AccessRefused(
        f"{caller.identity.name} does not have the role `operate` for all clusters",
        remedy="name the cluster (`--cluster`)",
    )


def get_needed_role(kind: type[Act[Any]]) -> AccessRole:
    """The role that an act needs."""
    return AccessRole.APPROVE if kind is ApproveAct else AccessRole.OPERATE


def _make_dry_run_error() -> OrderDenied:
    return OrderDenied(
        "this watch is a dry run: it accepts no orders",
        remedy="run the command as a user with access to the state folder",
    )
