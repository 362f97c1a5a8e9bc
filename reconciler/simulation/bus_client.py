"""The client of message buses of simulated nodes: each node has a consumer of its own, as a real one has."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import orjson

from reconciler.core.endpoint import SocketAddress, is_loopback_host
from reconciler.core.firestore_paths import is_collection
from reconciler.host.extras import import_extra
from reconciler.host.firestore_client import close_firestore, explain_error, open_firestore
from reconciler.host.firestore_config import FirestoreProject
from reconciler.host.kafka_client import make_silent_log
from reconciler.ports.simulator import BusSubscription

SCHEME: Final = "kafka://"
"""Begin of the URL of a topic."""

FIRESTORE_SCHEME: Final = "firestore://"
"""Begin of the URL of a path in Firestore, followed by the project."""

_PUBLISH_SECONDS: Final = 5.0
_READ_SECONDS: Final = 0.3
_T = TypeVar("_T")


class NodeBusClient(ABC):
    """Publishes and receives for all simulated nodes."""

    @abstractmethod
    async def publish(self, url: str, body: bytes) -> bool:
        """Publish a message once; gives whether the bus acknowledged it."""

    @abstractmethod
    async def follow(self, subscriptions: Sequence[BusSubscription]) -> list[tuple[BusSubscription, bytes]]:
        """Listen to exactly these channels, and give what has arrived since the last call."""

    @abstractmethod
    async def close(self) -> None:
        """End all connections."""


class KafkaNodeClient(NodeBusClient):
    """The client for Kafka.

    Assumed where M2's pages say nothing: a message has no key; a node without `groupId` has a group of its
    own; a position is committed by the client itself, soon after a message was handed over.

    Raises:
        UsageError: the library is not installed.
    """

    def __init__(self) -> None:
        self._kafka = import_extra("confluent_kafka", "kafka", "Simulated nodes that use Kafka")
        # Apart: while a broker is away, a report waits for it, and messages of others still arrive.
        self._receiving, self._sending = (
            ThreadPoolExecutor(1, "kafka feeds"),
            ThreadPoolExecutor(4, "kafka reports"),
        )
        self._producers: dict[str, Any] = {}
        self._consumers: dict[BusSubscription, Any] = {}
        self._log = make_silent_log()

    async def publish(self, url: str, body: bytes) -> bool:
        """See `NodeBusClient`."""
        brokers, topic = split_channel(url)

        def send() -> bool:
            producer = self._producers.get(brokers)
            if producer is None:
                settings = {**self._base(brokers), "message.timeout.ms": int(_PUBLISH_SECONDS * 1000)}
                producer = self._producers[brokers] = self._kafka.Producer(settings)
            outcome: list[Any] = []
            producer.produce(topic, body, on_delivery=lambda error, _: outcome.append(error))
            producer.flush(_PUBLISH_SECONDS)
            return bool(outcome) and outcome[0] is None

        return await self._run(self._sending, send)

    async def follow(self, subscriptions: Sequence[BusSubscription]) -> list[tuple[BusSubscription, bytes]]:
        """See `NodeBusClient`."""
        wanted = dict.fromkeys(subscriptions)
        return await self._run(self._receiving, lambda: self._receive(wanted))

    def _receive(self, wanted: dict[BusSubscription, None]) -> list[tuple[BusSubscription, bytes]]:
        for gone in [one for one in self._consumers if one not in wanted]:
            self._consumers.pop(gone).close()
        found: list[tuple[BusSubscription, bytes]] = []
        for one in wanted:
            if one not in self._consumers:
                self._consumers[one] = self._subscribe(one)
            while (message := self._consumers[one].poll(0)) is not None:
                if message.error() is None and message.value() is not None:
                    found.append((one, bytes(message.value())))
        return found

    def _subscribe(self, subscription: BusSubscription) -> Any:
        brokers, topic = split_channel(subscription.url)
        begin = "earliest" if subscription.from_beginning else "latest"
        group = subscription.group or f"m2-{subscription.node}"
        consumer = self._kafka.Consumer(
            {
                **self._base(brokers),
                "group.id": group,
                "auto.offset.reset": begin,
                "auto.commit.interval.ms": 200,
                "topic.metadata.refresh.interval.ms": 1_000,
                "allow.auto.create.topics": True,
            }
        )

        def begin_anew(own: Any, partitions: list[Any]) -> None:
            place = self._kafka.OFFSET_BEGINNING if subscription.from_beginning else self._kafka.OFFSET_END
            for partition in partitions:
                partition.offset = place
            own.assign(partitions)

        if subscription.resumes:
            consumer.subscribe([topic])
        else:
            consumer.subscribe([topic], on_assign=begin_anew)
        return consumer

    def _base(self, brokers: str) -> dict[str, Any]:
        return {"bootstrap.servers": brokers, "reconnect.backoff.max.ms": 1_000, "logger": self._log}

    async def close(self) -> None:
        """See `NodeBusClient`."""

        def close() -> None:
            for consumer in self._consumers.values():
                consumer.close()
            self._consumers.clear()

        await self._run(self._receiving, close)
        self._receiving.shutdown(wait=False, cancel_futures=True)
        self._sending.shutdown(wait=False, cancel_futures=True)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)


class FirestoreNodeClient(NodeBusClient):
    """The client for Firestore.

    It reads the paths several times a second, because an emulator does not tell a listener of each document
    that is written while it begins to listen. Assumed where M2's pages say nothing: a node that begins to
    listen gets what is there; a report to a collection is a document with an id of the library's own.

    Args:
        emulator: the only place that it calls.

    Raises:
        UsageError: the library is not installed.
    """

    def __init__(self, emulator: SocketAddress) -> None:
        import_extra("google.cloud.firestore", "firestore", "Simulated nodes that use Firestore")
        self._emulator = emulator
        self._threads = ThreadPoolExecutor(4, "firestore nodes")
        self._clients: dict[str, Any] = {}
        self._seen: dict[BusSubscription, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._read_at = 0.0

    async def publish(self, url: str, body: bytes) -> bool:
        """See `NodeBusClient`."""
        project, path = split_channel(url)

        def write() -> bool:
            client, data = self._open(project), orjson.loads(body)
            document = client.collection(path).document() if is_collection(path) else client.document(path)
            try:
                document.set(data, retry=None, timeout=_PUBLISH_SECONDS)
            except Exception as error:  # noqa: BLE001  (raised again unless the library means it as an answer)
                explain_error(error)
                return False
            return True

        return await self._run(write)

    async def follow(self, subscriptions: Sequence[BusSubscription]) -> list[tuple[BusSubscription, bytes]]:
        """See `NodeBusClient`."""
        now = asyncio.get_running_loop().time()
        if now - self._read_at < _READ_SECONDS:
            return []
        self._read_at = now
        self._seen = {one: self._seen.get(one, {}) for one in subscriptions}
        found = await asyncio.gather(
            *(self._run(partial(self._read, one, seen)) for one, seen in self._seen.items())
        )
        return [message for messages in found for message in messages]

    def _read(
        self, subscription: BusSubscription, seen: dict[str, Any]
    ) -> list[tuple[BusSubscription, bytes]]:
        """The documents of a path that are new or were written again."""
        project, path = split_channel(subscription.url)
        client = self._open(project)
        found = []
        try:
            if is_collection(path):
                documents = client.collection(path).get(retry=None, timeout=_PUBLISH_SECONDS)
            else:
                documents = [client.document(path).get(retry=None, timeout=_PUBLISH_SECONDS)]
        except Exception as error:  # noqa: BLE001  (raised again unless the library means it as an answer)
            explain_error(error)
            return []
        for one in sorted((one for one in documents if one.exists), key=lambda one: one.update_time):
            if seen.get(one.id) != one.update_time:
                seen[one.id] = one.update_time
                found.append((subscription, orjson.dumps(one.to_dict(), default=str)))
        return found

    def _open(self, project: str) -> Any:
        with self._lock:
            if project not in self._clients:
                entry = FirestoreProject(project=project, emulator=str(self._emulator))
                self._clients[project] = open_firestore(project, entry, {})
            return self._clients[project]

    async def close(self) -> None:
        """See `NodeBusClient`."""

        def close() -> None:
            for client in self._clients.values():
                close_firestore(client)

        await self._run(close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class NodeBusClients(NodeBusClient):
    """A client for each kind of bus, made when a node uses it.

    Args:
        emulator: of Firestore; without one, nodes that use Firestore are silent.
    """

    def __init__(self, emulator: SocketAddress | None = None) -> None:
        self._emulator = emulator
        self._kafka: NodeBusClient | None = None
        self._firestore: NodeBusClient | None = None

    def is_local(self, url: str) -> bool:
        """Whether a channel is on this machine: a simulation must not call the real bus of a copied file."""
        if url.startswith(FIRESTORE_SCHEME):
            return self._emulator is not None and is_loopback_host(self._emulator.host)
        brokers, _ = split_channel(url)
        return all(is_loopback_host(one.rpartition(":")[0].strip("[]")) for one in brokers.split(","))

    async def publish(self, url: str, body: bytes) -> bool:
        """See `NodeBusClient`."""
        client = self._use_firestore() if url.startswith(FIRESTORE_SCHEME) else self._use_kafka()
        return await client.publish(url, body)

    async def follow(self, subscriptions: Sequence[BusSubscription]) -> list[tuple[BusSubscription, bytes]]:
        """See `NodeBusClient`."""
        of_firestore = [one for one in subscriptions if one.url.startswith(FIRESTORE_SCHEME)]
        of_kafka = [one for one in subscriptions if not one.url.startswith(FIRESTORE_SCHEME)]
        found = []
        if of_kafka or self._kafka is not None:
            found += await self._use_kafka().follow(of_kafka)
        if of_firestore or self._firestore is not None:
            found += await self._use_firestore().follow(of_firestore)
        return found

    def _use_kafka(self) -> NodeBusClient:
        if self._kafka is None:
            self._kafka = KafkaNodeClient()
        return self._kafka

    def _use_firestore(self) -> NodeBusClient:
        if self._firestore is None:
            assert self._emulator is not None
            self._firestore = FirestoreNodeClient(self._emulator)
        return self._firestore

    async def close(self) -> None:
        """See `NodeBusClient`."""
        for client in (self._kafka, self._firestore):
            if client is not None:
                await client.close()


def split_channel(url: str) -> tuple[str, str]:
    """The place and the name in the URL of a channel: brokers and topic, or project and path."""
    place, _, name = url.partition("://")[2].partition("/")
    return place, name
