"""The reservations of a cluster as a run knows them; the store has the last word, with each intent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.guard import GuardContext
from reconciler.core.plan import Step
from reconciler.core.reservations import Reservation
from reconciler.planning.reserved_steps import describe_reserved, find_reservation_hold
from reconciler.ports.driver import Driver
from reconciler.ports.store import Store


@dataclass(slots=True)
class KnownReservations:
    """The reservations of the cluster that a run changes.

    Args:
        store: limited to the fleet; None where reservations do not concern the steps.
        guard_context: what the plan was made from.
    """

    store: Store | None = None
    guard_context: GuardContext | None = None
    _known: Mapping[str, Reservation] = field(default_factory=dict)
    _reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[str] | None:
        """The ids that a step was judged with; None where they do not concern it."""
        return None if self.store is None else frozenset(self._known)

    @property
    def nodes(self) -> frozenset[str]:
        """The reserved nodes."""
        return frozenset(self._reasons)

    async def read(self) -> None:
        """Read them from the store. What is over was recorded as such when the plan was applied."""
        if self.store is not None and self.guard_context is not None:
            found = await self.store.reservations(self.guard_context.plan.cluster)
            self._known = {one.id: one for one in found}
            self._reasons = describe_reserved({one.node: one for one in found})

    def find_hold(self, step: Step, driver: Driver[Any, Any]) -> str:
        """Why a step must not be sent now; empty if it may."""
        case = self.guard_context
        if case is None or not self._known:
            return ""
        return find_reservation_hold(
            step,
            self._reasons,
            driver,
            entry=case.entry,
            desired=case.desired,
            observed=case.observed,
            policy=case.policy,
        )
