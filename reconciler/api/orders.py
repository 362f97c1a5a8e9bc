"""Orders of operators by command, page or API: the same checks, the same results, whoever gives them.

An order is written where the caller says: into a store, or through the watch that has it open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from reconciler.api.acts import (
    Act,
    ApproveAct,
    ApproveResult,
    HoldAct,
    HoldResult,
    ReleaseAct,
    ReleaseResult,
    ResultT,
    ResumeAct,
    ResumeResult,
    RetryAct,
    RetryResult,
    SuspendAct,
    SuspendResult,
    UnpinAct,
    UnpinResult,
)
from reconciler.api.known_nodes import UnknownName, find_known_node, find_named_holds, read_hold_end
from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import HOST
from reconciler.core.memory import Suspension
from reconciler.core.timestamps import Clock
from reconciler.errors import UsageError
from reconciler.host.clock import utc_now
from reconciler.ports.store import OpenOrders, OrderReader, OrderWriter
from reconciler.text.suggestions import find_nearest

LEAST: Final = 8
"""Characters of a plan id that are enough if the plan waits for approval."""

_WHOLE: Final = 64
"""Characters of a complete plan id, a SHA-256 in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Orders:
    """Resolves the names in orders, checks the orders, and writes them.

    Args:
        open_reader: gives the store as it is now.
        open_writer: gives where orders are written. Both are called only where an order needs them: to stop
            everything, nothing is read.
        clock: dates the ends of holds.
    """

    open_reader: Callable[[], OrderReader]
    open_writer: Callable[[], OrderWriter]
    clock: Clock = utc_now

    async def approve(self, act: ApproveAct, by: Actor) -> ApproveResult:
        """Approve a plan for one run.

        Raises:
            UsageError: no plan or more than one has this id.
            StateError: the store cannot be used.
        """
        found = await self.open_reader().orders()
        digest = resolve_digest(act.plan, found)
        # The digest covers every step: if the next run plans anything else, the approval does not fit.
        await self.open_writer().approve(digest, by, act.reason.strip())
        return ApproveResult(digest, tuple(one for one in found.requests if one.digest == digest))

    async def suspend(self, act: SuspendAct, by: Actor) -> SuspendResult:
        """Suspend a cluster, or all.

        Raises:
            UsageError: the name is none of a cluster.
            StateError: the store cannot be used.
        """
        if set(act.cluster) & set("/\\:"):
            raise UsageError(
                f"the argument is the name of a cluster, and {act.cluster!r} is a path or a URL",
                remedy="for all clusters of all fleets on this host, leave it out",
            )
        # To stop everything, read nothing first: the store may be slow or damaged.
        warning = await warn_of_unknown_cluster(act.cluster, self.open_reader()) if act.cluster else ""
        await self.open_writer().suspend(act.cluster, act.reason.strip(), by)
        return SuspendResult(act.cluster, warning)

    async def resume(self, act: ResumeAct, by: Actor) -> ResumeResult:
        """End a suspension, and let stalled nodes be tried again.

        Raises:
            StateError: the store cannot be used.
        """
        before = (await self.open_reader().orders()).suspensions
        writer = self.open_writer()
        await writer.resume(act.cluster, by)
        retried = await writer.forget_attempts(act.cluster)
        left = (await self.open_reader().orders()).suspensions
        was_suspended = any(one.cluster == act.cluster for one in before)
        return ResumeResult(act.cluster, was_suspended, tuple(retried), left)

    async def hold(self, act: HoldAct, by: Actor) -> HoldResult:
        """Send nothing to a node until a moment.

        Raises:
            UsageError: the end is none, or no or several nodes have this name.
            StateError: the store cannot be used.
        """
        end, store = read_hold_end(act.until.strip(), self.clock()), self.open_reader()
        known = await find_known_node(act.node, store)
        busy = (await store.select_fleet(known.fleet).see_cluster(known.cluster)).busy
        await self.open_writer().hold(known.fleet, known.cluster, known.node, end, by)
        return HoldResult(known.name, end, is_seen=known.is_seen, is_busy=known.node in busy)

    async def release(self, act: ReleaseAct, by: Actor) -> ReleaseResult:
        """End the holds of a node before their time.

        Raises:
            UsageError: nodes of several clusters have that name and are held.
            StateError: the store cannot be used.
        """
        before = (await self.open_reader().orders()).holds
        found = find_named_holds(act.node, before)
        ended = await self.open_writer().end_holds([one.id for one in found], by) if found else ()
        return ReleaseResult(act.node, tuple(ended), tuple(one for one in before if one not in found))

    async def unpin(self, act: UnpinAct, by: Actor) -> UnpinResult:
        """End the pin of a cluster.

        Raises:
            StateError: the store cannot be used.
        """
        ended = await self.open_writer().unpin(act.cluster, by)
        if ended:
            return UnpinResult(act.cluster, tuple(ended))
        store = self.open_reader()
        warning = await warn_of_unknown_cluster(act.cluster, store)
        pinned = tuple(one.cluster for one in (await store.orders()).pins)
        return UnpinResult(act.cluster, (), warning, pinned)

    async def retry(self, act: RetryAct, by: Actor) -> RetryResult:
        """Let a cluster or a node be tried again.

        Raises:
            UsageError: no run has seen a cluster or node of this name, or several clusters have such a node.
            StateError: the store cannot be used.
        """
        store, cluster, node = self.open_reader(), act.target, ""
        if await warn_of_unknown_cluster(act.target, store):
            known = await find_known_node(act.target, store)
            cluster, node = known.cluster, known.node
        return RetryResult(act.target, tuple(await self.open_writer().retry(cluster, node, by)))

    async def give(self, act: Act[ResultT], by: Actor) -> ResultT:
        """Give any order.

        Raises:
            ReconcilerError: it is refused, or cannot be written.
        """
        result: object
        match act:
            case ApproveAct():
                result = await self.approve(act, by)
            case SuspendAct():
                result = await self.suspend(act, by)
            case ResumeAct():
                result = await self.resume(act, by)
            case HoldAct():
                result = await self.hold(act, by)
            case ReleaseAct():
                result = await self.release(act, by)
            case UnpinAct():
                result = await self.unpin(act, by)
            case RetryAct():
                result = await self.retry(act, by)
            case _:
                raise TypeError(f"{act.name} is no order")
        # Each act names the type of its result.
        return cast("ResultT", result)


