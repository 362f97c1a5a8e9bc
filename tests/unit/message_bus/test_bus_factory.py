"""The libraries of message buses load outside of the event loop, which answers nodes meanwhile."""

import threading
from types import SimpleNamespace

import pytest

from reconciler.core.bus_channels import BusId, BusKind
from reconciler.core.host_entries import AllowedBus
from reconciler.host.firestore_config import FirestoreProject
from reconciler.host.kafka_client import KafkaAccess
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.message_bus import factory
from reconciler.message_bus.factory import BusEntry, open_bus

KAFKA = BusEntry(
    AllowedBus(BusId(BusKind.KAFKA, "prod"), frozenset({"127.0.0.1:9092"})),
    kafka=KafkaAccess(KafkaCluster(brokers=("127.0.0.1:9092",))),
)
FIRESTORE = BusEntry(
    AllowedBus(BusId(BusKind.FIRESTORE, "live"), frozenset({"m2live-prod"})),
    firestore=FirestoreProject(project="m2live-prod", emulator="127.0.0.1:1", consume=True),
)


@pytest.mark.parametrize(
    ("entry", "loader", "bus"),
    [(KAFKA, "import_extra", "KafkaBus"), (FIRESTORE, "open_firestore", "FirestoreBus")],
    ids=["kafka", "firestore"],
)
async def test_a_library_loads_in_a_thread_and_the_bus_belongs_to_the_loop(monkeypatch, entry, loader, bus):
    threads = {}

    def note(name):
        def call(*arguments, **more):
            threads[name] = threading.current_thread()
            return SimpleNamespace(arguments=arguments, **more)

        return call

    monkeypatch.setattr(factory, loader, note("library"))
    monkeypatch.setattr(factory, bus, note("bus"))
    opened = await open_bus(entry)
    assert opened.arguments[0] == entry.allowed.id
    assert threads["bus"] is threading.main_thread()
    assert threads["library"] is not threading.main_thread()
