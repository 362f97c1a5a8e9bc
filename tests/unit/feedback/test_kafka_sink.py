"""The sink in a Kafka topic, against a stand-in of the library; the component tests use a broker."""

import asyncio
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.outboxes import MemoryOutbox

from reconciler.core.entries import FeedbackEntry
from reconciler.feedback.sender import MessageSender
from reconciler.feedback.sinks import open_sink
from reconciler.host.config import HostConfig
from reconciler.host.host import Host

ENTRY = FeedbackEntry(type="kafka", connect="prod", topic="changes", timeout=2)
HOST = Host(HostConfig(kafka={"prod": {"brokers": ["127.0.0.1:9"]}}))


class KafkaError:
    MSG_SIZE_TOO_LARGE, TIMED_OUT, DENIED = 10, -192, 29

    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    def str(self):
        return {10: "Broker: Message size too large", -192: "Local: Message timed out"}.get(self._code, "no")


class KafkaException(Exception):
    pass


class Broker:
    """What a stand-in producer sends to; `faults` are the codes of the next deliveries, None for success."""

    def __init__(self):
        self.records, self.faults, self.producers, self.topics = [], [], [], {"changes": None}

    def make(self, settings):
        self.producers.append(Producer(self, settings))
        return self.producers[-1]


class Producer:
    def __init__(self, broker, settings):
        self.broker, self.settings, self.purged = broker, settings, False

    def produce(self, topic, body, *, key, headers, partition, on_delivery):
        fault = self.broker.faults.pop(0) if self.broker.faults else None
        if fault is None:
            self.broker.records.append((topic, partition, key, headers, body))
        if fault != "silent":
            on_delivery(KafkaError(fault) if fault else None, None)

    def flush(self, seconds):
        assert seconds > 0

    def purge(self):
        self.purged = True

    def list_topics(self, topic, timeout):
        error = self.broker.topics.get(topic, KafkaError(3))
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error)})


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    library = SimpleNamespace(Producer=broker.make, KafkaError=KafkaError, KafkaException=KafkaException)
    monkeypatch.setitem(sys.modules, "confluent_kafka", library)
    return broker


async def deliver(outbox, entry=ENTRY, host=HOST):
    async with MessageSender(outbox, open_sink(entry, None, host), pauses=(0, 0)) as sender:
        return await asyncio.wait_for(sender.finish(), 10)


async def test_each_message_has_its_id_as_key_and_header_in_one_partition(broker):
    outbox = MemoryOutbox(3)
    assert await deliver(outbox) == ()
    assert broker.records == [
        ("changes", 0, one.id.encode(), {"Idempotency-Key": one.id.encode()}, one.body)
        for one in outbox.messages
    ]
    (producer,) = broker.producers
    assert (producer.settings["acks"], producer.settings["enable.idempotence"]) == ("all", True)
    assert producer.settings["bootstrap.servers"] == "127.0.0.1:9"
    assert producer.purged


async def test_a_topic_that_this_host_does_not_allow_gets_nothing(broker):
    outbox = MemoryOutbox(1)
    narrow = HOST.config.kafka["prod"].model_copy(update={"topics": ("m2.*",)})
    config = HOST.config.model_copy(update={"kafka": {"prod": narrow}})
    (finding,) = await deliver(outbox, host=replace(HOST, config=config))
    assert "this host does not allow changes there" in finding.message
    assert broker.producers == []
    assert len(outbox.messages) == 1


@pytest.mark.parametrize("fault", [KafkaError.TIMED_OUT, KafkaError.DENIED, "silent"])
async def test_messages_wait_in_order_while_the_way_is_closed(broker, fault):
    broker.faults = [fault] * 4
    outbox = MemoryOutbox(2)
    (finding,) = await deliver(outbox)
    assert finding.code == "feedback-undelivered"
    assert finding.message.startswith(
        "2 feedback messages still wait for the sink kafka.prod (topic changes): "
    )
    assert all(producer.purged for producer in broker.producers), "nothing arrives later"
    assert await deliver(outbox) == ()
    assert outbox.delivered == ["id-1", "id-2"]


async def test_a_refused_message_does_not_hold_up_the_others(broker):
    broker.faults = [None, KafkaError.MSG_SIZE_TOO_LARGE]
    outbox = MemoryOutbox(3)
    refused, _ = await deliver(outbox)
    assert refused.code == "feedback-refused"
    assert outbox.delivered == ["id-1", "id-3"]
    assert outbox.errors == [("id-2", "it answered: Broker: Message size too large", True)]


async def test_a_missing_topic_is_named(broker):
    broker.faults, broker.topics = [KafkaError.TIMED_OUT] * 4, {}
    (finding,) = await deliver(MemoryOutbox(1))
    assert finding.remedy == (
        "create the topic changes, or correct `feedback.topic` in the fleet file; the next run delivers them"
    )


async def test_an_entry_that_this_host_does_not_have_lets_messages_wait():
    (finding,) = await deliver(MemoryOutbox(1), host=Host())
    assert "the sink kafka.prod: this host has no such entry; it has none" in finding.message


async def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    (finding,) = await deliver(MemoryOutbox(1))
    assert finding.remedy == "install it: `pip install 'fleet-reconciler[kafka]'`; the next run delivers them"
