"""Offers go to a message bus, reports come from it: nothing is lost, overtaken or believed without proof."""

import asyncio
import io
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.memory_bus import MemoryBroker, MemoryBus
from support.node_servers import TinyServer
from support.offers import make_draft

from reconciler.core.actor import Actor
from reconciler.core.bus_channels import BusChannel, BusId, BusKind, NodeBusUse
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.host_entries import AllowedBus
from reconciler.core.offers import OfferFeed
from reconciler.errors import StateError
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.message_bus.factory import BusEntry
from reconciler.message_bus.kafka import KafkaAccess
from reconciler.ports.central_server import InboundAnswer
from reconciler.server.logs import open_log
from reconciler.server.nodes.bus_service import BusRules, BusService
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_table import NodeTable
from reconciler.server.nodes.report_receiver import ReportReceiver
from reconciler.server.throttle import Throttle
from reconciler.store.factory import open_store

BROKER = "kafka-1:9092"
ENTRY = BusEntry(
    AllowedBus(BusId(BusKind.KAFKA, "prod"), frozenset({BROKER})),
    KafkaAccess(KafkaCluster(brokers=(BROKER,), plaintext=True)),
)
OURS = FleetIdentity("/srv/ours", name="ours")


def topic(name, *places):
    return BusChannel(BusKind.KAFKA, places or (BROKER,), name)


USE = {
    ("c", "a"): NodeBusUse(frozenset({topic("feed-a")}), frozenset({topic("reports-a"), topic("shared")})),
    ("c", "b"): NodeBusUse(frozenset({topic("feed-b")}), frozenset({topic("shared")})),
}


class LinkingServer(TinyServer):
    """Reports that quote URLs."""

    def read_report(self, request):
        report = super().read_report(request)
        return replace(report, links=tuple(report.links))


class Site:
    """A node server's buses over a store in a file; a second start is that of a process that was killed."""

    def __init__(self, store, broker):
        self.store, self.broker = store, broker
        self.use, self.server, self.product = USE, "https://host:9443", LinkingServer
        self.lines = io.StringIO()
        self.counters = CallCounters()

    @asynccontextmanager
    async def running(self):
        log = open_log(self.lines, form="json")
        table = self.table = NodeTable(lambda kind: self.product())
        await table.apply(await self.store.read_changes(0))
        recorder = CallRecorder(self.store.record_calls, lambda error: None, self.counters)
        reports = ReportReceiver(
            table,
            self.store,
            recorder,
            log,
            throttle=Throttle(),
            counters=self.counters,
            building=asyncio.Semaphore(2),
            redact_text=str,
        )
        rules = BusRules(self.use, {"c": self.server})
        self.service = BusService(
            (ENTRY,),
            self.open_bus,
            table=table,
            store=self.store,
            reports=reports,
            recorder=recorder,
            find_rules=lambda: rules,
            counters=self.counters,
            log=log,
            report=lambda *crash: self.lines.write(repr(crash)),
        )
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(one) for one in (recorder.run(stop), self.service.run(stop))]
        try:
            yield self
        finally:
            for task in tasks:  # as a kill does: nothing is finished
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def open_bus(self, entry):
        return MemoryBus(self.broker, entry.allowed.id)

    async def refresh(self):
        await self.table.apply(await self.store.read_changes(self.table.position))

    async def until(self, is_so):
        async with asyncio.timeout(10):
            while not (await value if asyncio.iscoroutine(value := is_so()) else value):
                await self.refresh()
                await asyncio.sleep(0.02)

    async def until_running(self):
        await self.until(lambda: self.service._running)
        return self.service._running["kafka/prod"].publisher

    async def offer(self, node="a", body=b"one", run="run", **changes):
        fields = {"channel": topic(f"feed-{node}"), "seconds": 3600.0, **changes}
        return await self.store.offer(replace(make_draft(node, body), **fields), run, "rev")

    async def current(self, node="a"):
        return (await self.store.read_changes(0)).offers[1, "c", node][OfferFeed.SETTING][0]

    async def is_taken(self, node="a"):
        return (await self.current(node)).taken is not None

    async def contact(self, node="a"):
        return next(one for one in await self.store.contacts() if one.node == node)

    def ids(self):
        return [one.id for one in self.broker.published]


