"""Who is under watch: a loop for every cluster of the latest fleet."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.desired.fleet import Fleet
from reconciler.errors import UsageError
from reconciler.ports.desk import Desk
from reconciler.server.cluster_loop import ClusterLoop, Pass, Surroundings
from reconciler.server.supervision import Loop

Spawn = Callable[[Loop, str], None]
"""Starts a loop as a task under supervision, given the name it has there."""


class Roster:
    """Hands each new fleet to the loops of its clusters; starts those that are missing, rests the others.

    A loop is never ended while the watch runs: one whose cluster left finishes the steps under way and
    rests, and goes on should the cluster come back. So no cluster ever has two.
    """

    def __init__(self, perform: Pass, around: Surroundings, spawn: Spawn, *, only: str = "") -> None:
        self._perform = perform
        self._around = around
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
        names = [desk.entry.name for desk in chosen(fleet, self._only)]
        for name in sorted(self._loops.keys() - set(names)):
            self._loops[name].leave()
        for name in names:
            if name not in self._loops:
                self._loops[name] = ClusterLoop(name, self._perform, self._around)
                self._spawn(self._loops[name].run, f"cluster {name}")
            self._loops[name].take(fleet, trigger, anew=anew)

    def stop(self) -> None:
        """Have every loop begin no further step, and end; no fleet is taken any more."""
        self._stopping = True
        for loop in self._loops.values():
            loop.stop()


def chosen(fleet: Fleet, only: str) -> tuple[Desk, ...]:
    """The desks that are watched: all, or the one that `only` names or that has the node it names.

    Raises:
        UsageError: the fleet has neither.
    """
    if not only:
        return fleet.desks
    desks = tuple(
        desk
        for desk in fleet.desks
        if only == desk.entry.name
        or any(only in {node.name, f"{desk.entry.name}/{node.name}"} for node in desk.entry.members())
    )
    if not desks:
        names = ", ".join(desk.entry.name for desk in fleet.desks)
        raise UsageError(
            f"--only {only}: the fleet has no such cluster or node", remedy=f"its clusters: {names}"
        )
    return desks
