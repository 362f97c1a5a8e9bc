"""New readings of the nodes for those who look: one at a time, so that looking never is a load on a fleet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from reconciler.api.answers import PlanAnswer
from reconciler.api.reader import Reader
from reconciler.core.selection import Selection, select_nodes
from reconciler.desired.fleet import Fleet
from reconciler.errors import StateError
from reconciler.host.clock import utc_now
from reconciler.planning.inventory_report import list_inventory_uses
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.plan_summary import PlanSummary
from reconciler.planning.status import FleetStatus
from reconciler.ports.store import StoreReader
from reconciler.server.access.hidden_names import HiddenNames
from reconciler.server.access.identity import Identity
from reconciler.server.access.visibility import (
    mask_overridden,
    mask_status,
    restrict_selection,
    sees_everything,
)
from reconciler.server.request_problems import RequestProblem

FRESH: Final = 5.0
"""Seconds for which a reading answers the next callers, too."""

MOST_WAITING: Final = 16
"""Callers that wait for a reading."""

_MOST_KEPT: Final = 16

_Read: TypeAlias = Callable[[Reader, Fleet, Selection], Awaitable[FleetStatus | PlanAnswer]]


@dataclass(frozen=True, slots=True)
class FreshReadings:
    """Reads the nodes of the watched fleet for callers.

    Args:
        reader: of the watch's source.
        store: of the watch; None for a dry run, which knows nothing of earlier runs then.
        fleet: gives the newest fleet; None before the first.
        only: what the watch is restricted to.
        clock: monotonic time.
    """

    reader: Reader
    store: StoreReader | None
    fleet: Callable[[], Fleet | None]
    only: Selection
    clock: Callable[[], float] = time.monotonic
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: list[None] = field(default_factory=list)
    _kept: dict[tuple[str, Selection, bool], tuple[float, FleetStatus | PlanAnswer]] = field(
        default_factory=dict
    )

    async def read_status(self, identity: Identity, selection: Selection) -> FleetStatus:
        """The status of what a caller may see, from a new reading.

        Raises:
            ReconcilerError: it cannot be read, or the caller may see none of it.
        """

        async def read(reader: Reader, fleet: Fleet, only: Selection) -> FleetStatus:
            return await reader.status(fleet, only=only)

        found = await self._read("status", identity, selection, read)
        assert isinstance(found, FleetStatus)
        return found

    async def read_plan(self, identity: Identity, selection: Selection) -> PlanAnswer:
        """The plan for what a caller may see, from a new reading.

        Raises:
            ReconcilerError: it cannot be planned, or the caller may see none of it.
        """

        async def read(reader: Reader, fleet: Fleet, only: Selection) -> PlanAnswer:
            return _make_answer(await reader.plan(fleet, only=only))

        found = await self._read("plan", identity, selection, read)
        assert isinstance(found, PlanAnswer)
        return found

    async def _read(
        self, kind: str, identity: Identity, selection: Selection, read: _Read
    ) -> FleetStatus | PlanAnswer:
        fleet = self.fleet()
        if fleet is None:
            raise StateError("the watch has not read its source yet", remedy="try again in a moment")
        only = self._restrict(identity, selection, fleet)
        if len(self._waiting) >= MOST_WAITING:
            raise RequestProblem(
                503,
                "busy",
                "many callers wait for a reading of the nodes",
                remedy="try again in a moment",
                headers={"retry-after": "10"},
            )
        self._waiting.append(None)
        try:
            async with self._lock:
                key = kind, only, sees_everything(identity)
                at, known = self._kept.get(key, (0.0, None))
                if known is not None and self.clock() - at < FRESH:
                    return known
                found = await read(replace(self.reader, store=self.store), fleet, only)
                if not sees_everything(identity):
                    entries = [one.entry for one in fleet.cluster_inputs]
                    found = _hide_other_clusters(found, HiddenNames.find(identity, entries))
                while len(self._kept) >= _MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = (self.clock(), found)
                return found
        finally:
            self._waiting.pop()

    def _restrict(self, identity: Identity, selection: Selection, fleet: Fleet) -> Selection:
        """The part of a selection that the caller may see.

        Raises:
            AccessRefused: that is nothing.
            UsageError: the selection names nothing.
        """
        wanted = self.only if selection.is_everything else selection
        entries = [one.entry for one in fleet.cluster_inputs]
        found = restrict_selection(wanted, entries, identity)
        select_nodes(found, entries)
        return found


def _hide_other_clusters(found: FleetStatus | PlanAnswer, hidden: HiddenNames) -> FleetStatus | PlanAnswer:
    """A reading of some clusters without what it tells of the whole fleet, the host and other runs."""
    if isinstance(found, FleetStatus):
        clusters = {one.cluster for one in found.clusters}
        expiries = tuple(one for one in found.expiries if one.target.partition("/")[0] in clusters)
        statuses = tuple(mask_status(one, hidden) for one in found.clusters)
        return replace(found, clusters=statuses, last_run=None, removed_clusters=(), expiries=expiries)
    planned = {one["cluster"] for one in found.plan["clusters"]}
    return replace(
        found,
        violations=hidden.mask_diagnostics(one for one in found.violations if one.cluster in planned),
        overridden=mask_overridden([one for one in found.overridden if one[0].cluster in planned], hidden),
        warnings=hidden.mask_diagnostics(one for one in found.warnings if one.cluster in planned),
        inventory=tuple(one for one in found.inventory if one.cluster in planned),
    )


def _make_answer(found: PlanResult) -> PlanAnswer:
    contexts = found.guard_contexts
    now = max((one.now for one in contexts if one.now), default=utc_now())
    return PlanAnswer(
        dict(found.plan.ids),
        found.plan.plain(),
        found.violations,
        found.overridden,
        found.fleet.warnings,
        tuple(one.pin for one in contexts if one.pin is not None),
        list_inventory_uses(found.fleet, now),
        PlanSummary.of(found),
    )
