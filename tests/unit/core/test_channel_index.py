"""Channels of message buses: the index of listeners finds exactly those whose channels meet."""

import random
from itertools import product

import pytest

from reconciler.core.bus_channels import BusChannel, BusKind, ChannelIndex

PATHS = ("feeds", "feeds/a", "feeds/b", "feeds/a/more", "feeds/a/more/x", "feed", "feed/a")
CHANNELS = [
    *(BusChannel(BusKind.FIRESTORE, (project,), path) for project, path in product(("one", "two"), PATHS)),
    *(BusChannel(BusKind.KAFKA, (broker,), topic) for broker, topic in product(("k:1", "k:2"), PATHS[:2])),
]


@pytest.mark.parametrize("seed", range(5))
def test_the_index_finds_whose_channels_meet(seed):
    chance = random.Random(seed)
    listeners = [(name, channel) for name in "abcdefgh" for channel in chance.choices(CHANNELS, k=3)]
    index = ChannelIndex(listeners)
    for _ in range(2):  # the second time from what it remembers
        for channel in CHANNELS:
            met = {name for name, one in listeners if channel.meets(one)}
            found = index.find(channel)
            assert (set(found), len(found)) == (met, len(met)), channel.label


def test_an_index_of_nobody_finds_nobody():
    assert {ChannelIndex().find(channel) for channel in CHANNELS} == {()}


def test_listeners_of_a_document_and_of_its_collection_hear_each_other():
    in_collection, in_document, beside = (
        BusChannel(BusKind.FIRESTORE, ("one",), path) for path in ("feeds", "feeds/a", "feeds/b")
    )
    index = ChannelIndex([("all", in_collection), ("a", in_document)])
    assert index.find(in_collection) == ("all", "a")
    assert index.find(in_document) == ("a", "all")
    assert index.find(beside) == ("all",)
