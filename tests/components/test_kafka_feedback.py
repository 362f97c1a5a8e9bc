"""Feedback to a real Kafka broker: at least once, in order, each message with its id."""

import asyncio
import json
import time

import pytest
from kafka_broker import PROGRAM, KafkaBroker
from support.outboxes import MemoryOutbox

from reconciler.core.entries import FeedbackEntry
from reconciler.feedback.sender import MessageSender
from reconciler.feedback.sinks import open_sink
from reconciler.host.config import HostConfig
from reconciler.host.host import Host

pytestmark = pytest.mark.component(PROGRAM)


@pytest.fixture(scope="module")
def broker():
    with KafkaBroker() as broker:
        yield broker


async def deliver(outbox, broker, topic):
    entry = FeedbackEntry(type="kafka", connect="prod", topic=topic, timeout=6)
    host = Host(HostConfig(kafka={"prod": {"brokers": [broker.address]}}))
    async with MessageSender(outbox, open_sink(entry, None, host), pauses=(0,)) as sender:
        return await asyncio.wait_for(sender.finish(), 60)


def consume(broker, topic, count):
    from confluent_kafka import Consumer  # noqa: PLC0415  (only where it is installed)

    consumer = Consumer(
        {"bootstrap.servers": broker.address, "group.id": f"reader-{topic}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found, end = [], time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found.append((message.key().decode(), dict(message.headers()), json.loads(message.value())))
    consumer.close()
    return found


async def test_messages_arrive_in_order_with_their_ids_whatever_partitions_there_are(broker):
    broker.make_topic("ordered", 3)
    outbox = MemoryOutbox(50)
    assert await deliver(outbox, broker, "ordered") == ()
    assert consume(broker, "ordered", 50) == [
        (one.id, {"Idempotency-Key": one.id.encode()}, json.loads(one.body)) for one in outbox.messages
    ]


async def test_a_message_that_is_too_large_does_not_hold_up_the_others(broker):
    broker.make_topic("sizes")
    outbox = MemoryOutbox(3)
    outbox.replace(2, json.dumps({"text": "x" * 2_000_000}).encode())
    refused, left = await deliver(outbox, broker, "sizes")
    assert (refused.code, left.code) == ("feedback-refused", "feedback-undelivered")
    assert [key for key, *_ in consume(broker, "sizes", 2)] == ["id-1", "id-3"]


async def test_a_missing_topic_is_named_and_messages_wait_for_it(broker):
    outbox = MemoryOutbox(2)
    (finding,) = await deliver(outbox, broker, "missing")
    assert finding.code == "feedback-undelivered"
    assert "the sink kafka.prod (topic missing): " in finding.message
    assert finding.remedy.startswith("create the topic missing, or correct `feedback.topic`"), finding
    broker.make_topic("missing")
    assert await deliver(outbox, broker, "missing") == ()


async def test_a_broker_that_is_away_and_back_gets_every_message():
    own = KafkaBroker()
    with own:
        own.make_topic("changes")
        outbox = MemoryOutbox(2)
        assert await deliver(outbox, own, "changes") == ()
        own.stop()
        outbox.messages += MemoryOutbox(4).messages[2:]
        (finding,) = await deliver(outbox, own, "changes")
        assert "2 feedback messages still wait for the sink kafka.prod (topic changes): " in finding.message
        own.start()
        found = await deliver(outbox, own, "changes")
        assert found == (), found[0].message
        assert [key for key, *_ in consume(own, "changes", 4)] == ["id-1", "id-2", "id-3", "id-4"]
