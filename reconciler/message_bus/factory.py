"""Opens the message buses of the host configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.core.bus_channels import BusKind
from reconciler.core.host_entries import AllowedBus
from reconciler.errors import UsageError
from reconciler.host.config import HostConfig
from reconciler.host.config_fields import CREDENTIALS
from reconciler.host.host import list_allowed_buses
from reconciler.message_bus.kafka import KafkaAccess, KafkaBus
from reconciler.ports.message_bus import MessageBus

_FOLDER: Final = CREDENTIALS.removeprefix("$")


@dataclass(frozen=True, slots=True)
class BusEntry:
    """A message bus of the host configuration, and how it is reached from this machine.

    Args:
        allowed: what settings may name of it.
        access: of its kind.
    """

    allowed: AllowedBus
    access: KafkaAccess


def list_bus_entries(config: HostConfig, environment: Mapping[str, str]) -> tuple[BusEntry, ...]:
    """The message buses of a host.

    Args:
        config: of the host.
        environment: of the program, with the folder of the systemd unit's credentials.

    Raises:
        UsageError: an entry names a credential of the unit, and there is no folder of them.
    """
    found = []
    for allowed in list_allowed_buses(config):
        if allowed.id.kind is BusKind.KAFKA:
            entry = config.kafka[allowed.id.name]
            key = entry.tls.key if entry.tls else None
            password = entry.login.password if entry.login else None
            access = KafkaAccess(entry, _find_file(key, environment), _find_file(password, environment))
            found.append(BusEntry(allowed, access))
    return tuple(found)


def open_bus(entry: BusEntry) -> MessageBus:
    """A connection to a message bus; called in the event loop that uses it.

    Raises:
        UsageError: its library is not installed, or a file of its entry cannot be read.
    """
    return KafkaBus(entry.allowed.id, entry.access)


def _find_file(file: Path | str | None, environment: Mapping[str, str]) -> Path | None:
    """The path of a file of the host configuration, which may be a credential of the systemd unit."""
    if file is None or isinstance(file, Path):
        return file
    folder, name = environment.get(_FOLDER, ""), file.partition("/")[2]
    if not folder.startswith("/"):
        raise UsageError(
            f"{file} cannot be found: the service has no credentials folder",
            remedy=f"add LoadCredential={name}:PATH to the systemd unit, or name an absolute path",
        )
    return Path(folder) / name