@pytest.fixture
async def site(tmp_path):
    with open_store(tmp_path) as opened:
        store = await opened.enter_fleet(OURS)
        await store.enrol("c", "tiny", ["a", "b"])
        yield Site(store, MemoryBroker())


def report(**fields):
    return json.dumps({"kind": "heartbeat", "hostname": "edge", **fields}).encode()


async def test_an_offer_is_published_to_the_channel_of_its_node_and_then_counts_as_taken(site):
    offer = await site.offer()
    async with site.running():
        await site.until(site.is_taken)
    (published,) = site.broker.published
    assert (published.channel, published.node, published.id) == ("feed-a", "a", offer.id)
    assert "https://host:9443/" in published.body.decode()


async def test_the_message_has_an_address_for_this_offer_and_not_the_token_of_the_node(site):
    token = str((await site.store.tokens("c", ["a"]))["a"].current.value)
    await site.offer()
    async with site.running():
        await site.until(site.is_taken)
        text = json.loads(site.broker.published[0].body)["url"].split("/")[3]
        offer = await site.current()
        assert token not in site.broker.published[0].body.decode()
        assert site.table.find_download(text, offer.id).node.name == "a"
        assert site.table.find_download(text, "other") is None
        assert site.table.find(text.encode()) is None


async def test_what_a_bus_does_not_acknowledge_is_not_taken_and_is_tried_again(site):
    site.broker.fails = ["the disk of the broker is full"]
    offer = await site.offer()
    async with site.running():
        await site.until(lambda: site.counters.bus_failed["kafka/prod"])
        assert not await site.is_taken()
        await site.until(site.is_taken)
    assert site.ids() == [offer.id]
    assert "the disk of the broker is full" in site.lines.getvalue()


async def test_a_lost_acknowledgement_repeats_the_same_offer(site):
    site.broker.lost = 1
    offer = await site.offer()
    async with site.running():
        await site.until(site.is_taken)
    assert site.ids() == [offer.id, offer.id]
    one, two = (json.loads(published.body)["url"] for published in site.broker.published)
    assert one == two


async def test_a_kill_between_publication_and_record_loses_and_reorders_nothing(site, monkeypatch):
    first = await site.offer()
    never = asyncio.Event()
    monkeypatch.setattr(site.store, "end_publishing", lambda offers: never.wait(), raising=False)
    async with site.running():
        await site.until(lambda: site.broker.published)
    monkeypatch.undo()
    assert not await site.is_taken()
    async with site.running():
        await site.until(site.is_taken)
        second = await site.offer(body=b"two", run="later")
        await site.until(site.is_taken)
    assert site.ids() == [first.id, first.id, second.id]


async def test_an_offer_that_a_newer_one_replaced_is_not_published_any_more(site):
    site.broker.is_down = True
    await site.offer()
    async with site.running():
        await asyncio.sleep(0.3)
        newer = await site.offer(body=b"two", run="later")
        await site.refresh()
        site.broker.is_down = False
        await site.until(site.is_taken)
    assert site.ids()[-1] == newer.id
    assert (await site.current()).id == newer.id


async def test_while_the_bus_does_not_answer_an_offer_can_be_withdrawn(site):
    site.broker.is_down = True
    async with site.running():
        await site.until(lambda: site.service.describe()["kafka/prod"].problem)
        await site.offer()
        await site.refresh()
        await asyncio.sleep(0.3)
        await site.store.withdraw("c", ["a"], OfferFeed.SETTING)
        site.broker.is_down = False
        await asyncio.sleep(0.5)
    assert site.ids() == []
    assert (await site.current()).withdrawn
    assert "message bus not connected" in site.lines.getvalue()


async def test_the_wait_of_an_offer_that_is_over_is_forgotten(site):
    site.broker.fails = ["unknown topic"]
    older = await site.offer()
    async with site.running():
        publisher = await site.until_running()
        await site.until(lambda: older.id in publisher._retries)
        await site.offer(body=b"two")
        await site.until(site.is_taken)
        await site.until(lambda: not publisher._retries)


async def test_a_suspended_cluster_gets_nothing(site):
    await site.store.suspend("c", "no", Actor())
    await site.offer()
    async with site.running():
        await asyncio.sleep(0.5)
        assert site.ids() == []
        await site.store.resume("c", Actor())
        await site.until(site.is_taken)


