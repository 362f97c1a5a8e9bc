"""Who is under watch: a loop for every cluster of the latest fleet."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.desired.fleet import Fleet
from reconciler.errors import UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.server.cluster_loop import ClusterLoop, LoopContext, PassRunner
from reconciler.server.supervision import Loop

Spawn = Callable[[Loop, str], None]
"""Starts a loop as a task under supervision, given the name it has there."""


class ClusterLoops:
    """Hands each new fleet to the loops of its clusters; starts those that are missing, rests the others.

    A loop is never ended while the watch runs: one whose cluster left finishes the steps under way and
    rests, and goes on should the cluster come back. So no cluster ever has two.
    """

    def __init__(self, perform: PassRunner, context: LoopContext, spawn: Spawn, *, only: str = "") -> None:
        self._perform = perform
        self._context = context
        self._spawn = spawn
        self._only = only
        self._loops: dict[str, ClusterLoop] = {}
        self._stopping = False
        self.fleet: Fleet | None = None

    def publish(self, fleet: Fleet, trigger: str) -> None:
        """Have every cluster work towards this fleet from now on; nothing where the watch is to end."""
        if self._stopping:
            return
        # The same revision is published again only because its secrets are others now.
        anew = self.fleet is not None and self.fleet.revision.id == fleet.revision.id
        self.fleet = fleet
        names = [cluster_input.entry.name for cluster_input in select_clusters(fleet, self._only)]
        for name in sorted(self._loops.keys() - set(names)):
            self._loops[name].leave()
        for name in names:
            if name not in self._loops:
                self._loops[name] = ClusterLoop(name, self._perform, self._context)
                self._spawn(self._loops[name].run, f"cluster {name}")
            self._loops[name].take(fleet, trigger, anew=anew)

    def stop(self) -> None:
        """Have every loop begin no further step, and end; no fleet is taken any more."""
        self._stopping = True
        for loop in self._loops.values():
            loop.stop()


def select_clusters(fleet: Fleet, only: str) -> tuple[ClusterInput, ...]:
    """The desks that are watched: all, or the one that `only` names or that has the node it names.

    Raises:
        UsageError: the fleet has neither.
    """
    if not only:
        return fleet.cluster_inputs
    cluster_inputs = tuple(
        cluster_input
        for cluster_input in fleet.cluster_inputs
        if only == cluster_input.entry.name
        or any(
            only in {node.name, f"{cluster_input.entry.name}/{node.name}"}
            for node in cluster_input.entry.members()
        )
    )
    if not cluster_inputs:
        names = ", ".join(cluster_input.entry.name for cluster_input in fleet.cluster_inputs)
        raise UsageError(
            f"--only {only}: the fleet has no such cluster or node", remedy=f"its clusters: {names}"
        )
    return cluster_inputs
