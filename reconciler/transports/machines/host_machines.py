"""The machines that this host reaches, found by the entries of its configuration."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from reconciler.host.config import SshWay
from reconciler.host.host import Host
from reconciler.transports.machines.local import LocalMachine
from reconciler.transports.machines.machine import Machine, Machines, MachineUnreachable, Tunnels
from reconciler.transports.machines.ssh import SshMachine
from reconciler.transports.machines.ssh_connect import SshConnector, SshDestination, check_behind_jump
from reconciler.transports.machines.ssh_credentials import CredentialFiles
from reconciler.transports.machines.ssh_pool import SshPool
from reconciler.transports.machines.ssh_tunnel import SshTunnels

_HOST: Final = re.compile(r"[0-9A-Za-z_:][0-9A-Za-z_.:\-]{0,252}")
_PLACEHOLDER: Final = re.compile(r"\{(node|host)\}")


class HostMachines(Machines, Tunnels):
    """The machines of one host, with the connections to them; the caller closes it.

    Args:
        host: defines the ways.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        files = CredentialFiles(host.environment)
        self._pool = SshPool(SshConnector(host.config.networks, files), files)
        self._tunnels = SshTunnels(self._pool)

    def find(
        self,
        ssh: str | None,
        *,
        sudo: bool = False,
        values: Mapping[str, str] = MappingProxyType({}),
        variables: Sequence[str] = (),
    ) -> Machine:
        if ssh is None:
            return LocalMachine(self._host.environment, sudo=sudo, variables=variables)
        ways = self._host.config.ssh
        if ssh not in ways:
            raise MachineUnreachable(
                f"this host has no way {ssh!r}", remedy="add it to `ssh` of the host configuration"
            )
        way = ways[ssh]
        destination = SshDestination(ssh, way, fill_host(ssh, way, values))
        return SshMachine(self._pool, destination, self._list_jumps(ssh), sudo=sudo or way.sudo)

    async def open_tunnel(self, via: str, host: str, port: int) -> socket.socket:
        way = self._host.config.ssh.get(via)
        if way is None:
            raise MachineUnreachable(
                f"this host has no way {via!r}", remedy="add it to `ssh` of the host configuration"
            )
        if "{" in way.host:
            raise MachineUnreachable(
                f"`ssh.{via}` leads to the nodes themselves, so that it is no way to others",
                remedy="name an entry of `ssh` whose `host` is one fixed machine",
            )
        if networks := self._host.config.networks:
            check_behind_jump(host, networks, way.names, f"`ssh.{via}`")
        destination = SshDestination(via, way, way.host, is_node=False)
        return await self._tunnels.open(destination, self._list_jumps(via), host, port)

    def _list_jumps(self, name: str) -> tuple[SshDestination, ...]:
        ways = self._host.config.ssh
        return tuple(
            SshDestination(jump, ways[jump], ways[jump].host, is_node=False)
            for jump in self._host.config.list_jumps(name)
        )

    async def aclose(self) -> None:
        """Close every connection; running programs fail."""
        await self._tunnels.aclose()
        await self._pool.aclose()


def fill_host(name: str, way: SshWay, values: Mapping[str, str]) -> str:
    """The host of a way with the node's values in it.

    Args:
        name: of the way, for messages.
        way: of the host configuration.
        values: `node` and `host`.

    Raises:
        MachineUnreachable: the result is neither a name nor an address.
    """
    found = _PLACEHOLDER.sub(lambda token: values.get(token[1], "").strip("[]"), way.host)
    if not _HOST.fullmatch(found):
        raise MachineUnreachable(
            f"`ssh.{name}`: {found!r} is neither the name nor the address of a host",
            remedy="correct the node's host in the fleet file, or `host` of the way",
        )
    return found
