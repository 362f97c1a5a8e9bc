"""Why an SSH connection failed: the one place that translates errors of asyncssh, each with what to do."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.observation import Liveness
from reconciler.host.config import SshWay
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import make_one_line
from reconciler.transports.machines.machine import (
    LoginRefused,
    MachineError,
    MachineUnidentified,
    MachineUnreachable,
)

if TYPE_CHECKING:
    import asyncssh

NETWORK_REMEDY: Final = "add the network to `networks` of the host configuration, if nodes are to be there"

_NOTHING_THERE: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the host",
    errno.EHOSTDOWN: "the host is down",
    errno.ETIMEDOUT: "no answer to the connection attempt",
}
_NOBODY_THERE: Final = ("refused", "errno 111", "no route", "timed out", "host is down")
"""Words of a jump host about a node to which it found nothing to connect."""

_SSH_PORT: Final = 22


class OutsideNetworks(OSError):
    """A connection is refused: its address is in none of the host's networks."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is in none of the networks that this host allows for nodes "
            "(`networks` in the host configuration)"
        )


class DroppedBeforeLogin(MachineUnreachable):
    """The server closed the connection before the login ended, as sshd does with too many at once."""


class HostKeyWitness:
    """Remembers the host key that a server showed, which asyncssh does not tell.

    Args:
        host: as the way names it.
        port: of the server.
        file: of the known hosts, for messages.
        known: its content.
    """

    def __init__(self, host: str, port: int, file: Path, known: asyncssh.SSHKnownHosts) -> None:
        self._host = host
        self._port = port
        self._file = file
        self._known = known
        self._key: asyncssh.SSHKey | None = None
        self._authority: asyncssh.SSHKey | None = None
        self._address = ""

    def make_client(self) -> asyncssh.SSHClient:
        """The object that asyncssh asks about keys that it does not know."""
        import asyncssh  # noqa: PLC0415  (heavy: loaded with the first connection)

        witness = self

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, *found: Any) -> bool:
                _, witness._address, _, witness._key = found
                return False

            def validate_host_ca_key(self, *found: Any) -> bool:
                _, witness._address, _, witness._authority = found
                return False

        return Client()

    def explain(self, place: str, why: str) -> MachineUnidentified:
        """The error for a host key that is not accepted, with its fingerprint and what to do.

        Args:
            place: where the connection went.
            why: of asyncssh.
        """
        key = self._key or self._authority
        if key is None:  # revoked, expired, or of another name: asyncssh says which
            return MachineUnidentified(
                f"{place}: the host key is refused: {_shorten(why)}",
                remedy=f"check the key of the machine and its lines in {self._file}",
                sign=Liveness.ALIVE,
            )
        kind = key.get_algorithm()
        shown = f"{kind} {key.get_fingerprint()}"
        known = [one.get_fingerprint() for one in self._find_known()]
        if self._authority is not None:
            what = f"its host certificate is signed by {shown}, which {self._file} does not have as a CA"
            line = f"@cert-authority {self._host_entry()} {_export(key)}"
        elif known:
            what = f"its host key CHANGED: it is {shown}, and {self._file} has {', '.join(known[:5])}"
            line = f"{self._host_entry()} {_export(key)}"
        else:
            what = f"its host key is not known: {shown} is not in {self._file}"
            line = f"{self._host_entry()} {_export(key)}"
        path = f"/etc/ssh/ssh_host_{kind.removeprefix('ssh-').partition('-')[0]}_key.pub"
        verify = (
            f"`ssh-keygen -l -f {path}` on the machine" if self._authority is None else "the CA's own key"
        )
        warning = "somebody may stand in between, or the machine was made anew; " if known else ""
        old = (
            f" in place of the old one (`ssh-keygen -f {self._file} -R '{self._host_entry()}'`)"
            if known
            else ""
        )
        return MachineUnidentified(
            f"{place}: {what}",
            remedy=f"{warning}compare the fingerprint with {verify}, and only if it is equal, add this line"
            f"{old}: {line}",
            sign=Liveness.ALIVE,
        )

    def _find_known(self) -> Sequence[asyncssh.SSHKey]:
        port = None if self._port == _SSH_PORT else self._port
        hosts, authorities, *_ = self._known.match(self._host, self._address, port)
        return [*hosts, *authorities]

    def _host_entry(self) -> str:
        return self._host if self._port == _SSH_PORT else f"[{self._host}]:{self._port}"


