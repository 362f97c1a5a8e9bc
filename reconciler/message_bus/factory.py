"""Opens the message buses of the host configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core.bus_channels import BusKind
from reconciler.core.host_entries import AllowedBus
from reconciler.host.config import HostConfig
from reconciler.host.credentials import find_key_file
from reconciler.host.extras import import_extra
from reconciler.host.firestore_client import open_firestore
from reconciler.host.firestore_config import FirestoreProject
from reconciler.host.host import list_allowed_buses
from reconciler.host.kafka_client import EXTRA, PURPOSE, KafkaAccess, find_kafka_access
from reconciler.message_bus.firestore import FirestoreBus
from reconciler.message_bus.kafka import KafkaBus
from reconciler.ports.message_bus import MessageBus


@dataclass(frozen=True, slots=True)
class BusEntry:
    """A message bus of the host configuration, and how it is reached from this machine.

    Args:
        allowed: what settings may name of it.
        kafka: how a Kafka cluster is reached.
        firestore: how a Firestore database is reached.
    """

    allowed: AllowedBus
    kafka: KafkaAccess | None = None
    firestore: FirestoreProject | None = None


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
            access = find_kafka_access(config.kafka[allowed.id.name], environment)
            found.append(BusEntry(allowed, kafka=access))
        else:
            firestore = config.firestore[allowed.id.name]
            if firestore.credentials is not None:
                file = find_key_file(firestore.credentials, environment)
                firestore = firestore.model_copy(update={"credentials": file})
            found.append(BusEntry(allowed, firestore=firestore))
    return tuple(found)


async def open_bus(entry: BusEntry) -> MessageBus:
    """A connection to a message bus, for the event loop that opens it.

    Raises:
        UsageError: its library is not installed, or a file of its entry cannot be read.
    """
    bus = entry.allowed.id
    # In threads: while the library of a bus loads, for up to a second, the loop answers nodes.
    if entry.kafka is not None:
        await asyncio.to_thread(import_extra, "confluent_kafka", EXTRA, PURPOSE)
        return KafkaBus(bus, entry.kafka)
    assert entry.firestore is not None
    client = await asyncio.to_thread(open_firestore, bus.name, entry.firestore, {})
    return FirestoreBus(bus, client, removes=entry.firestore.consume)
