"""One SSH connection: the address within the host's networks, the host key verified, the login by key."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__
from reconciler.host.config import SshWay
from reconciler.host.config_fields import Network
from reconciler.transports.machines.machine import MachineError, MachineUnreachable
from reconciler.transports.machines.ssh_credentials import CredentialFiles, SshCredentials
from reconciler.transports.machines.ssh_errors import (
    NETWORK_REMEDY,
    HostKeyWitness,
    OutsideNetworks,
    explain_connect_error,
    explain_login_error,
)
from reconciler.transports.networks import is_within_networks

if TYPE_CHECKING:
    import asyncssh

_SIGNS_OF_LIFE: Final = 3
"""Unanswered signs of life after which a connection counts as broken."""

_RESOLVE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class SshDestination:
    """One machine by one way.

    Args:
        name: of the way in `ssh`.
        host: its name or address, with the node's values in it.
        is_node: whether a node is reached, so that `networks` counts; a jump host is chosen by this host.
    """

    name: str
    way: SshWay
    host: str
    is_node: bool = True

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.way.port}" if ":" in self.host else f"{self.host}:{self.way.port}"

    @property
    def place(self) -> str:
        """The way and its address, for messages."""
        return f"{self.way.user}@{self.address} (`ssh.{self.name}`)"


class SshConnector:
    """Makes connections.

    Args:
        networks: of the host configuration; nodes outside are not connected to. Empty for all.
        files: the keys and known hosts of the ways.
    """

    def __init__(self, networks: tuple[Network, ...], files: CredentialFiles) -> None:
        self._networks = networks
        self._files = files

    async def connect(
        self, destination: SshDestination, jump: asyncssh.SSHClientConnection | None = None
    ) -> asyncssh.SSHClientConnection:
        """A connection that is logged in.

        Args:
            destination: where to.
            jump: connection to the jump host; None to connect from this machine.

        Raises:
            DroppedBeforeLogin: the server closed the connection early; another attempt may succeed.
            MachineError: it cannot be made; nothing was started.
        """
        try:
            credentials = self._files.read(destination.way)
            agent = await self._files.open_agent(destination.way)
        except MachineError as error:
            raise type(error)(f"{destination.place}: {error}", remedy=error.remedy) from error
        agent_client, agent_keys = agent or (None, ())
        try:
            if jump is not None:
                self._check_behind_jump(destination)
            connected = None if jump is not None else await self._open_socket(destination)
            return await self._log_in(destination, credentials, agent_keys, connected, jump)
        finally:
            if agent_client is not None:
                agent_client.close()

    async def _open_socket(self, destination: SshDestination) -> socket.socket:
        """A TCP connection to the first address of the host that answers, all within the networks."""
        loop, seconds = asyncio.get_running_loop(), destination.way.timeouts.connect
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await loop.getaddrinfo(
                    destination.host, destination.way.port, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise MachineUnreachable(
                f"{destination.place}: the name {destination.host} does not resolve",
                remedy="correct the node's host in the fleet file, or `host` of the way",
            ) from error
        failure: Exception = OSError("it has no address")
        try:
            async with asyncio.timeout(seconds):
                for family, kind, protocol, _, address in found:
                    try:
                        return await self._connect_socket(destination, (family, kind, protocol), address)
                    except OSError as error:
                        failure = error
        except TimeoutError as error:
            failure = error
        raise explain_connect_error(failure, destination.place, seconds) from failure

    async def _connect_socket(
        self, destination: SshDestination, kind: tuple[int, int, int], address: Any
    ) -> socket.socket:
        # The address is checked right before the connection to it, so that a name cannot change in between.
        if destination.is_node and self._networks and not is_within_networks(address[0], self._networks):
            raise OutsideNetworks(address[0])
        made = socket.socket(*kind)
        try:
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return made

    def _check_behind_jump(self, destination: SshDestination) -> None:
        """Check an address behind a jump host; a name resolves there, so that it must be a listed one."""
        if not self._networks or not destination.is_node:
            return
        check_behind_jump(destination.host, self._networks, destination.way.names, destination.place)

    async def _log_in(
        self,
        destination: SshDestination,
        credentials: SshCredentials,
        agent_keys: Any,
        connected: socket.socket | None,
        jump: asyncssh.SSHClientConnection | None,
    ) -> asyncssh.SSHClientConnection:
        import asyncssh  # noqa: PLC0415  (heavy: loaded with the first connection)

        way = destination.way
        witness = HostKeyWitness(destination.host, way.port, way.known_hosts, credentials.known_hosts)
        keys = [(each.key, each.certificate) if each.certificate else each.key for each in credentials.keys]
        offered = [*keys, *agent_keys]
        try:
            async with asyncio.timeout(way.timeouts.login):
                return await asyncssh.connect(
                    destination.host,
                    way.port,
                    sock=connected,
                    tunnel=jump or (),
                    client_factory=witness.make_client,
                    client_version=f"reconciler_{__version__}",
                    username=way.user,
                    client_keys=offered or None,
                    known_hosts=credentials.known_hosts,
                    # Everything else that asyncssh would take from the user's home or the environment is off.
                    config=None,
                    agent_path=None,
                    agent_forwarding=False,
                    send_env=None,
                    x509_trusted_certs=None,
                    x509_trusted_cert_paths=[],
                    gss_host=None,
                    preferred_auth=["publickey"],
                    password_auth=False,
                    kbdint_auth=False,
                    host_based_auth=False,
                    disable_trivial_auth=True,
                    login_timeout=0,
                    keepalive_interval=way.timeouts.alive,
                    keepalive_count_max=_SIGNS_OF_LIFE,
                    compression_algs=None,
                )
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            if connected is not None:
                with suppress(OSError):
                    connected.close()
            tried = [each.name for each in credentials.keys]
            tried += [f"{each.get_comment() or 'a key'} of the agent" for each in agent_keys]
            raise explain_login_error(error, destination.place, way, witness, tried) from error


def check_behind_jump(host: str, networks: tuple[Network, ...], names: tuple[str, ...], place: str) -> None:
    """Check that a host behind a jump host is allowed: an address in a network, or a listed name.

    Args:
        host: a name or an address.
        networks: of the host configuration, at least one.
        names: of the way.
        place: for the message.

    Raises:
        MachineUnreachable: it is not.
    """
    try:
        ip_address(host)
    except ValueError:
        if any(fnmatchcase(host.lower(), pattern.lower()) for pattern in names):
            return
        raise MachineUnreachable(
            f"{place}: the name {host} resolves at the jump host, so that `networks` cannot be checked",
            remedy="write the node's address in the fleet file, or add the name to `names` of the way",
        ) from None
    if not is_within_networks(host, networks):
        raise MachineUnreachable(f"{place}: {OutsideNetworks(host)}", remedy=NETWORK_REMEDY)
