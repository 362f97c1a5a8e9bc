"""Writes orders for one caller: each is checked, bounded and logged, whichever way it came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.core.actor import Actor
from reconciler.core.roles import AccessRole
from reconciler.errors import ReconcilerError
from reconciler.ports.store import Store
from reconciler.server.acts.caller import Caller
from reconciler.server.logs import Log
from reconciler.text.one_line import LONGEST_NAME

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class OrderDenied(ReconcilerError):
    """The caller may not give this order."""


@dataclass(frozen=True, slots=True)
class CheckedOrders:
    """The orders of a store, for one caller.

    The commands check orders too, but any program of an operator can write to the socket, and any program
    with a token to the API.

    Args:
        store: where they are written.
        caller: who gives them.
        log: gets a line for each.
    """

    store: Store
    caller: Caller
    log: Log

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        """Suspend a cluster, or all.

        Raises:
            ReconcilerError: the caller may not, or a value is missing or invalid.
        """
        self._check(cluster)
        if not reason.strip():
            raise OrderDenied("a suspension needs a reason", remedy="give a reason")
        await self.store.suspend(cluster, reason, by)
        self._note("suspend", cluster)

    async def resume(self, cluster: str, by: Actor) -> None:
        """End a suspension.

        Raises:
            ReconcilerError: as `suspend`.
        """
        self._check(cluster)
        await self.store.resume(cluster, by)
        self._note("resume", cluster)

    async def hold(self, fleet: int, cluster: str, node: str, until: datetime, by: Actor) -> None:
        """Hold a node.

        Raises:
            ReconcilerError: as `suspend`.
        """
        self._check(cluster)
        if not by.why.strip():
            raise OrderDenied("a hold needs a reason", remedy="give a reason")
        if not 0 < len(node) <= LONGEST_NAME or not cluster:
            raise OrderDenied("a hold needs a node and its cluster", remedy="name a node of the fleet")
        await self.store.hold(fleet, cluster, node, until, by)
        self._note("hold", cluster, node=node)

    async def end_holds(self, ids: Sequence[str], by: Actor) -> Sequence[str]:
        """End holds.

        Raises:
            ReconcilerError: as `suspend`.
        """
        held = {one.id: one.cluster for one in (await self.store.orders()).holds}
        clusters = sorted({held[name] for name in ids if name in held})
        for cluster in clusters or [""]:
            self._check(cluster)
        ended = await self.store.end_holds(ids, by)
        self._note("release", clusters[0] if len(clusters) == 1 else "", nodes=list(ended))
        return ended

    async def retry(self, cluster: str, node: str, by: Actor) -> Sequence[str]:
        """Let a cluster or node be tried again.

        Raises:
            ReconcilerError: as `suspend`.
        """
        self._check(cluster)
        if not cluster:
            raise OrderDenied("a retry needs a cluster", remedy="name a cluster or a node of the fleet")
        found = await self.store.retry(cluster, node, by)
        self._note("retry", cluster)
        return found

    async def forget_attempts(self, cluster: str = "") -> Sequence[str]:
        """Let stalled nodes be tried again.

        Raises:
            ReconcilerError: as `suspend`.
        """
        self._check(cluster)
        found = await self.store.forget_attempts(cluster)
        self._note("forget_attempts", cluster)
        return found

    async def unpin(self, cluster: str, by: Actor) -> Sequence[str]:
        """End the pin of a cluster.

        Raises:
            ReconcilerError: as `suspend`.
        """
        self._check(cluster)
        ended = await self.store.unpin(cluster, by)
        self._note("unpin", cluster)
        return ended

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        """Approve a plan for one run.

        Raises:
            ReconcilerError: as `suspend`.
        """
        if not _DIGEST.fullmatch(digest):
            raise OrderDenied("an approval needs the complete id of a plan", remedy="give all 64 characters")
        # A plan that this host has not made yet may be of any cluster.
        asked = {one.cluster for one in (await self.store.orders()).requests if one.digest == digest}
        for cluster in sorted(asked) or [""]:
            # A refusal names no cluster that the caller may not look at.
            is_visible = self.caller.identity.allows(AccessRole.LOOK, cluster)
            self.caller.require(AccessRole.APPROVE, cluster if is_visible else "")
        await self.store.approve(digest, by, reason)
        self._note("approve", next(iter(asked)) if len(asked) == 1 else "", plan=digest)

    def _check(self, cluster: str) -> None:
        if len(cluster) > LONGEST_NAME:
            raise OrderDenied("the cluster name is too long", remedy="name a cluster of the fleet")
        self.caller.require_to_operate(cluster)

    def _note(self, order: str, cluster: str, **more: object) -> None:
        user, origin = self.caller.actor.user, self.caller.origin
        self.log.info("order accepted", order=order, cluster=cluster, user=user, **origin, **more)
