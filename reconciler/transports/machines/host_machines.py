"""The machines that this host reaches, found by the entries of its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from reconciler.host.config import SshWay
from reconciler.host.host import Host
from reconciler.transports.machines.local import LocalMachine
from reconciler.transports.machines.machine import Machine, Machines, MachineUnreachable
from reconciler.transports.machines.ssh import SshMachine
from reconciler.transports.machines.ssh_connect import SshConnector, SshDestination
from reconciler.transports.machines.ssh_credentials import CredentialFiles
from reconciler.transports.machines.ssh_pool import SshPool

_HOST: Final = re.compile(r"[0-9A-Za-z_:][0-9A-Za-z_.:\-]{0,252}")
_PLACEHOLDER: Final = re.compile(r"\{(node|host)\}")


class HostMachines(Machines):
    """The machines of one host, with the connections to them; the caller closes it.

    Args:
        host: defines the ways.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        files = CredentialFiles(host.environment)
        self._pool = SshPool(SshConnector(host.config.networks, files), files)

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
        jumps = tuple(
            SshDestination(name, ways[name], ways[name].host, is_node=False)
            for name in self._host.config.list_jumps(ssh)
        )
        return SshMachine(self._pool, destination, jumps, sudo=sudo or way.sudo)

    async def aclose(self) -> None:
        """Close every connection; running programs fail."""
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
