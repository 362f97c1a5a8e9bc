"""A Kafka cluster as a message bus, over confluent-kafka; see `ports.message_bus`.

Offers are published with an idempotent producer and `acks=all`, with the node's name as the key, so that the
messages of a node are in one partition and keep their order. Reports are received with a consumer of this
host's group, whose positions are committed only by `acknowledge`.

librdkafka blocks: each half has a thread of its own, and nothing of it runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from reconciler.core.bus_channels import BusId
from reconciler.host.extras import import_extra
from reconciler.host.kafka_client import (
    EXTRA,
    PURPOSE,
    KafkaAccess,
    describe_kafka_error,
    end_producer,
    make_kafka_settings,
    make_producer_settings,
)
from reconciler.ports.message_bus import (
    LARGEST_MESSAGE,
    MOST_RECEIVED,
    MOST_RECEIVED_BYTES,
    PUBLISH_SECONDS,
    BusError,
    BusMessage,
    MessageBus,
    Publication,
)

CHECK_SECONDS: Final = 5.0
"""Seconds between two looks whether the brokers answer, while nothing is received."""

_ANSWER_SECONDS: Final = 3.0
"""Seconds that one such look waits."""

_POLL_SECONDS: Final = 0.1
_T = TypeVar("_T")


class KafkaBus(MessageBus):
    """One Kafka cluster; see `ports.message_bus.MessageBus`.

    Args:
        bus: the entry of the host configuration.
        access: what the entry says.

    Raises:
        UsageError: the library is not installed, or a file of the entry cannot be read.
    """

    def __init__(self, bus: BusId, access: KafkaAccess) -> None:
        self.id, self.problem = bus, ""
        self._kafka = import_extra("confluent_kafka", EXTRA, PURPOSE)
        self._base = make_kafka_settings(bus, access, self._note_problem)
        self._group = access.entry.group
        self._loop = asyncio.get_running_loop()
        self._producer: Any = None
        self._consumer: Any = None
        self._listening: frozenset[str] = frozenset()
        self._checked = 0.0
        self._closed = False
        self._sending = ThreadPoolExecutor(1, f"{bus} producer")
        self._receiving = ThreadPoolExecutor(1, f"{bus} consumer")
        self._polling: asyncio.Future[None] | None = None

    async def publish(self, publication: Publication) -> None:
        acknowledged: asyncio.Future[str] = self._loop.create_future()

        def settle(reason: str) -> None:
            if not acknowledged.done():
                acknowledged.set_result(reason)

        def delivered(error: Any, _message: Any) -> None:  # in the thread that polls
            self._call_soon(settle, "" if error is None else describe_kafka_error(error))

        try:
            await self._run(self._sending, lambda: self._send(publication, delivered))
            if self._polling is None or self._polling.done():
                self._polling = asyncio.ensure_future(self._poll())
            async with asyncio.timeout(PUBLISH_SECONDS + _ANSWER_SECONDS):
                reason = await acknowledged
        except TimeoutError:
            reason = "the brokers have not acknowledged it"
        if reason:
            message = f"{self.id}: the message to topic {publication.channel} is not published: {reason}"
            raise BusError(message, remedy="check the brokers, the topic, and what this host may write there")
        self.problem = ""

    def _send(self, publication: Publication, delivered: Callable[[Any, Any], None]) -> None:
        if self._producer is None:
            self._producer = self._kafka.Producer(
                {**make_producer_settings(self._base, PUBLISH_SECONDS), **_PRODUCER}
            )
        try:
            self._producer.produce(
                publication.channel, publication.body, publication.node.encode(), on_delivery=delivered
            )
        except (BufferError, self._kafka.KafkaException) as error:
            # A fatal error of an idempotent producer is for good: the next message has a new producer.
            self._producer = None
            raise BusError(f"{self.id}: a message cannot be sent: {describe_kafka_error(error)}") from error

    async def _poll(self) -> None:
        """Take acknowledgements as long as there are any to come."""

        def poll() -> bool:
            if self._producer is None:
                return False
            self._producer.poll(_POLL_SECONDS)
            return len(self._producer) > 0

        while not self._closed and await self._run(self._sending, poll):
            pass

    async def listen(self, channels: frozenset[str]) -> None:
        if channels != self._listening or self._consumer is None:
            await self._run(self._receiving, lambda: self._subscribe(channels))
            self._listening = channels

    def _subscribe(self, channels: frozenset[str]) -> None:
        if self._consumer is None:
            self._consumer = self._kafka.Consumer({**self._base, **_CONSUMER, "group.id": self._group})
        try:
            if channels:
                self._consumer.subscribe(sorted(channels))
            else:
                self._consumer.unsubscribe()
        except self._kafka.KafkaException as error:
            raise BusError(
                f"{self.id}: its topics cannot be listened to: {describe_kafka_error(error)}"
            ) from error

    async def receive(self, seconds: float) -> Sequence[BusMessage]:
        return await self._run(self._receiving, lambda: self._consume(seconds))

    def _consume(self, seconds: float) -> list[BusMessage]:
        found: list[BusMessage] = []
        size, wait = 0, seconds
        while len(found) < MOST_RECEIVED and size < MOST_RECEIVED_BYTES:
            message = None
            if self._consumer is not None:
                message = self._consumer.poll(min(wait, 1.0) if not found else 0.01)
            if message is None:
                wait -= 1.0
                if found or wait <= 0 or self._consumer is None:
                    break
                continue
            if (error := message.error()) is not None:
                if not found:  # else what was found must not be lost; an error that stays comes again
                    self._note_consumer_error(error)
                break
            found.append(_read_message(message))
            size += len(found[-1].body)
        if found:
            self.problem = ""
        elif self._consumer is not None:
            self._check()
        return found

    def _note_consumer_error(self, error: Any) -> None:
        codes = self._kafka.KafkaError
        # A topic that no node has written to yet is none; it is found as soon as it is there.
        if error.code() == codes.UNKNOWN_TOPIC_OR_PART:
            return
        if error.code() in {codes.TOPIC_AUTHORIZATION_FAILED, codes.GROUP_AUTHORIZATION_FAILED}:
            raise BusError(
                f"{self.id}: reports cannot be read: {describe_kafka_error(error)}",
                remedy=f"allow this host's user to read its topics, with the group {self._group}",
            )
        self.problem = describe_kafka_error(error)

    def _check(self) -> None:
        """Ask the brokers for anything: silence alone does not show whether they answer."""
        now = self._loop.time()
        if now - self._checked < CHECK_SECONDS and not self.problem:
            return
        self._checked = now
        try:
            self._consumer.list_topics(timeout=_ANSWER_SECONDS)
        except self._kafka.KafkaException as error:
            self.problem = describe_kafka_error(error)
        else:
            self.problem = ""

    async def acknowledge(self, messages: Sequence[BusMessage]) -> None:
        newest: dict[tuple[str, int], int] = {}
        for one in messages:
            assert one.offset is not None
            place = (one.channel, one.partition)
            newest[place] = max(one.offset + 1, newest.get(place, 0))
        if newest:
            await self._run(self._receiving, lambda: self._commit(newest))

    def _commit(self, newest: Mapping[tuple[str, int], int]) -> None:
        positions = [
            self._kafka.TopicPartition(topic, partition, offset)
            for (topic, partition), offset in sorted(newest.items())
        ]
        try:
            self._consumer.commit(offsets=positions, asynchronous=False)
        except self._kafka.KafkaException as error:
            raise BusError(
                f"{self.id}: the position cannot be committed: {describe_kafka_error(error)}"
            ) from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True

        def close_consumer() -> None:
            if self._consumer is not None:
                self._consumer.close()

        def close_producer() -> None:
            if self._producer is not None:
                end_producer(self._producer)
                self._producer = None

        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _ANSWER_SECONDS):
                await asyncio.gather(
                    self._run(self._receiving, close_consumer), self._run(self._sending, close_producer)
                )
        # Not waited for: a broker that does not answer must not hold up the stop.
        self._receiving.shutdown(wait=False, cancel_futures=True)
        self._sending.shutdown(wait=False, cancel_futures=True)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await self._loop.run_in_executor(executor, work)

    def _call_soon(self, settle: Callable[[str], None], reason: str) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(settle, reason)

    def _note_problem(self, problem: str) -> None:
        self.problem = problem


_PRODUCER: Final[Mapping[str, Any]] = {
    "linger.ms": 5,
    "message.max.bytes": LARGEST_MESSAGE,
}

_CONSUMER: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # The first time all that is there: a report that came before this host listened must not be lost.
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    # A topic is found that soon after its first message.
    "topic.metadata.refresh.interval.ms": 3_000,
    "fetch.wait.max.ms": 200,
    "fetch.max.bytes": 2 * LARGEST_MESSAGE,
    "max.partition.fetch.bytes": LARGEST_MESSAGE,
    "queued.max.messages.kbytes": 2 * LARGEST_MESSAGE // 1024,
    "session.timeout.ms": 30_000,
    # A store that cannot be written holds the position, for hours if need be.
    "max.poll.interval.ms": 86_400_000,
}


def _read_message(message: Any) -> BusMessage:
    """A message of the library; everything in it may be of anybody."""
    value, (kind, milliseconds) = message.value(), message.timestamp()
    at = None
    if kind and milliseconds > 0:
        with suppress(ValueError, OverflowError, OSError):
            at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    place = (message.topic(), message.partition(), message.offset(), at)
    if value is None:
        return BusMessage(*place, defect="it has no value (a tombstone)")
    if len(value) > LARGEST_MESSAGE:
        return BusMessage(*place, defect=f"it has {len(value):,} bytes, more than {LARGEST_MESSAGE:,}")
    return BusMessage(*place, bytes(value))
