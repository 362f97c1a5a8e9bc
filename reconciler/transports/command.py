"""Commands of the host: the fleet file names one and gives data, the host configuration defines it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.host.host import Host
from reconciler.host.subprocesses import OutputTooLarge, ProgramError, ProgramMissing, ProgramResult
from reconciler.ports.transport import Commands
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import UNSEEN
from reconciler.transports.machines.machine import Machines, make_node_error

KEPT: Final = 300
"""Characters kept of the end of a command's output."""

CODE: Final = "COMMAND"
"""The code of every refusal by this transport."""

MOST_READ: Final = 1_000_000
"""Output limit of a reading command in bytes."""

_TAIL: Final = 4096
TOKEN: Final = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)\}")
"""A placeholder of a command, or a literal brace."""

_VALUE: Final = re.compile(r"[0-9A-Za-z_.:@+][0-9A-Za-z_.:@+=,%\-]{0,255}")


class BadCommand(ValueError):
    """A placeholder of a command cannot be filled; the text gives the reason."""


def fill_arguments(run: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """The argument vector of a command, with values for its placeholders.

    Args:
        run: the vector in the host configuration; `{{` and `}}` are literal braces.
        values: placeholder -> text.

    Raises:
        BadCommand: a value is not safe, missing or unused.
    """
    # A value must not become an option or a second argument. Characters of the shell are refused although no
    # shell runs here: `ssh` joins its arguments and gives them to a shell on the other side.
    for name, value in values.items():
        if not _VALUE.fullmatch(value):
            raise BadCommand(
                f"the value of {name} may contain only letters, digits and . : @ + = , % _ - and "
                "must not begin with - = , or %"
            )
    used: set[str] = {"node", "host"}

    def text_of(token: re.Match[str]) -> str:
        name = token[1]
        if name is None:
            return token[0][0]
        if name not in values:
            raise BadCommand(f"it needs a value for {{{name}}}")
        used.add(name)
        return values[name]

    filled = tuple(TOKEN.sub(text_of, argument) for argument in run)
    if unused := sorted(values.keys() - used):
        raise BadCommand(f"it has no placeholder for {', '.join(unused)}")
    return filled


class CommandTransport(Commands):
    """Runs the commands of one host.

    Args:
        host: defines the commands.
        machines: run them.
    """

    def __init__(self, host: Host, machines: Machines) -> None:
        self._host = host
        self._machines = machines

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        result = await self._run_to_end(command, values, node, limit=_TAIL, tail=True)
        words = _shorten_output(result.out)
        suffix = f": {words}" if words else ""
        if result.status:
            words = f"the command {command} ended with status {result.status}{suffix}"
            raise _make_refusal(node, words, status=result.status)
        return f"the command {command} ended with status 0{suffix}"

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        known = self._host.config.commands.get(command)
        if known is not None and not known.reads:
            # Desired state names the command: a pull request could otherwise make a dry run stop a node.
            why = f"the command {command} is not marked as one that only reads, so nothing was run"
            remedy = f"name another command, or add `reads: true` to it in {_describe_file(self._host)}"
            raise _make_refusal(node, why, remedy=remedy)
        try:
            result = await self._run_to_end(command, values, node, limit=MOST_READ, tail=False)
        except OutputTooLarge as error:
            raise NodeUnreachable(node, f"the command {command} {error}") from error
        if result.status:
            # A failed read never means absent: the state is unknown.
            words = _shorten_output(result.error) or "no output"
            raise NodeUnreachable(node, f"the command {command} ended with status {result.status}: {words}")
        return result.out.decode("utf-8", "replace")

    async def _run_to_end(
        self, command: str, values: Mapping[str, str], node: str, *, limit: int, tail: bool
    ) -> ProgramResult:
        host, known = self._host, self._host.config.commands.get(command)
        if known is None:
            raise _make_refusal(
                node, f"this host has no command {command!r}", remedy=f"add it to {_describe_file(host)}"
            )
        try:
            arguments = fill_arguments(known.run, values)
            machine = self._machines.find(
                known.ssh, sudo=known.sudo, values=values, variables=known.variables
            )
            return await machine.run(arguments, seconds=known.timeout, limit=limit, tail=tail)
        except (BadCommand, ProgramMissing) as error:
            why = f"cannot run the command {command}: {error}"
            raise _make_refusal(
                node, why, remedy=f"correct it in {_describe_file(host)} or in the fleet file"
            ) from error
        except OutputTooLarge:
            raise
        except ProgramError as error:
            raise make_node_error(error, node, f"the command {command}") from error


def _make_refusal(node: str, why: str, *, status: int = 0, remedy: str = "") -> NodeRefused:
    """A refusal that is worth a retry: the host file may be corrected, or a machine may return."""
    return NodeRefused(node, why, status=status, code=CODE, remedy=remedy, again=True)


def _describe_file(host: Host) -> str:
    return f"`commands` of the host configuration{f', {host.file}' if host.file else ''}"


def _shorten_output(out: bytes) -> str:
    # Mask before shortening: a cut secret is not recognised any more.
    text = SHAPES.redact_text(out.decode("utf-8", "replace"))
    words = " ".join(UNSEEN.sub(" ", text).split())
    return words if len(words) <= KEPT else f"…{words[-KEPT:]}"
