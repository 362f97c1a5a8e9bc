"""Offers that a message bus carries: nothing that may be with a node is taken back, nothing counts twice."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.offers import NOON, make_draft

from reconciler.core.actor import Actor
from reconciler.core.bus_channels import BusChannel, BusKind
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.ports.node_store import CallRecord
from reconciler.store.factory import open_store

OURS = FleetIdentity("/srv/ours", name="ours")
FEED = BusChannel(BusKind.KAFKA, ("kafka-1:9092",), "m2.edge-01")
REPORTS = "kafka/prod/reports"


@pytest.fixture
async def store(tmp_path):
    with open_store(tmp_path) as opened:
        store = await opened.enter_fleet(OURS)
        await store.enrol("c", "m2", ["a"])
        yield store


def draft(body=b"one", **changes):
    return replace(make_draft("a", body), channel=FEED, **changes)


async def current(store):
    return (await store.read_changes(0)).offers[1, "c", "a"][OfferFeed.SETTING]


def report(offset, seconds=0, **changes):
    at = NOON + timedelta(seconds=seconds)
    fields = {"fleet": 1, "cluster": "c", "node": "a", "kind": "heartbeat.feedback", "at": at}
    return CallRecord(**{**fields, "channel": REPORTS, "offset": offset, **changes})


async def test_an_offer_counts_as_taken_only_when_the_bus_has_it(store):
    offer = await store.offer(draft(), "run", "rev")
    assert offer.channel == FEED
    assert await store.begin_publishing([offer.id]) == frozenset()
    begun, last = await current(store)
    assert begun.taken is None
    assert begun.sent is not None
    assert last is None
    await store.end_publishing([offer.id])
    newest, last = await current(store)
    assert newest.taken is not None
    assert newest == last


async def test_a_publication_that_was_cut_off_is_begun_again(store):
    offer = await store.offer(draft(), "run", "rev")
    await store.begin_publishing([offer.id])
    assert await store.begin_publishing([offer.id]) == frozenset()


async def test_what_may_be_with_the_node_is_not_withdrawn(store):
    offer = await store.offer(draft(), "run", "rev")
    await store.begin_publishing([offer.id])
    await store.withdraw("c", ["a"], OfferFeed.SETTING)
    newest, _ = await current(store)
    assert not newest.withdrawn
    assert newest.may_be_with_node


async def test_what_was_withdrawn_before_is_not_published(store):
    offer = await store.offer(draft(), "run", "rev")
    await store.withdraw("c", ["a"], OfferFeed.SETTING)
    assert await store.begin_publishing([offer.id]) == {offer.id}


async def test_what_is_suspended_is_not_published(store):
    offer = await store.offer(draft(), "run", "rev")
    await store.suspend("c", "no", Actor())
    assert await store.begin_publishing([offer.id]) == {offer.id}


async def test_an_offer_to_a_node_that_polls_is_not_published(store):
    offer = await store.offer(make_draft("a"), "run", "rev")
    assert await store.begin_publishing([offer.id]) == {offer.id}


async def test_the_end_of_a_publication_that_never_began_changes_nothing(store):
    offer = await store.offer(draft(), "run", "rev")
    await store.end_publishing([offer.id])
    assert (await current(store))[0].taken is None


async def heard(store):
    (contact,) = await store.contacts()
    return contact.heard


async def test_a_message_that_is_recorded_does_not_count_again(store):
    await store.record_calls([report(0, kind="first"), report(1, 5)])
    await store.record_calls([report(0, kind="again"), report(1, 5, kind="again"), report(2, 6)])
    assert "again" not in await heard(store)
    assert (await heard(store))["heartbeat.feedback"] == NOON + timedelta(seconds=6)


async def test_a_channel_that_was_made_again_begins_anew(store):
    await store.record_calls([report(700)])
    await store.record_calls([report(0, 60)])
    assert (await heard(store))["heartbeat.feedback"] == NOON + timedelta(seconds=60)


async def test_a_late_message_does_not_make_a_node_younger_or_older(store):
    await store.record_calls([report(0, 60, label="v2")])
    await store.record_calls([report(0, 0, label="v1", partition=1)])
    (contact,) = await store.contacts()
    assert contact.label == "v2"
    assert contact.heard["heartbeat.feedback"] == NOON + timedelta(seconds=60)


async def test_a_claim_is_shown_and_proves_nothing(store):
    await store.record_calls([report(0, label="v9", is_claim=True)])
    (contact,) = await store.contacts()
    assert contact.claimed == NOON
    assert (contact.heard, contact.label) == ({}, "")
    assert (await store.mail("c", ["a"]))["a"].heard is None


async def test_earlier_report_channels_are_remembered(store):
    other = BusChannel(BusKind.KAFKA, ("kafka-1:9092",), "later")
    await store.note_report_channels({("c", "a"): frozenset({FEED})})
    assert await store.note_report_channels({("c", "a"): frozenset({other})}) == {("c", "a"): {FEED, other}}
