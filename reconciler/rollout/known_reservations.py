"""The reservations and holds of a cluster as a run knows them.

The store has the last word about those that were ordered by command, with each intent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.guard import GuardContext
from reconciler.core.plan import Step
from reconciler.core.reservations import Reservation
from reconciler.planning.reserved_steps import StepHold, describe_reserved, find_reservation_hold
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
    _known: frozenset[str] = frozenset()
    _nodes: Mapping[str, Reservation] = field(default_factory=dict)
    _reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[str] | None:
        """The ids that a step was judged with; None where they do not concern it."""
        return None if self.store is None else self._known

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that count as away."""
        return frozenset(self._reasons)

    async def read(self) -> None:
        """Read them from the store. What is over was recorded as such when the plan was applied."""
        if self.store is None or self.guard_context is None:
            return
        case = self.guard_context
        found = await self.store.reservations(case.plan.cluster)
        now = (
            (await self.store.read_cluster_memory(case.plan.cluster)).at
            if any(one.is_hold for one in found)
            else None
        )
        self._known = frozenset(one.id for one in found)
        # Those of the fleet file, and those that were ordered by another name of the node, are as planned.
        planned = [one for one in case.reserved.holds if one.in_file or one.ordered_as]
        counting = [one for one in (*found, *planned) if not (one.is_hold and now and now >= one.until)]
        counting.sort(key=lambda one: (one.is_hold, one.until, one.id))
        self._nodes = {one.node: one for one in counting}
        self._reasons = describe_reserved(self._nodes)

    def is_held(self, step: Step) -> bool:
        """Whether a person ordered that nothing is sent to a node that the step is about."""
        return any(name in self._nodes and self._nodes[name].is_hold for name in step.nodes)

    def find_hold(self, step: Step, driver: Driver[Any, Any]) -> StepHold | None:
        """Why a step must not be sent now; None if it may."""
        case = self.guard_context
        if case is None or not self._nodes:
            return None
        return find_reservation_hold(
            step,
            self._nodes,
            self._reasons,
            driver,
            entry=case.entry,
            desired=case.desired,
            observed=case.observed,
            policy=case.policy,
        )
