"""The transports to simulated machines, which fault trials, model checker and tests share; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.core.file_state import FilePlace, FileState
from reconciler.errors import NodeUnreachable
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.simulator import refuse_command
from reconciler.ports.transport import Commands, Files, refuse_file

FileCheck = Callable[[FilePlace, bytes], str]
"""What the check of an entry says against a content; empty if it is good."""


def _accept(place: FilePlace, content: bytes) -> str:  # noqa: ARG001
    return ""


class SimulatedFiles(Files):
    """The files transport to simulated nodes.

    Args:
        machines: node -> its machine.
        check: of every entry.
    """

    def __init__(self, machines: Mapping[str, SimulatedMachine], *, check: FileCheck = _accept) -> None:
        self.machines = machines
        self.check = check

    async def read(self, place: FilePlace) -> FileState:
        return self._find(place).state()

    async def stage(self, place: FilePlace, content: bytes) -> str:
        file = self._find(place)
        file.staged = None
        if file.broken is not None:
            file.leftover, file.broken = content[: file.broken], None
            raise NodeUnreachable(place.node, f"the connection broke while {place.entry} was written")
        if file.is_full:
            file.leftover = None
            raise refuse_file(place, "cannot be written aside: No space left on device")
        if words := self.check(place, content):
            file.leftover = None
            raise refuse_file(place, f"is refused by its check: {words}", again=False)
        file.staged, file.leftover = content, None
        return f"{place.entry} is written aside and checked"

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        file = self._find(place)
        state = file.state()
        if state.digest != before:
            raise refuse_file(place, "is another one than when it was read")
        if state.staged != after:
            raise refuse_file(place, "has not the content beside it that is to take its place")
        file.backup, file.content, file.staged = file.content, file.staged, None
        return f"{place.entry} is in place"

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        file = self._find(place)
        state = file.state()
        if state.digest != before:
            raise refuse_file(place, "is another one than when it was switched")
        if after and state.backup != after:
            raise refuse_file(place, "has no backup of what it was")
        if after:
            file.content, file.backup = file.backup, None
        else:
            file.content = None
        return f"{place.entry} is as before"

    async def discard(self, place: FilePlace) -> str:
        file = self._find(place)
        file.staged = file.leftover = None
        return f"nothing lies beside {place.entry}"

    def _find(self, place: FilePlace) -> SimulatedFile:
        machine = _find_machine(self.machines, place.node)
        if place.entry not in machine.files:
            raise refuse_file(place, "is not in `files` of the host configuration")
        return machine.files[place.entry]


class SimulatedCommands(Commands):
    """The commands transport to simulated machines.

    Args:
        machines: node -> its machine.
    """

    def __init__(self, machines: Mapping[str, SimulatedMachine]) -> None:
        self.machines = machines

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        machine = _find_machine(self.machines, node)
        if command not in machine.commands:
            raise refuse_command(node, f"this host has no command {command!r}")
        return machine.commands[command](machine, values)

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        return await self.run(command, values, node=node)


def _find_machine(machines: Mapping[str, SimulatedMachine], node: str) -> SimulatedMachine:
    if node not in machines or machines[node].is_silent:
        raise NodeUnreachable(node, "no connection", sign="silent", sent=False)
    return machines[node]
