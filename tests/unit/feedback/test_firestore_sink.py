"""The sink in a Firestore collection, against a stand-in of the library."""

import asyncio
import json
import sys

import pytest
from support.firestore_standin import AUTH, EXCEPTIONS, stand_in
from support.outboxes import MemoryOutbox

from reconciler.core.entries import FeedbackEntry
from reconciler.feedback import firestore_sink
from reconciler.feedback.sender import MessageSender
from reconciler.feedback.sinks import open_sink
from reconciler.host.config import HostConfig
from reconciler.host.host import Host

COLLECTION = "fleets/edge/events"
ENTRY = FeedbackEntry(type="firestore", connect="m2live", collection=COLLECTION, timeout=5)
HOST = Host(HostConfig(firestore={"m2live": {"project": "m2live-prod", "emulator": "127.0.0.1:9"}}))


@pytest.fixture
def database(monkeypatch):
    database = stand_in(monkeypatch)
    monkeypatch.setattr(firestore_sink, "open_firestore", database.open)
    return database


async def deliver(outbox, entry=ENTRY, host=HOST):
    async with MessageSender(outbox, open_sink(entry, None, host), pauses=(0, 0)) as sender:
        return await asyncio.wait_for(sender.finish(), 10)


async def test_each_message_is_a_document_with_its_id_and_keys(database):
    outbox = MemoryOutbox(3)
    assert await deliver(outbox) == ()
    assert [(path, data) for path, (data, _) in database.documents.items()] == [
        (f"{COLLECTION}/{one.id}", json.loads(one.body)) for one in outbox.messages
    ]
    assert outbox.delivered == ["id-1", "id-2", "id-3"]
    assert [client.is_closed for client in database.clients] == [True]


async def test_without_messages_nothing_is_opened(database):
    assert await deliver(MemoryOutbox(0)) == ()
    assert database.clients == []


async def test_a_message_whose_answer_was_lost_is_one_document(database):
    database.lost = 1
    outbox = MemoryOutbox(2)
    assert await deliver(outbox) == ()
    assert list(database.documents) == [f"{COLLECTION}/id-1", f"{COLLECTION}/id-2"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (EXCEPTIONS.ServiceUnavailable("connection refused"), "it does not answer: ServiceUnavailable: conn"),
        (EXCEPTIONS.PermissionDenied("not yours"), "it answered PermissionDenied: not yours"),
        (EXCEPTIONS.NotFound("no database"), "it answered NotFound: no database"),
        (AUTH.GoogleAuthError("no token"), "the login failed: no token"),
    ],
)
async def test_messages_wait_while_the_way_is_closed_and_then_arrive_in_order(database, fault, words):
    database.faults = [fault] * 4
    outbox = MemoryOutbox(3)
    (finding,) = await deliver(outbox)
    assert finding.code == "feedback-undelivered"
    assert finding.message.startswith(
        f"3 feedback messages still wait for the sink firestore.m2live (collection {COLLECTION}): {words}"
    )
    assert database.documents == {}
    assert await deliver(outbox) == ()
    assert outbox.delivered == ["id-1", "id-2", "id-3"]


@pytest.mark.parametrize("name", ["InvalidArgument", "OutOfRange"])
async def test_a_refused_message_does_not_hold_up_the_others(database, name):
    database.faults = [None, getattr(EXCEPTIONS, name)("too large")]
    outbox = MemoryOutbox(3)
    refused, left = await deliver(outbox)
    assert (refused.code, left.code) == ("feedback-refused", "feedback-undelivered")
    assert outbox.delivered == ["id-1", "id-3"]
    assert outbox.errors == [("id-2", f"it answered {name}: too large", True)]


async def test_a_defect_is_not_taken_for_an_answer(database):
    database.faults = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        await deliver(MemoryOutbox(1))


async def test_an_entry_that_this_host_does_not_have_lets_messages_wait():
    (finding,) = await deliver(MemoryOutbox(2), host=Host())
    assert finding.code == "feedback-undelivered"
    assert finding.message.endswith("the sink firestore.m2live: this host has no such entry; it has none")
    assert finding.remedy == (
        "add `firestore.m2live` to the host configuration, or correct `feedback.connect` in the fleet file; "
        "the next run delivers them"
    )


async def test_a_missing_library_lets_messages_wait_and_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.firestore", None)
    (finding,) = await deliver(MemoryOutbox(1))
    assert finding.code == "feedback-undelivered"
    assert finding.remedy == (
        "install it: `pip install 'fleet-reconciler[firestore]'`; the next run delivers them"
    )
