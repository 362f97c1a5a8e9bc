"""The client of message buses of simulated nodes: each node has a consumer of its own, as a real one has."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from reconciler.host.extras import import_extra
from reconciler.ports.simulator import BusSubscription

SCHEME: Final = "kafka://"
"""Begin of the URL of a topic."""

_PUBLISH_SECONDS: Final = 5.0
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
        self._log = logging.getLogger("reconciler.simulation.kafka")
        self._log.propagate = False
        self._log.addHandler(logging.NullHandler())

    async def publish(self, url: str, body: bytes) -> bool:
        """See `NodeBusClient`."""
        brokers, topic = split_topic(url)

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
        brokers, topic = split_topic(subscription.url)
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


def split_topic(url: str) -> tuple[str, str]:
    """The brokers and the topic of a URL."""
    brokers, _, topic = url.removeprefix(SCHEME).partition("/")
    return brokers, topic
