"""One loop per cluster: it waits for a trigger, runs one pass, and schedules the next.

Each cluster has its own loop instead of one pass over all clusters with locks: a slow cluster delays no
other, a failing one backs off alone, and "one pass at a time" needs no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from reconciler.desired.fleet import Fleet
from reconciler.ports.inventory import Inventory
from reconciler.server.cluster_pass import PRECEDENCE, ClusterPass, LoopContext, PassRunner
from reconciler.server.input_changes import get_input, needs_attempt
from reconciler.server.pass_result import PassResult
from reconciler.server.timing import LONGEST_SLEEP, LoopTiming, reset_backoff
from reconciler.server.triggers import Trigger
from reconciler.server.watch_state import WatchedCluster


class ClusterLoop:
    """Reconciles one cluster with the latest fleet; `run` is its task."""

    def __init__(
        self,
        name: str,
        perform: PassRunner,
        context: LoopContext,
        on_good: Callable[[str, bool], None] = lambda *_: None,
    ) -> None:
        self.name = name
        self._pass = ClusterPass(name, perform, context)
        self._context = context
        self._on_good = on_good
        self.waits_for_others = False
        self._trigger = Trigger()
        self._fleet: Fleet | None = None
        self._stop_pass = asyncio.Event()
        self._stopping = False

    def use_fleet(self, fleet: Fleet, trigger: str, *, force: bool = False) -> None:
        """Use this fleet from now on; a running pass for an older one starts no further step.

        A fleet that has nothing new for the cluster is used by its next pass, which comes as planned.

        Args:
            fleet: the latest one.
            trigger: reason for reading it.
            force: whether to run a pass even if the fleet has nothing new for the cluster.
        """
        former, self._fleet = self._fleet, fleet
        watch_state = self._context.watch_state
        if self.name not in watch_state.clusters:
            watch_state.clusters[self.name] = WatchedCluster(self.name, fleet.revision)
        watch_state.note(self.name, target=fleet.revision)
        if force or former is None or get_input(former, self.name) != get_input(fleet, self.name):
            watch_state.note(self.name, is_outdated=True)
            # A pass for the old revision stops before its next step; sent steps are still read back.
            self._stop_pass.set()
            self._trigger.fire(trigger)
        elif former.revision.id != fleet.revision.id and needs_attempt(watch_state.clusters[self.name]):
            self._trigger.fire(trigger)

    def use_inventory(self, inventory: Inventory) -> None:
        """Use a newer list of the same instances."""
        if self._fleet is not None:
            self._fleet = replace(self._fleet, inventory=inventory)

    def request_pass(self, trigger: str) -> None:
        """Run a pass now; if one is running, another one after it."""
        if self._fleet is not None:
            self._trigger.fire(trigger)

    def pause(self) -> None:
        """The fleet no longer names this cluster: start no further step, and wait."""
        self._fleet = None
        self._stop_pass.set()
        self._context.watch_state.clusters.pop(self.name, None)

    def stop(self) -> None:
        """Start no further step, and end."""
        self._stopping = True
        self._stop_pass.set()
        self._trigger.fire("stop")

    async def run(self) -> None:
        """Run until `stop`."""
        context = self._context
        timing = LoopTiming(due=context.clock())
        while not self._stopping:
            # Without a fleet (the cluster has left it) the loop only has to show that it is alive.
            wait = self._compute_wait(timing) if self._fleet else context.interval
            if timing.hold_end is not None:
                wait = min(wait, LONGEST_SLEEP)
            self._pass.announce(wait)
            reasons = await self._trigger.wait(wait)
            fleet = self._fleet
            if self._stopping or fleet is None or (not reasons and self._compute_wait(timing)):
                continue
            if reasons:
                timing = reset_backoff(timing, now=context.clock())
            reasons = reasons or frozenset({timing.find_cause(wall=context.wall())})
            trigger = next((name for name in PRECEDENCE if name in reasons), min(reasons))
            timing = await self._run_and_schedule(fleet, timing, trigger)

    async def _run_and_schedule(self, fleet: Fleet, timing: LoopTiming, trigger: str) -> LoopTiming:
        """Run one pass, and give the timing of the next."""
        # A new event for each pass: `use_fleet` sets the old one, and only the pass it belongs to must stop.
        self._stop_pass = asyncio.Event()
        pass_summary, timing = await self._pass.run(fleet, timing, trigger, self._stop_pass)
        newest = self._fleet
        is_outdated = newest is not None and get_input(newest, self.name) != get_input(fleet, self.name)
        self._context.watch_state.note(self.name, is_outdated=is_outdated)
        self.waits_for_others = pass_summary.waits_for_others
        if pass_summary.is_good:
            self._on_good(self.name, pass_summary.result is PassResult.APPLIED)
        return timing

    def _compute_wait(self, timing: LoopTiming) -> float:
        return timing.compute_wait(now=self._context.clock(), wall=self._context.wall())
