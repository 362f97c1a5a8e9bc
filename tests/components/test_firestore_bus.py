"""A Firestore database as a message bus, against an emulator: offers arrive, reports come at least once.

Google's own emulator where it is installed. The one of npm knows no preconditions and no limits, and tells no
changes of single documents: `.ci/components` leaves out with it what is marked `google_emulator`.
"""

import asyncio
import json
import time

import pytest
from support.firestore_emulator import PROJECT, FirestoreEmulator
from support.waiting import wait_until

from reconciler.core.bus_channels import BusId, BusKind
from reconciler.host.firestore_client import close_firestore, open_firestore
from reconciler.host.firestore_config import FirestoreProject
from reconciler.message_bus.firestore import FirestoreBus
from reconciler.ports.message_bus import BusError, Publication

pytestmark = [pytest.mark.component(), pytest.mark.filterwarnings("ignore::FutureWarning")]
EVENTS = "m2nodes/a/events"
OTHER = "m2nodes/b"


@pytest.fixture(scope="module")
def emulator():
    with FirestoreEmulator() as emulator:
        yield emulator


class Site:
    """A bus, and a client of a node."""

    def __init__(self, emulator):
        self.entry = FirestoreProject(project=PROJECT, emulator=emulator.address)
        self.client = open_firestore("node", self.entry, {})
        self.buses = []

    def make_bus(self, *, consume=False):
        client = open_firestore("m2live", self.entry, {})
        self.buses.append(FirestoreBus(BusId(BusKind.FIRESTORE, "m2live"), client, removes=consume))
        return self.buses[-1]

    def report(self, path, number):
        where = f"{path}/{number:03}" if path.count("/") % 2 == 0 else path
        data = {"messageVer": "1", "node": {"hostname": "a"}, "number": number, "nested": [{"a": None}, 1.5]}
        self.client.document(where).set(data, timeout=10)

    def list_documents(self, path):
        return {one.id: one.to_dict() for one in self.client.collection(path).get()}

    def clear(self):
        for path in (EVENTS, "m2nodes", "m2nodes/b/events", "m2nodes/a/feed"):
            for one in self.client.collection(path).get():
                one.reference.delete()


@pytest.fixture
async def site(emulator):
    site = Site(emulator)
    site.clear()
    yield site
    for bus in site.buses:
        await bus.close()
    close_firestore(site.client)


async def receive(bus, count, seconds=60):
    found, end = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += await bus.receive(0.2)
    assert len(found) == count, [one.place for one in found]
    return found


def list_numbers(messages):
    return [json.loads(one.body)["number"] for one in messages]


async def test_offers_arrive_as_documents_of_a_collection_or_as_fields_of_a_document(site):
    bus = site.make_bus()
    for number in (1, 2, 2):
        body = json.dumps({"messageVer": "1", "userdata": None, "n": number}).encode()
        await bus.publish(Publication("m2nodes/a/feed", f"offer{number}", "a", body))
        await bus.publish(Publication("m2nodes/a", f"offer{number}", "a", body))
    assert [one["n"] for one in site.list_documents("m2nodes/a/feed").values()] == [1, 2]
    assert site.client.document("m2nodes/a").get().to_dict() == {"messageVer": "1", "userdata": None, "n": 2}


@pytest.mark.google_emulator
async def test_reports_come_in_the_order_in_which_they_were_written(site):
    for number in (3, 1, 2):
        site.report(EVENTS, number)
    bus = site.make_bus()
    await bus.listen(frozenset({EVENTS, OTHER}))
    found = await receive(bus, 3)
    assert list_numbers(found) == [3, 1, 2]
    assert json.loads(found[0].body)["nested"] == [{"a": None}, 1.5]
    site.report(OTHER, 4)
    (other,) = await receive(bus, 1)
    assert (other.channel, list_numbers([other])) == (OTHER, [4])
    assert [one.offset for one in found] == sorted({one.offset for one in found})
    again = site.make_bus()
    await again.listen(frozenset({EVENTS, OTHER}))
    repeated = {one.place: one.offset for one in await receive(again, 4)}
    assert repeated == {one.place: one.offset for one in (*found, other)}, "by which the store drops them"


@pytest.mark.google_emulator
async def test_recorded_reports_are_deleted_where_the_host_says_so(site):
    for number in (1, 2):
        site.report(EVENTS, number)
    site.client.document(f"{EVENTS}/feed").set({"action": {"api": "/setting/upload"}})
    site.client.document(f"{EVENTS}/poison").set({"node": b"bytes"})
    bus = site.make_bus(consume=True)
    await bus.listen(frozenset({EVENTS}))
    found = await receive(bus, 4)
    assert [one.defect for one in found if one.defect] == [
        "it has a value that JSON has not, such as bytes or a reference"
    ]
    site.client.document(f"{EVENTS}/002").update({"later": True})
    await bus.acknowledge(found)
    assert sorted(site.list_documents(EVENTS)) == ["002", "feed"], "what was written meanwhile stays"
    await bus.acknowledge(await receive(bus, 1))
    assert list(site.list_documents(EVENTS)) == ["feed"]


async def test_documents_of_one_write_are_all_read(site):
    batch = site.client.batch()
    for number in range(400):
        batch.set(site.client.document(f"{EVENTS}/{number:03}"), {"node": {}, "number": number})
    batch.commit()
    bus = site.make_bus()
    await bus.listen(frozenset({EVENTS}))
    assert sorted(list_numbers(await receive(bus, 400))) == list(range(400))


async def test_an_emulator_that_was_killed_is_found_again_and_nothing_is_lost():
    own = FirestoreEmulator()
    with own:
        site = Site(own)
        bus = site.make_bus()
        try:
            await bus.listen(frozenset({EVENTS}))
            site.report(EVENTS, 1)
            assert list_numbers(await receive(bus, 1)) == [1]
            own.kill()
            await wait_until(lambda: "does not answer" in bus.problem)
            with pytest.raises(BusError, match="is not published: it does not answer"):
                await bus.publish(Publication(EVENTS, "offer1", "a", b"{}"))
            own.start()
            site = Site(own)
            site.report(EVENTS, 2)  # it forgot the first one: that says nothing
            assert list_numbers(await receive(bus, 1)) == [2]
            await wait_until(lambda: bus.problem == "")
            await bus.publish(Publication("m2nodes/a/feed", "offer1", "a", b"{}"))
        finally:
            async with asyncio.timeout(10):
                await bus.close()
