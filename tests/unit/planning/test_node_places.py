"""The places of one cluster are judged as in the whole fleet, although less is compared and read for it."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from support.driver import cluster
from support.driver import fleet as make_fleet
from support.memory_files import fleet_of

from reconciler.api.reader import _list_unread_clusters
from reconciler.core.memory import FleetMemory, PlaceClaim
from reconciler.desired.fleet import add_desired_state
from reconciler.drivers.registry import DRIVERS
from reconciler.planning.node_places import locate_nodes
from reconciler.ports.inventory import UnreadInventory
from reconciler.ports.transport import Http

ADDRESSES = {
    "apart": ["192.0.2.1", "192.0.2.2"],
    "shares-a-name": ["one.example.com", "192.0.2.4"],
    "shares-an-address": ["192.0.2.9", "two.example.com"],
    "claimed": ["192.0.2.20", "192.0.2.21"],
}
NAMES = {"one.example.com": ("192.0.2.30",), "two.example.com": ("192.0.2.30", "192.0.2.31")}
CLAIMS = {
    "192.0.2.20:10040": PlaceClaim(2, "other", "x", "another fleet"),
    "192.0.2.8:10040": PlaceClaim(1, "claimed", "claimed-0"),
    "192.0.2.7:10040": PlaceClaim(1, "apart", "apart-1"),
}


class Names(Http):
    """Resolves names, and sends nothing."""

    async def send(self, *_, **__):
        raise AssertionError

    async def resolve(self, host):
        return NAMES[host]


@pytest.fixture
def fleet():
    clusters = [
        {
            "name": name,
            "kind": "m2",
            "setting": "s.json",
            "nodes": [{"name": f"{name}-{index}", "address": one} for index, one in enumerate(addresses)],
        }
        for name, addresses in ADDRESSES.items()
    ]
    files = {"fleet.json": json.dumps({"clusters": clusters}), "s.json": '{"meta": {"version": "1"}}'}
    return add_desired_state(fleet_of(files), DRIVERS)


@pytest.mark.parametrize("name", ADDRESSES)
async def test_one_cluster_has_the_conflicts_that_it_has_in_a_pass_over_all(fleet, name):
    memory = FleetMemory(at=datetime(2026, 11, 30, tzinfo=UTC), fleet=1, claims=CLAIMS)
    whole = await locate_nodes(fleet, Names(), memory)
    alone = await locate_nodes(fleet, Names(), memory, name)
    assert alone.places == whole.places
    assert list(alone.violations.get(name, ())) == list(whole.violations.get(name, ()))
    assert list(alone.released.get(name, ())) == list(whole.released.get(name, ()))


async def test_the_fleet_has_each_kind_of_conflict(fleet):
    """So that the test above compares something."""
    memory = FleetMemory(at=datetime(2026, 11, 30, tzinfo=UTC), fleet=1, claims=CLAIMS)
    whole = await locate_nodes(fleet, Names(), memory)
    codes = {name: [one.code for one in found] for name, found in whole.violations.items() if found}
    assert codes == {
        "shares-a-name": ["one-address-twice"],
        "shares-an-address": ["one-address-twice"],
        "claimed": ["another-fleet"],
    }
    assert whole.released == {"claimed": ["192.0.2.8:10040"], "apart": ["192.0.2.7:10040"]}


async def test_places_are_found_once_for_a_revision_and_again_for_other_addresses_or_files(
    fleet, monkeypatch
):
    memory = FleetMemory(at=datetime(2026, 11, 30, tzinfo=UTC), fleet=1)
    first = await locate_nodes(fleet, Names(), memory, "apart")
    again = await locate_nodes(add_desired_state(fleet, DRIVERS), Names(), memory, "claimed")
    assert again.places is first.places
    monkeypatch.setitem(NAMES, "one.example.com", ("192.0.2.1",))
    moved = await locate_nodes(fleet, Names(), memory, "apart")
    assert moved.places["shares-a-name"]["shares-a-name-0"] == ("one.example.com:10040", "192.0.2.1:10040")
    assert [one.code for one in moved.violations["apart"]] == ["one-address-twice"]
    without = replace(fleet, desired=tuple(fleet.desired[1:]))
    assert len((await locate_nodes(without, Names(), memory)).places) == len(fleet.desired) - 1


def test_a_pass_asks_for_the_nodes_of_its_cluster_and_of_those_that_it_waits_for():
    entries = [
        cluster("a", {"n": "1"}, after=("b",)),
        cluster("b", {"n": "1"}, after=("c",)),
        cluster("c", {"n": "1"}),
        cluster("d", {"n": "1"}, after=("a",)),
    ]
    inputs = make_fleet(*entries).cluster_inputs
    assert _list_unread_clusters(inputs, "a") == {"d"}
    assert _list_unread_clusters(inputs, "c") == {"a", "b", "d"}


def test_a_pass_asks_for_the_history_of_the_name_that_its_cluster_had():
    entries = [
        cluster("new", {"n": "1"}, renamed_from="b"),
        cluster("b", {"n": "1"}),
        cluster("c", {"n": "1"}),
    ]
    assert _list_unread_clusters(make_fleet(*entries).cluster_inputs, "new") == {"c"}


@pytest.mark.parametrize(
    "origin",
    [{"inventory": {"n": None}}, {"unread": UnreadInventory(None, "no answer")}],
    ids=["read", "unread"],
)
def test_with_an_inventory_the_places_of_all_clusters_are_asked_for(origin):
    first, second = make_fleet(cluster("a", {"n": "1"}), cluster("b", {"n": "1"})).cluster_inputs
    assert _list_unread_clusters((first, second), "a") == {"b"}
    assert _list_unread_clusters((first, replace(second, **origin)), "a") == frozenset()
