"""A machine whose programs fail where a test says so."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from reconciler.host.config import HostConfig, HostFile
from reconciler.host.host import Host
from reconciler.host.subprocesses import ProgramResult
from reconciler.transports.files import FileTransport, list_programs
from reconciler.transports.machines.local import LocalMachine
from reconciler.transports.machines.machine import Machine, Machines, ProgramLost

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class FaultyMachine(Machine, Machines):
    """This machine; the connection to it breaks at one program.

    Args:
        breaks: index of that program, from 0; None for none.
        performed: whether that program runs to its end, and only its answer is lost.
        written: bytes of its standard input that reach it before.
        answers: name of a program -> the result that it gives in place of running.
        prefix: in front of each program.
    """

    def __init__(
        self,
        breaks=None,
        *,
        performed=False,
        written=None,
        answers: Mapping = MappingProxyType({}),
        prefix=(),
    ) -> None:
        self.below = LocalMachine(ENVIRONMENT)
        self.breaks = breaks
        self.performed = performed
        self.written = written
        self.answers = answers
        self.prefix = prefix
        self.programs: list[tuple[str, ...]] = []
        self.before = lambda program: None
        self.allowed: frozenset[tuple[str, ...]] = frozenset()

    @property
    def place(self):
        return "this machine"

    def find(self, ssh, *, sudo=False, values=MappingProxyType({}), variables=()):
        return self

    async def run(self, arguments, *, content=b"", seconds, limit=1024 * 1024, tail=False):
        index = len(self.programs)
        # A file of sudoers has exactly these programs: one more would be refused there.
        assert not self.allowed or tuple(arguments) in self.allowed, arguments
        self.programs.append(tuple(arguments))
        self.before(tuple(arguments))
        if arguments[0] in self.answers:
            return ProgramResult(*self.answers[arguments[0]])
        arguments = (*self.prefix, *arguments)
        if index == self.breaks:
            if self.written is not None:
                content = content[: self.written]
            if self.performed or self.written is not None:
                await self.below.run(arguments, content=content, seconds=seconds, limit=limit, tail=tail)
            raise ProgramLost("the connection broke")
        return await self.below.run(arguments, content=content, seconds=seconds, limit=limit, tail=tail)


def make_file_transport(path: Path, machine: Machines | None = None, **entry) -> FileTransport:
    """The files transport with one entry, `conf`."""
    config = HostConfig(files={"conf": HostFile(path=str(path), **entry)})
    machine = machine or FaultyMachine()
    if isinstance(machine, FaultyMachine) and "{node}" not in str(path) and not entry.get("follow"):
        machine.allowed = frozenset(list_programs(config.files["conf"], PurePosixPath(path)))
    return FileTransport(Host(config, ENVIRONMENT), machine)
