"""This machine as one value: its configuration and its environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.bus_channels import BusId, BusKind
from reconciler.core.host_entries import AllowedBus, HostEntries
from reconciler.host.config import HostConfig, make_default_config
from reconciler.host.environment import Environment


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine allows, passed from the entry point to whatever needs it.

    Args:
        config: from the host's file, or the defaults.
        environment: as at the start of the program.
        file: the configuration file; None without one.
    """

    config: HostConfig = field(default_factory=make_default_config)
    environment: Environment = field(default_factory=Environment)
    file: Path | None = None

    def entries(self, *, applying: bool) -> HostEntries | None:
        """The entries that a fleet file may name; None if unknown, as for `commands`."""
        if self.file is None and not applying:
            return None
        config = self.config
        return HostEntries(
            authorities=frozenset(config.authorities),
            ssh=frozenset(config.ssh),
            fixed=frozenset(name for name, way in config.ssh.items() if "{" not in way.host),
            files=frozenset(config.files),
            commands=frozenset(config.commands),
            reading=frozenset(name for name, command in config.commands.items() if command.reads),
            firestore=frozenset(config.firestore),
            kafka=frozenset(config.kafka),
            buses=list_allowed_buses(config),
        )

    def commands(self, *, applying: bool) -> frozenset[str] | None:
        """Names of the commands that a fleet file may use; None if unknown."""
        # A check of a pull request runs without a host file; the commands exist on another host.
        return None if self.file is None and not applying else frozenset(self.config.commands)


def list_allowed_buses(config: HostConfig) -> tuple[AllowedBus, ...]:
    """The message buses that a host may use."""
    clusters = (
        AllowedBus(BusId(BusKind.KAFKA, name), frozenset(cluster.brokers), cluster.topics, cluster.group)
        for name, cluster in sorted(config.kafka.items())
    )
    databases = (
        AllowedBus(BusId(BusKind.FIRESTORE, name), frozenset({database.project}), database.paths)
        for name, database in sorted(config.firestore.items())
    )
    return (*clusters, *databases)
