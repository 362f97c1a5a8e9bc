"""Simulated machines with files and commands, as plain data; pure.

Simulators, fault trials, model checker and tests share them. A product on a machine has loaded a file as a
real one does: when it was started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.core.file_state import FilePlace, FileState, compute_file_digest
from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.ports.transport import Commands, Files, refuse_file


@dataclass(slots=True)
class SimulatedFile:
    """One file of a simulated node, with what lies beside it.

    Args:
        content: None if there is no file.
        staged: written aside and checked.
        backup: what the last switch replaced.
        leftover: written aside in part, or not checked.
        is_full: whether there is no room for another content.
        broken: how many bytes of the next content are written before the connection breaks; None if it does
            not.
    """

    content: bytes | None = None
    staged: bytes | None = None
    backup: bytes | None = None
    leftover: bytes | None = None
    is_full: bool = False
    broken: int | None = None

    def state(self) -> FileState:
        """What a reading shows."""
        return FileState(
            self.content,
            compute_file_digest(self.staged),
            compute_file_digest(self.backup),
            self.leftover is not None,
        )


FileCheck = Callable[[FilePlace, bytes], str]
"""What the check of an entry says against a content; empty if it is good."""


def _accept(place: FilePlace, content: bytes) -> str:  # noqa: ARG001
    return ""


@dataclass(slots=True)
class SimulatedMachine:
    """A machine with files, and a product that loads them when it starts.

    Args:
        files: entry -> its file.
        commands: name -> what it does to this machine; gives its output.
        loaded: entry -> the content that the running product has loaded; empty while it is stopped.
        starts: how often the product was started.
        is_silent: whether the machine cannot be reached.
    """

    files: dict[str, SimulatedFile] = field(default_factory=dict)
    commands: dict[str, Callable[[SimulatedMachine, Mapping[str, str]], str]] = field(default_factory=dict)
    loaded: dict[str, bytes | None] = field(default_factory=dict)
    starts: int = 0
    is_silent: bool = False

    def start(self) -> None:
        """Start the product, or start it again."""
        self.loaded = {entry: file.content for entry, file in self.files.items()}
        self.starts += 1

    def stop(self) -> None:
        """Stop the product."""
        self.loaded = {}


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
            raise NodeRefused(
                node, f"this host has no command {command!r}", status=0, code="COMMAND", again=True
            )
        return machine.commands[command](machine, values)

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        return await self.run(command, values, node=node)


def _find_machine(machines: Mapping[str, SimulatedMachine], node: str) -> SimulatedMachine:
    if node not in machines or machines[node].is_silent:
        raise NodeUnreachable(node, "no connection", sign="silent", sent=False)
    return machines[node]