async def test_one_node_whose_topic_is_refused_does_not_hold_up_the_others(site):
    site.broker.fails = ["unknown topic"] * 1
    await site.offer("a")
    await site.offer("b")
    async with site.running():
        await site.until(lambda: site.is_taken("b") or site.is_taken("a"))


async def test_the_address_of_a_package_is_kept_from_a_shared_channel(site):
    site.use = {**USE, ("c", "b"): NodeBusUse(frozenset({topic("feed-a")}))}
    await site.offer()
    async with site.running():
        await asyncio.sleep(0.5)
    assert site.ids() == []
    assert "an offer is kept from a shared channel" in site.lines.getvalue()


class SharedServer(LinkingServer):
    """A product whose messages have no address, such as a purge."""

    def answer_poll(self, request, offer, parts):
        return InboundAnswer(200, {}, (json.dumps({"offer": offer.id, "run": offer.run}).encode(),))


async def test_one_message_is_for_all_who_share_a_channel_and_each_reports_for_itself(site):
    site.product = SharedServer
    own = NodeBusUse(frozenset({topic("feed-all")}), frozenset({topic("shared")}))
    site.use = {("c", "a"): replace(own, reports=frozenset({topic("reports-a")})), ("c", "b"): own}
    first = await site.offer("a", channel=topic("feed-all"))
    second = await site.offer("b", channel=topic("feed-all"))
    async with site.running():
        await site.until(lambda: site.is_taken("a"))
        await site.until(lambda: site.is_taken("b"))
        (published,) = site.broker.published
        other = first if published.id == second.id else second
        node = "a" if other is first else "b"
        assert {json.loads(published.body)["offer"], other.id} == {first.id, second.id}
        if node == "a":
            report_of = {"succeeded": True, "offer": published.id, "run": "run"}
            site.broker.put("reports-a", report(kind="setting.feedback", **report_of))
            await site.until(lambda: site.broker.acknowledged)
            mail = (await site.store.mail("c", ["a"]))["a"]
            assert mail.offers[0].report is not None


async def test_an_offer_for_brokers_that_no_entry_allows_goes_nowhere(site):
    await site.offer(channel=topic("feed-a", "evil:9092"))
    async with site.running():
        await asyncio.sleep(0.5)
    assert site.ids() == []


