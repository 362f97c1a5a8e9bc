"""What a machine does: it runs one program to its end, within bounds, and says what is known of a failure."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from reconciler.core.observation import Liveness
from reconciler.errors import NodeError, NodeRefused, NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.host.subprocesses import OutputTooLarge, ProgramError, ProgramMissing, ProgramResult

OUTPUT_KEPT: Final = 1024 * 1024
"""Default limit of standard output in bytes."""

SUDO: Final = ("sudo", "-n", "--")
"""In front of a program that runs as root; `-n`: sudo asks nobody for a password."""

_SUDO_SPEAKS: Final = b"sudo: "
_NOT_ALLOWED: Final = b"is not allowed to execute"


class MachineError(ProgramError):
    """A machine could not be used, or was lost; the text gives the reason, without the node's name.

    Args:
        remedy: what to do about it.
        sent: whether the program may have started.
        sign: what the failure says about the node's address.
    """

    def __init__(
        self, why: str, *, remedy: str = "", sent: bool = False, sign: Liveness = Liveness.UNASKED
    ) -> None:
        super().__init__(why)
        self.remedy = remedy
        self.sent = sent
        self.sign = sign


class MachineUnreachable(MachineError):
    """No connection; nothing was started."""


class MachineUnidentified(MachineError):
    """The machine does not prove that it is the expected one; nothing was started."""


class LoginRefused(MachineError):
    """The machine refuses the login of this host, or its administrator's rights; nothing was started."""


class ProgramLost(MachineError):
    """The connection broke while the program ran; whether it had an effect is unknown."""

    def __init__(self, why: str, *, remedy: str = "") -> None:
        super().__init__(why, remedy=remedy, sent=True, sign=Liveness.ALIVE)


class Machine(ABC):
    """One machine, as one user, with or without sudo."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where programs run, for messages: "this machine", or the way and its address."""

    @abstractmethod
    async def run(
        self,
        arguments: Sequence[str],
        *,
        content: bytes = b"",
        seconds: float,
        limit: int = OUTPUT_KEPT,
        tail: bool = False,
    ) -> ProgramResult:
        """Run a program to its end. Its status is the caller's to judge.

        Args:
            arguments: the program and its arguments; each stays one argument, whatever characters it has.
            content: its standard input.
            seconds: timeout of the program, without the time for the connection.
            limit: bytes of standard output.
            tail: keep the last `limit` bytes of standard output and error together; more is no error.

        Raises:
            ProgramMissing: it cannot be started. A machine behind SSH gives status 127 instead.
            ProgramTimeout: it did not end in time; the text says whether it was ended.
            OutputTooLarge: it wrote more than `limit` bytes and was ended; its effect is unknown.
            MachineError: the machine could not be used or was lost; `sent` tells whether it may have started.
        """


class Machines(ABC):
    """Finds the machine for an entry of the host configuration."""

    @abstractmethod
    def find(
        self,
        ssh: str | None,
        *,
        sudo: bool = False,
        values: Mapping[str, str] = MappingProxyType({}),
        variables: Sequence[str] = (),
    ) -> Machine:
        """The machine, without a connection to it yet.

        Args:
            ssh: name of the entry of `ssh`; None for this machine.
            sudo: run programs with sudo, also where the way itself does not say so.
            values: `node` and `host` of the node, for the way's address; not used for this machine.
            variables: further variables of this process for programs of this machine; not used over SSH.

        Raises:
            MachineError: there is no such way, or a value does not fit its address.
        """


class Tunnels(ABC):
    """Connections through the machines of ways, for protocols other than programs."""

    @abstractmethod
    async def open_tunnel(self, via: str, host: str, port: int) -> socket.socket:
        """A socket whose bytes the machine of a way passes on to a node, and back; the caller closes it.

        Args:
            via: name of the entry of `ssh`; its machine must be a fixed one.
            host: of the node; a name resolves at that machine.
            port: of the node.

        Raises:
            MachineUnreachable: there is no such way, or no connection to it, or none from there to the node.
                Its `sign` is about the node.
        """


def make_node_error(error: ProgramError, node: str, what: str) -> NodeError:
    """The failure of a program as the error of a node.

    Args:
        error: from `Machine.run`.
        node: the name for errors.
        what: ran, such as "the command restart-sora".
    """
    match error:
        case LoginRefused():
            return NodeUnauthorized(node, f"cannot run {what}: {error}", remedy=error.remedy)
        case MachineUnidentified():
            words = f"cannot run {what}: {error}"
            return NodeUnidentified(node, words, remedy=error.remedy, sign=error.sign, sent=False)
        case MachineError():
            words = f"{what}: {error}" if error.sent else f"cannot run {what}: {error}"
            return NodeUnreachable(node, words, remedy=error.remedy, sign=error.sign, sent=error.sent)
        case ProgramMissing():
            return NodeRefused(node, f"cannot run {what}: {error}", status=0, code="COMMAND", again=True)
        case OutputTooLarge() | _:
            return NodeUnreachable(node, f"{what} {error}")


def explain_sudo(result: ProgramResult) -> str:
    """Why sudo did not start the program, as a remedy; empty if it did.

    Args:
        result: of a machine with sudo; with `tail`, standard error is part of its output.
    """
    said = result.error or result.out
    if not result.status or (_SUDO_SPEAKS not in said and _NOT_ALLOWED not in said):
        return ""
    return (
        "allow the user exactly this program with NOPASSWD in a file of /etc/sudoers.d, and check it with "
        "`sudo -l`"
    )
