"""The Firestore database as a message bus, against a stand-in of the library.

`tests/components/test_firestore_bus.py` makes the same promises of an emulator.
"""

import asyncio
import json
import time

import pytest
from support.firestore_standin import EXCEPTIONS, stand_in
from support.waiting import wait_until

from reconciler.core.bus_channels import BusId, BusKind
from reconciler.message_bus import firestore_listener
from reconciler.message_bus.firestore import FirestoreBus
from reconciler.ports.message_bus import BusError, Publication

EVENTS, DOCUMENT = "m2nodes/a/events", "m2nodes/b"


@pytest.fixture
def database(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
async def make_bus(database):
    made = []

    def make(*, consume=False):
        made.append(FirestoreBus(BusId(BusKind.FIRESTORE, "m2live"), database.open(), removes=consume))
        return made[-1]

    yield make
    for bus in made:
        await bus.close()


def report(number):
    return {"messageVer": "1", "node": {"hostname": "a"}, "number": number}


def put(database, path, data):
    database.write(path, data, new=False)


async def receive(bus, count, seconds=30):
    found, end = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += await bus.receive(0.2)
    assert len(found) == count, [one.place for one in found]
    return found


async def test_a_message_to_a_document_takes_the_place_of_the_one_before(database, make_bus):
    bus = make_bus()
    for number in (1, 2):
        await bus.publish(Publication(DOCUMENT, f"offer{number}", "b", json.dumps({"n": number}).encode()))
    assert {path: data for path, (data, _) in database.documents.items()} == {DOCUMENT: {"n": 2}}


async def test_a_message_to_a_collection_is_a_document_that_repeats_only_itself(database, make_bus):
    bus = make_bus()
    for number in (1, 2, 2):
        await bus.publish(Publication(EVENTS, f"offer{number}", "a", json.dumps({"n": number}).encode()))
    assert list(database.documents) == [f"{EVENTS}/offer1", f"{EVENTS}/offer2"]


@pytest.mark.parametrize("fault", ["ServiceUnavailable", "PermissionDenied", "InvalidArgument"])
async def test_what_is_not_published_is_told_with_its_reason(database, make_bus, fault):
    bus = make_bus()
    database.faults = [getattr(EXCEPTIONS, fault)("why")]
    with pytest.raises(
        BusError, match=rf"firestore/m2live: the message to {DOCUMENT} is not published: .*why"
    ):
        await bus.publish(Publication(DOCUMENT, "offer1", "b", b"{}"))
    assert bus.problem == "", "it would stop what is for other nodes"
    await bus.publish(Publication(DOCUMENT, "offer1", "b", b"{}"))


async def test_a_path_that_firestore_refuses_is_not_asked_for(database, make_bus):
    with pytest.raises(BusError, match=r"the path must not have the segment `\.\.`"):
        await make_bus().publish(Publication("a/../b", "offer1", "b", b"{}"))
    assert database.calls == 0


async def test_reports_come_in_the_order_in_which_they_were_written(database, make_bus):
    for number in range(3):
        put(database, f"{EVENTS}/{9 - number}", report(number))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS, DOCUMENT}))
    early = await receive(bus, 3)
    put(database, DOCUMENT, report(3))
    late = await receive(bus, 1)
    assert [json.loads(one.body) for one in (*early, *late)] == [report(number) for number in range(4)]
    assert [one.channel for one in (*early, *late)] == [EVENTS] * 3 + [DOCUMENT]
    offsets = [one.offset for one in early]
    assert offsets == sorted(set(offsets))
    assert {one.at for one in early} == {
        at for path, (_, at) in database.documents.items() if path != DOCUMENT
    }


async def test_what_was_not_acknowledged_comes_again_with_the_same_offsets(database, make_bus):
    for number in range(3):
        put(database, f"{EVENTS}/{number}", report(number))
    offsets = []
    for _ in range(2):
        bus = make_bus()
        await bus.listen(frozenset({EVENTS}))
        offsets.append([one.offset for one in await receive(bus, 3)])
    assert offsets[0] == offsets[1]


async def test_documents_stay_unless_the_host_lets_them_be_deleted(database, make_bus):
    put(database, f"{EVENTS}/one", report(1))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    await bus.acknowledge(await receive(bus, 1))
    assert list(database.documents) == [f"{EVENTS}/one"]


async def test_only_recorded_reports_of_collections_are_deleted(database, make_bus):
    put(database, f"{EVENTS}/feed", {"messageVer": "1", "action": {"api": "/setting/upload"}})
    put(database, f"{EVENTS}/poison", {"node": b"bytes"})
    put(database, f"{EVENTS}/one", report(1))
    put(database, DOCUMENT, report(2))
    bus = make_bus(consume=True)
    await bus.listen(frozenset({EVENTS, DOCUMENT}))
    found = await receive(bus, 4)
    assert len(database.documents) == 4
    put(database, f"{EVENTS}/one", report(3))  # while it was recorded
    await bus.acknowledge(found)
    assert list(database.documents) == [f"{EVENTS}/feed", f"{EVENTS}/one", DOCUMENT]
    (newer,) = await receive(bus, 1)
    assert json.loads(newer.body) == report(3)
    await bus.acknowledge([newer])
    assert list(database.documents) == [f"{EVENTS}/feed", DOCUMENT]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"bytes", "it has a value that JSON has not, such as bytes or a reference"),
        (float("nan"), "it has a number that JSON has not"),
        ("\ud800", "it cannot be written as JSON"),
    ],
)
async def test_a_poisoned_document_is_told_and_stops_nothing(database, make_bus, value, words):
    put(database, f"{EVENTS}/1", {"node": value})
    put(database, f"{EVENTS}/2", report(2))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    poisoned, good = await receive(bus, 2)
    assert (poisoned.body, poisoned.defect, poisoned.place) == (b"", words, f"{EVENTS}/1")
    assert (good.defect, json.loads(good.body)) == ("", report(2))