async def test_a_report_on_a_channel_of_one_node_is_from_that_node(site):
    site.broker.put("reports-a", report(label="v7", hostname="whatever"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    contact = await site.contact()
    assert contact.label == "v7"
    assert "heartbeat" in contact.heard
    assert site.broker.acknowledged == {"reports-a": 1}


async def test_a_name_on_a_shared_channel_is_a_claim(site):
    site.broker.put("shared", report(label="v7", hostname="b"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    contact = await site.contact("b")
    assert (contact.heard, contact.label) == ({}, "")
    assert contact.claimed is not None
    assert (await site.contact("a")).claimed is None


async def test_the_address_of_a_nodes_own_package_proves_the_sender_on_a_shared_channel(site):
    offer = await site.offer("b")
    async with site.running():
        await site.until(lambda: site.is_taken("b"))
        url = json.loads(site.broker.published[0].body)["url"]
        about = {"succeeded": True, "offer": offer.id, "links": [url], "hostname": "a", "label": "v8"}
        site.broker.put("shared", report(kind="setting.feedback", **about))
        await site.until(lambda: site.broker.acknowledged)
    assert (await site.contact("b")).label == "v8"
    assert (await site.contact("a")).heard == {}


async def test_an_offer_of_another_node_on_a_channel_of_one_node_is_refused(site):
    await site.offer("b")
    async with site.running():
        await site.until(lambda: site.is_taken("b"))
        url = json.loads(site.broker.published[0].body)["url"]
        site.broker.put("reports-a", report(kind="setting.feedback", succeeded=True, links=[url]))
        await site.until(lambda: site.broker.acknowledged)
    assert site.counters.bus_skipped == {"sender": 1}
    assert (await site.contact("a")).heard == (await site.contact("b")).heard == {}


POISON = {
    "no json": b"\xff\xfe not json",
    "empty": b"",
    "a list": b"[1]",
    "another schema": b'{"hostname": 1, "unknown": 2}',
    "a crash of the reader": b'{"crash": "it breaks"}',
}


@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
async def test_a_message_that_is_none_is_skipped_and_what_follows_is_read(site, body):
    site.broker.put("reports-a", body)
    site.broker.put("reports-a", report(label="v7"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged == {"reports-a": 2})
    assert (await site.contact()).label == "v7"
    assert site.counters.bus_skipped.total() == 1
    (line,) = [json.loads(line) for line in site.lines.getvalue().splitlines() if "skipped" in line]
    assert (line["topic"], line["partition"], line["offset"]) == ("reports-a", 0, 0)


async def test_what_the_bus_says_is_no_message_is_skipped(site):
    site.broker.put("reports-a", b"", defect="it has no value (a tombstone)")
    site.broker.put("reports-a", report(label="v7"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged == {"reports-a": 2})
    assert "tombstone" in site.lines.getvalue()


async def test_nothing_is_acknowledged_before_it_is_stored(site, monkeypatch):
    failing = True
    write = site.store.record_calls

    async def record(calls):
        if failing:
            raise StateError("the disk is full")
        return await write(calls)

    monkeypatch.setattr(site.store, "record_calls", record, raising=False)
    site.broker.put("reports-a", report(label="v7"))
    async with site.running():
        await site.until(lambda: site.counters.bus_received["kafka/prod"])
        await asyncio.sleep(0.2)
        assert site.broker.acknowledged == {}
    async with site.running():
        await asyncio.sleep(0.2)
        failing = False
        await site.until(lambda: site.broker.acknowledged)
    assert (await site.contact()).label == "v7"


async def test_a_kill_between_record_and_acknowledgement_counts_a_message_once(site, monkeypatch):
    never = asyncio.Event()
    monkeypatch.setattr(MemoryBus, "acknowledge", lambda self, messages: never.wait())
    site.broker.put("reports-a", report(label="v7"))
    async with site.running():
        await site.until(lambda: site.counters.stored)
    monkeypatch.undo()
    before = await site.contact()
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    assert await site.contact() == before


async def test_a_late_message_does_not_make_a_node_fresh(site):
    site.broker.put("reports-a", report(), at=datetime.now(UTC) - timedelta(hours=2))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    assert datetime.now(UTC) - (await site.contact()).heard["heartbeat"] > timedelta(hours=1)


async def test_a_clock_that_is_ahead_does_not_keep_a_node_fresh(site):
    site.broker.put("reports-a", report(), at=datetime.now(UTC) + timedelta(days=2))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    assert (await site.contact()).heard["heartbeat"] <= datetime.now(UTC)


async def test_the_channel_of_an_earlier_setting_is_still_listened_to(site):
    async with site.running():
        await site.until(lambda: site.service.describe()["kafka/prod"].channels == 2)
    site.use = {("c", "a"): NodeBusUse(reports=frozenset({topic("reports-new")}))}
    site.broker.put("reports-a", report(label="v7"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    assert (await site.contact()).label == "v7"


async def test_the_topic_of_a_node_that_left_may_be_that_of_another_one(site):
    gone = {("c", "gone"): NodeBusUse(reports=frozenset({topic("reports-a")}))}
    site.use = gone
    async with site.running():
        await asyncio.sleep(0.3)
    site.use = USE
    site.broker.put("reports-a", report(label="v7"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    assert (await site.contact()).label == "v7"


async def test_a_node_of_the_file_counts_before_it_has_a_token(site):
    site.use = {**USE, ("c", "new"): NodeBusUse(reports=frozenset({topic("reports-a")}))}
    site.broker.put("reports-a", report(label="v7", hostname="a"))
    async with site.running():
        await site.until(lambda: site.broker.acknowledged)
    contact = await site.contact()
    assert (contact.label, contact.claimed is None) == ("", False)


async def test_the_state_shows_what_waits_and_when_something_was_heard(site):
    site.broker.is_down = True
    await site.offer()
    async with site.running():
        await site.until(lambda: site.service.describe()["kafka/prod"].waiting)
        state = site.service.describe()["kafka/prod"]
        assert state.oldest is not None
        site.broker.is_down = False
        site.broker.put("reports-a", report())
        await site.until(lambda: site.service.describe()["kafka/prod"].heard)
        await site.until(lambda: not site.service.describe()["kafka/prod"].waiting)
