"""The commands of a host for a cluster's nodes, and what each does to a simulated one; pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from reconciler.core.command_reference import NamedCommand
from reconciler.drivers.collab.schema import CollabCluster
from reconciler.ports.simulator import SimulatedCommand


class CommandEffect(StrEnum):
    """What a command of the host does to a simulated node."""

    RESTART = "restart"
    START = "start"
    STOP = "stop"
    RELOAD = "reload"


def list_commands(entries: Iterable[CollabCluster]) -> dict[str, tuple[CommandEffect, SimulatedCommand]]:
    """Name -> what it does, of all commands that the clusters name."""
    found: dict[str, tuple[CommandEffect, SimulatedCommand]] = {}

    def add(command: NamedCommand | None, effect: CommandEffect) -> None:
        if command is not None:
            known = SimulatedCommand(tuple(sorted(command.arguments)))
            found.setdefault(command.command, (effect, known))

    for entry in entries:
        add(entry.restart, CommandEffect.RESTART)
        add(entry.start, CommandEffect.START)
        add(entry.stop, CommandEffect.STOP)
        add(entry.redis.restart if entry.redis is not None else None, CommandEffect.RESTART)
        add(entry.balancer.reload if entry.balancer is not None else None, CommandEffect.RELOAD)
    return found