async def test_a_document_that_is_nested_too_deeply_is_poisoned(database, make_bus):
    deep = {}
    for _ in range(40):
        deep = {"a": deep}
    put(database, DOCUMENT, deep)
    bus = make_bus()
    await bus.listen(frozenset({DOCUMENT}))
    (found,) = await receive(bus, 1)
    assert found.defect == "it is nested too deeply"


async def test_a_database_that_is_away_and_back_loses_and_repeats_nothing(database, make_bus, monkeypatch):
    monkeypatch.setattr(firestore_listener, "_FIRST_PAUSE", 0.01)
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    put(database, f"{EVENTS}/1", report(1))
    await receive(bus, 1)
    database.is_down = True
    database.cut()
    await wait_until(lambda: "does not answer" in bus.problem)
    database.is_down = False
    put(database, f"{EVENTS}/2", report(2))
    (found,) = await receive(bus, 1)
    assert json.loads(found.body) == report(2)
    await wait_until(lambda: bus.problem == "")
    assert await bus.receive(0.1) == []


async def test_a_database_that_forgot_everything_says_nothing(database, make_bus, monkeypatch):
    monkeypatch.setattr(firestore_listener, "_FIRST_PAUSE", 0.01)
    put(database, f"{EVENTS}/1", report(1))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    await receive(bus, 1)
    database.documents.clear()
    database.cut()
    await wait_until(lambda: database.streams)
    assert await bus.receive(0.1) == []


async def test_a_forbidden_path_is_told_and_does_not_stop_the_others(database, make_bus, monkeypatch):
    database.forbidden = {"secret/path"}
    bus = make_bus()
    await bus.listen(frozenset({EVENTS, "secret/path", "a//b"}))
    put(database, f"{EVENTS}/1", report(1))
    await receive(bus, 1)
    assert bus.problem == ""
    assert bus.warning == "secret/path: the server refused it (code 7: not yours)"
    monkeypatch.setattr(firestore_listener, "REFUSED_SECONDS", 0.0)
    database.forbidden.clear()
    bus._listener._refused["secret/path"] = 0.0
    put(database, "secret/path", report(2))
    (found,) = await receive(bus, 1)
    assert json.loads(found.body) == report(2)


async def test_the_paths_can_change(database, make_bus):
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    put(database, f"{EVENTS}/1", report(1))
    await receive(bus, 1)
    put(database, DOCUMENT, report(2))
    await bus.listen(frozenset({DOCUMENT}))
    (found,) = await receive(bus, 1)
    assert found.channel == DOCUMENT
    put(database, f"{EVENTS}/2", report(3))
    assert await bus.receive(0.1) == []


async def test_more_than_fits_comes_in_parts_without_offsets(database, make_bus, monkeypatch):
    monkeypatch.setattr(firestore_listener, "MOST_RECEIVED_BYTES", 300)
    for number in range(20):
        put(database, f"{EVENTS}/{number}", report(number))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    found = await receive(bus, 20)
    assert [json.loads(one.body)["number"] for one in found] == list(range(20))
    assert [one for one in found if one.offset is None]


async def test_a_collection_with_too_many_documents_is_a_problem(database, make_bus, monkeypatch):
    monkeypatch.setattr(firestore_listener, "MOST_KEPT", 5)
    for number in range(5):
        put(database, f"{EVENTS}/{number}", report(number))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    await receive(bus, 5)
    await wait_until(lambda: bus.warning.startswith(f"the collection {EVENTS} has more than 5 documents"))


async def test_a_bus_closes_quickly_while_nothing_is_taken(database, make_bus, monkeypatch):
    monkeypatch.setattr(firestore_listener, "MOST_RECEIVED_BYTES", 10)
    for number in range(20):
        put(database, f"{EVENTS}/{number}", report(number))
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    await receive(bus, 1)
    async with asyncio.timeout(5):
        await bus.close()
        await bus.close()
    assert not bus._listener._thread.is_alive()
    assert database.clients[0].is_closed


async def test_a_change_whose_moment_is_not_completed_is_given_after_a_while(database, make_bus, monkeypatch):
    monkeypatch.setattr(firestore_listener, "IDLE_SECONDS", 0.05)
    bus = make_bus()
    await bus.listen(frozenset({EVENTS}))
    await wait_until(lambda: database.streams and database.streams[0].targets)
    database.is_incomplete = True
    put(database, f"{EVENTS}/1", report(1))
    (found,) = await receive(bus, 1)
    assert (json.loads(found.body), found.offset) == (report(1), None)