async def warn_of_unknown_cluster(cluster: str, store: OrderReader) -> str:
    """A warning about a cluster that no fleet in the store has; empty if one has it."""
    found: set[str] = set()
    for number in (HOST, *(fleet.number for fleet in await store.fleets())):
        memory = await store.select_fleet(number).read_memory()
        found |= {*memory.cluster_memory, *memory.facts} - {""}
    if cluster in found:
        return ""
    near = find_nearest(cluster, sorted(found))
    hint = f"; did you mean {near}?" if near else ""
    return f"No run on this host has seen a cluster {cluster!r}{hint}"


def describe_scope(suspension: Suspension) -> str:
    """`all clusters` or `cluster NAME`."""
    return f"cluster {suspension.cluster}" if suspension.cluster else "all clusters"


def resolve_digest(text: str, found: OpenOrders) -> str:
    """The full digest of a plan id, or of its first characters.

    Raises:
        UsageError: no plan or more than one has this id.
    """
    prefix = text.strip().lower()
    if set(prefix) - set("0123456789abcdef") or not LEAST <= len(prefix) <= _WHOLE:
        raise UsageError(
            f"{text!r} is not a plan id", remedy=f"give at least {LEAST} characters of the id in the refusal"
        )
    matching = sorted({one.digest for one in found.requests if one.digest.startswith(prefix)})
    if len(matching) == 1:
        return matching[0]
    if len(prefix) == _WHOLE:  # a plan that another host made may be approved before this host plans it
        return prefix
    if matching:
        raise UsageError(f"{len(matching)} plan ids begin with {text!r}", remedy="give more characters")
    raise UnknownName(
        f"no plan with an id that begins with {text!r} waits for approval on this host",
        remedy=f"see `reconcile approve --list`, or give all {_WHOLE} characters of the id",
    )
