"""A sink of feedback in a Kafka topic: each message is one record, whose key and header have its id."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.bus_channels import BusId, BusKind
from reconciler.errors import UsageError
from reconciler.feedback.sink import Delivery, Sink
from reconciler.host.extras import import_extra
from reconciler.host.kafka_client import (
    EXTRA,
    PURPOSE,
    describe_kafka_error,
    end_producer,
    find_kafka_access,
    get_kafka_error,
    make_kafka_settings,
    make_producer_settings,
)
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.ports.store import OutboxMessage

HEADER: Final = "Idempotency-Key"
"""The header with the id of the message, as over HTTP."""

_REFUSALS: Final = (
    *("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD"),
    *("INVALID_TIMESTAMP", "POLICY_VIOLATION"),
)
"""Errors about the message itself, by the library's names; all others are about the way to the topic."""

_LEAST_SECONDS: Final = 1.0
"""A first delivery has to connect and to ask for the topic."""


class KafkaSink(Sink):
    """Sends each message with the id as its key, and waits for its acknowledgement by all replicas.

    One message at a time, to partition 0 alone: Kafka keeps the order within a partition only, and there is
    one message for each change.

    Args:
        entry: name of the entry, and the entry of the host configuration.
        topic: that gets the messages.
        timeout: seconds for one delivery.
        environment: of the process.
    """

    def __init__(
        self,
        entry: tuple[str, KafkaCluster],
        topic: str,
        timeout: float,
        environment: Mapping[str, str],
    ) -> None:
        self.name = f"kafka.{entry[0]} (topic {topic})"
        self._entry = entry
        self._topic = topic
        self._timeout = max(_LEAST_SECONDS, timeout)
        self._environment = environment
        self._kafka: Any = None
        self._producer: Any = None
        self._trouble = ""

    async def send(self, message: OutboxMessage) -> Delivery:
        try:
            return await asyncio.to_thread(self._deliver, message)
        except UsageError as error:
            return Delivery(error.message, remedy=error.remedy)

    def _deliver(self, message: OutboxMessage) -> Delivery:
        if self._producer is None:
            self._open()
        errors: list[Any] = []
        try:
            self._producer.produce(
                self._topic,
                message.body,
                key=message.id.encode(),
                headers={HEADER: message.id.encode()},
                partition=0,
                on_delivery=lambda error, _: errors.append(error),
            )
            # The library ends each message after its own time; a little later it has said so.
            self._producer.flush(self._timeout + _LEAST_SECONDS)
        except (BufferError, self._kafka.KafkaException) as error:
            errors.append(get_kafka_error(error))
        if errors and errors[0] is None:
            return Delivery()
        missing = self._find_missing_topic()
        self._close()
        if missing:
            remedy = f"create the topic {self._topic}, or correct `feedback.topic` in the fleet file"
            return Delivery(missing, remedy=remedy)
        if not errors:
            return Delivery(f"it has not acknowledged the message within {self._timeout:g} s")
        return self._explain(errors[0])

    def _find_missing_topic(self) -> str:
        """That the topic is missing, which the library tells as a message that took too long."""
        try:
            topics = self._producer.list_topics(self._topic, timeout=_LEAST_SECONDS).topics
        except self._kafka.KafkaException:
            return ""
        found = topics.get(self._topic)
        return describe_kafka_error(found.error) if found is not None and found.error is not None else ""

    def _explain(self, error: Any) -> Delivery:
        refusals = {getattr(self._kafka.KafkaError, name, None) for name in _REFUSALS}
        words = describe_kafka_error(error)
        if hasattr(error, "code") and error.code() in refusals:
            return Delivery(f"it answered: {words}", is_refused=True)
        trouble = f" ({self._trouble})" if self._trouble and self._trouble not in words else ""
        return Delivery(f"it does not take messages: {words}{trouble}")

    def _open(self) -> None:
        self._kafka = import_extra("confluent_kafka", EXTRA, PURPOSE)
        name, cluster = self._entry
        access = find_kafka_access(cluster, self._environment)
        self._trouble = ""
        settings = make_kafka_settings(BusId(BusKind.KAFKA, name), access, self._note_trouble)
        producing = make_producer_settings(settings, self._timeout)
        self._producer = self._kafka.Producer({**producing, "allow.auto.create.topics": False})

    def _note_trouble(self, trouble: str) -> None:
        self._trouble = trouble

    def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            end_producer(producer)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)