def explain_connect_error(error: Exception, place: str, seconds: float) -> MachineUnreachable:
    """Why there is no TCP connection."""
    if isinstance(error, OutsideNetworks):
        return MachineUnreachable(f"{place}: {error}", remedy=NETWORK_REMEDY)
    if isinstance(error, TimeoutError):
        words = f"no connection within {seconds:g} s"
        return MachineUnreachable(f"{place}: {words}", remedy=_CHECK_MACHINE, sign=Liveness.SILENT)
    number = error.errno if isinstance(error, OSError) else None
    sign = Liveness.SILENT if number in _NOTHING_THERE else Liveness.UNASKED
    words = _NOTHING_THERE.get(number or 0) or _shorten(getattr(error, "strerror", None) or error)
    return MachineUnreachable(f"{place}: {words}", remedy=_CHECK_MACHINE, sign=sign)


_CHECK_MACHINE: Final = (
    "check that the machine and its SSH server run, and that the address and `port` are right"
)


def explain_login_error(  # noqa: PLR0911  (one for each kind)
    error: Exception, place: str, way: SshWay, witness: HostKeyWitness, tried: Sequence[str]
) -> MachineError:
    """Why a connection did not get through the exchange of keys and the login.

    Args:
        error: of asyncssh, or of the connection.
        place: where it went.
        way: of the host configuration.
        witness: of this connection.
        tried: the keys, for messages.
    """
    import asyncssh  # noqa: PLC0415

    match error:
        case asyncssh.HostKeyNotVerifiable():
            return witness.explain(place, error.reason)
        case asyncssh.PermissionDenied():
            keys = "; ".join(tried[:10]) or "no key"
            return LoginRefused(
                f"{place}: the server refuses the login of {way.user} with {keys}",
                remedy=f"add the public key to authorized_keys of {way.user} on the machine, or let its CA "
                "sign it; `journalctl -u ssh` there says why it was refused",
                sign=Liveness.ALIVE,
            )
        case asyncssh.ChannelOpenError():
            return MachineUnreachable(
                f"{place}: the jump host `ssh.{way.jump}` cannot connect to it: {_shorten(error.reason)}",
                remedy=_CHECK_JUMP.format(name=way.jump),
                sign=_judge_refusal(error),
            )
        case asyncssh.KeyExchangeFailed():
            return MachineUnidentified(
                f"{place}: no common method: {_shorten(error.reason)}",
                remedy=f"the server needs a host key of a type that {way.known_hosts} has for it, and "
                "ciphers that are not outdated",
                sign=Liveness.ALIVE,
            )
        case TimeoutError():
            words = f"the login did not end within {way.timeouts.login:g} s"
            return MachineUnreachable(f"{place}: {words}", remedy=_CHECK_LOAD, sign=Liveness.ALIVE)
        case asyncssh.ConnectionLost() | ConnectionError():
            return DroppedBeforeLogin(
                f"{place}: the server closed the connection before the login",
                remedy=_CHECK_LOAD,
                sign=Liveness.ALIVE,
            )
        case _:
            reason = getattr(error, "reason", None) or error
            return MachineUnreachable(
                f"{place}: {_shorten(reason)}", remedy=_CHECK_MACHINE, sign=Liveness.ALIVE
            )


def explain_tunnel_error(error: Exception, place: str, name: str, seconds: float) -> MachineUnreachable:
    """Why a machine passes nothing on to a node."""
    import asyncssh  # noqa: PLC0415

    sign = Liveness.UNASKED
    if isinstance(error, TimeoutError):
        # The node may be silent, or the machine may stall: nothing shows which.
        words = f"no connection from there within {seconds:g} s"
    elif isinstance(error, asyncssh.ChannelOpenError):
        words = f"no connection from there: {_shorten(error.reason)}"
        sign = _judge_refusal(error)
    else:
        words = f"the connection to it broke: {_shorten(error)}"
    return MachineUnreachable(f"via {place}: {words}", remedy=_CHECK_JUMP.format(name=name), sign=sign)


def _judge_refusal(error: asyncssh.ChannelOpenError) -> Liveness:
    """What a machine that passes nothing on shows about the node behind it."""
    import asyncssh  # noqa: PLC0415

    # Only what its own attempt met: a forbidden forwarding or an unknown name says nothing about the node.
    was_tried = error.code == asyncssh.OPEN_CONNECT_FAILED
    met = error.reason.lower()
    return Liveness.SILENT if was_tried and any(words in met for words in _NOBODY_THERE) else Liveness.UNASKED


_CHECK_JUMP: Final = (
    "check from the machine of `ssh.{name}` that the node answers, that its name resolves there, and that "
    "AllowTcpForwarding and PermitOpen of its sshd allow it"
)
_CHECK_LOAD: Final = (
    "check the load of the machine, and MaxStartups and the log of its sshd: it closes connections when too "
    "many log in at once, and after many refused logins"
)


def _export(key: asyncssh.SSHKey) -> str:
    kind, text, *_ = key.export_public_key().decode("ascii", "replace").split()
    return f"{kind} {text}"


def _shorten(error: Any) -> str:
    return make_one_line(SHAPES.redact_text(str(error)), 200) or "no reason is given"
