"""The machines that this host reaches, found by the entries of its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from reconciler.host.host import Host
from reconciler.transports.machines.local import LocalMachine
from reconciler.transports.machines.machine import Machine, Machines, MachineUnreachable


class HostMachines(Machines):
    """The machines of one host.

    Args:
        host: defines the ways.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

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
        node = values.get("node", "a node")
        raise MachineUnreachable(
            f"this host has no way {ssh!r} to {node}", remedy="add it to `ssh` of the host configuration"
        )
