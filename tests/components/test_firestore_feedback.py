"""Feedback to a real Firestore emulator: at least once, in order, each message as one document."""

import asyncio
import json

import pytest
from support.firestore_emulator import PROJECT, FirestoreEmulator
from support.outboxes import MemoryOutbox

from reconciler.core.entries import FeedbackEntry
from reconciler.feedback.sender import MessageSender
from reconciler.feedback.sinks import open_sink
from reconciler.host.config import HostConfig
from reconciler.host.firestore_client import close_firestore, open_firestore
from reconciler.host.host import Host

pytestmark = [pytest.mark.component(), pytest.mark.filterwarnings("ignore::FutureWarning")]
COLLECTION = "fleets/edge/events"
ENTRY = FeedbackEntry(type="firestore", connect="m2live", collection=COLLECTION, timeout=5)


@pytest.fixture(scope="module")
def emulator():
    with FirestoreEmulator() as emulator:
        yield emulator


@pytest.fixture
def host(emulator):
    return make_host(emulator.address)


def make_host(address):
    return Host(HostConfig(firestore={"m2live": {"project": PROJECT, "emulator": address}}))


@pytest.fixture
def client(host):
    client = open_firestore("m2live", host.config.firestore["m2live"], {})
    for found in client.collection(COLLECTION).stream():
        found.reference.delete()
    yield client
    close_firestore(client)


async def deliver(outbox, host, entry=ENTRY, pauses=(0, 0)):
    async with MessageSender(outbox, open_sink(entry, None, host), pauses=pauses) as sender:
        return await asyncio.wait_for(sender.finish(), 60)


def list_documents(client, collection=COLLECTION):
    found = client.collection(collection).get()
    return {one.id: one.to_dict() for one in sorted(found, key=lambda one: one.create_time)}


async def test_each_message_becomes_one_document_in_order(host, client):
    outbox = MemoryOutbox(20)
    assert await deliver(outbox, host) == ()
    assert list(list_documents(client).items()) == [(one.id, json.loads(one.body)) for one in outbox.messages]


async def test_a_message_that_arrived_before_is_delivered_and_not_doubled(host, client):
    outbox = MemoryOutbox(2)
    await deliver(outbox, host)
    outbox.delivered.clear()  # killed between the answer and the note
    assert await deliver(outbox, host) == ()
    assert list(list_documents(client)) == ["id-1", "id-2"]
    assert outbox.delivered == ["id-1", "id-2"]


@pytest.mark.google_emulator
async def test_a_refused_message_does_not_stop_the_others(host, client):
    outbox = MemoryOutbox(3)
    outbox.replace(2, json.dumps({"text": "x" * 2_000_000}).encode())
    refused, left = await deliver(outbox, host)
    assert (refused.code, left.code) == ("feedback-refused", "feedback-undelivered")
    assert "firestore.m2live (collection fleets/edge/events) refused messages: " in refused.message
    assert list(list_documents(client)) == ["id-1", "id-3"]


async def test_an_emulator_that_is_away_and_back_loses_nothing():
    own = FirestoreEmulator()
    host, outbox = make_host(own.address), MemoryOutbox(5)
    (finding,) = await deliver(outbox, host)
    assert finding.code == "feedback-undelivered"
    assert finding.message.startswith(
        "5 feedback messages still wait for the sink firestore.m2live (collection fleets/edge/events): "
        "it does not answer: UNAVAILABLE"
    )
    with own:
        found = await deliver(outbox, host)
        assert found == (), found[0].message
        client = open_firestore("m2live", host.config.firestore["m2live"], {})
        assert list(list_documents(client)) == [one.id for one in outbox.messages]
        close_firestore(client)


async def test_the_environment_does_not_redirect_messages(host, client, monkeypatch):
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    assert await deliver(MemoryOutbox(1), host) == ()
    assert list(list_documents(client)) == ["id-1"]
