"""One loop for every cluster of the latest fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from reconciler.core.selection import EVERYTHING, Selection, select_nodes
from reconciler.desired.fleet import Fleet
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.inventory import Inventory
from reconciler.server.cluster_loop import ClusterLoop
from reconciler.server.cluster_pass import LoopContext, PassRunner
from reconciler.server.supervision import Loop

Spawn = Callable[[Loop, str], None]
"""Starts a loop as a task under supervision, given the name it has there."""


class PassScheduler(Protocol):
    """Decides when a pass over each cluster runs: loops of this host, or a queue that hosts share."""

    fleet: Fleet | None

    def publish(self, fleet: Fleet, trigger: str) -> None:
        """Use this fleet for every cluster from now on; does nothing if the watch is stopping."""

    def use_inventory(self, inventory: Inventory) -> None:
        """Use a newer list of the same instances from now on; no pass begins for it."""

    def request_pass(self, cluster: str = "") -> tuple[str, ...]:
        """Run a pass over a cluster, or over every one, now; gives their names."""

    def stop(self) -> None:
        """Start no further step, and accept no further fleet."""


class ClusterLoops:
    """Gives each new fleet to the loops of its clusters, and starts a loop for each new cluster."""

    # A loop never ends while the watch runs. If its cluster leaves the fleet, it finishes the running steps
    # and waits; if the cluster returns, it continues. So two loops can never work on one cluster.

    def __init__(
        self, perform: PassRunner, context: LoopContext, spawn: Spawn, *, only: Selection = EVERYTHING
    ) -> None:
        self._perform = perform
        self._context = context
        self._spawn = spawn
        self._only = only
        self._loops: dict[str, ClusterLoop] = {}
        self._stopping = False
        self.fleet: Fleet | None = None

    def publish(self, fleet: Fleet, trigger: str) -> None:
        """Use this fleet for every cluster from now on; does nothing if the watch is stopping."""
        if self._stopping:
            return
        # The same revision is published again only when its secrets have changed.
        force = self.fleet is not None and self.fleet.revision.id == fleet.revision.id
        self.fleet = fleet
        names = [cluster_input.entry.name for cluster_input in select_clusters(fleet, self._only)]
        for name in sorted(self._loops.keys() - set(names)):
            self._loops[name].pause()
        for name in names:
            if name not in self._loops:
                self._loops[name] = ClusterLoop(name, self._perform, self._context, self._wake_following)
                self._spawn(self._loops[name].run, f"cluster {name}")
            self._loops[name].use_fleet(fleet, trigger, force=force)

    def use_inventory(self, inventory: Inventory) -> None:
        """Use a newer list of the same instances from now on; no pass begins for it."""
        if self.fleet is not None:
            self.fleet = replace(self.fleet, inventory=inventory)
        for loop in self._loops.values():
            loop.use_inventory(inventory)

    def request_pass(self, cluster: str = "") -> tuple[str, ...]:
        """Run a pass over a cluster, or over every one, now; gives their names."""
        # Of a cluster that has left the fleet there is a loop, too; its pass does nothing.
        found = tuple(name for name in sorted(self._loops) if cluster in {"", name})
        for name in found:
            self._loops[name].request_pass("request")
        return found

    def _wake_following(self, cluster: str, is_changed: bool) -> None:  # noqa: FBT001  (a callback)
        """Run a pass over the clusters that wait for one that is as desired now."""
        for name in list_followers(self.fleet, cluster) if self.fleet else ():
            loop = self._loops.get(name)
            # Also one that does not know yet that it waits: its pass may have read the nodes before.
            if loop and (is_changed or loop.waits_for_others):
                loop.request_pass("request")

    def stop(self) -> None:
        """Stop every loop: none starts another step, and no further fleet is accepted."""
        self._stopping = True
        for loop in self._loops.values():
            loop.stop()


def list_followers(fleet: Fleet, cluster: str) -> list[str]:
    """The clusters that come after this one by order of the fleet file."""
    return [one.entry.name for one in fleet.cluster_inputs if cluster in one.entry.after]


def select_clusters(fleet: Fleet, only: Selection, *, is_lenient: bool = True) -> tuple[ClusterInput, ...]:
    """The clusters to watch: all that have a selected node.

    Args:
        fleet: the newest one.
        only: what the watch is restricted to.
        is_lenient: whether what is to be left out may be missing, because a later revision has removed it.

    Raises:
        UsageError: the fleet has nothing of it.
    """
    selected = select_nodes(only, [one.entry for one in fleet.cluster_inputs], is_lenient=is_lenient)
    return tuple(one for one in fleet.cluster_inputs if one.entry.name in selected)
