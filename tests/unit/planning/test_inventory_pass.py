"""Passes over nodes that an inventory gives, against simulated nodes."""

import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from support.http_servers import place
from support.inventories import NOW, inventory, listed, query, unread
from support.memory_files import json_files
from support.simulated_nodes import Host, setting

from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.planning.inventory_report import list_inventory_uses
from reconciler.planning.leaving_nodes import list_leaving_nodes
from reconciler.ports.inventory import Inventory, UnreadInventory
from reconciler.ports.source import Snapshot
from reconciler.simulation.node_host import Simulation

EDGE = {"inventory": "aws:vm:tag=edge"}
TIMEOUTS = {"connect": 0.5, "read": 1, "settle": 0.5}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return place(probe)[1]


@pytest.fixture
def port():
    return free_port()


class Fleets:
    """Fleets of one source, whose revision stays the same whatever instances there are."""

    def __init__(self, port):
        self.port = port
        self.version = "1"

    def cluster(self, name="edge", tag="edge", **more):
        nodes = [{"inventory": f"#aws:vm:tag={tag}#:{self.port}"}]
        return {"name": name, "kind": "m2", "setting": "s.json", "nodes": nodes, "timeouts": TIMEOUTS, **more}

    def load(self, known, *clusters, **more):
        whole = {
            "fleet.json": {"clusters": clusters or [self.cluster()], **more},
            "s.json": setting(self.version),
        }
        revision = Revision("/fleet", f"{int(self.version):040x}", self.version)
        return load_fleet(Snapshot(revision, json_files(whole), inventory=known), DRIVERS)


@asynccontextmanager
async def simulated(fleets, known):
    """Nodes that have an older setting."""
    version, fleets.version = fleets.version, "0"
    fleet = fleets.load(known)
    fleets.version = version
    async with Simulation(fleet, DRIVERS, converged=True) as nodes:
        yield nodes


def codes(result):
    return [one.code for one in result.violations]


FOUR = {"i_1": "127.0.0.11", "i_2": "127.0.0.12", "i_3": "127.0.0.13", "i_4": "127.0.0.14"}


async def test_instances_are_planned_and_applied_like_nodes_of_the_file(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    known = inventory(**FOUR)
    async with simulated(fleets, known):
        seen = await host.look(fleets.load(known))
        assert sorted(step.node for step in seen.plan.steps()) == ["i-1", "i-2", "i-3", "i-4"]
        (use,) = list_inventory_uses(seen.fleet, NOW + timedelta(seconds=40))
        assert use.describe() == "4 instances of aws:vm:tag=edge (prod), read 40 s ago"
        ended = await host.run(fleets.load(known, fleets.cluster(policy={"max_changed": "100%"})))
        assert set(ended.values()) == {"done"}


async def test_a_list_that_is_not_known_sends_nothing_and_forgets_nothing(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    known = inventory(**FOUR)
    wide = fleets.cluster(policy={"max_changed": "100%"})
    override = {"guard": "inventory-unread", "target": "edge", "until": "2099-01-01", "reason": "long enough"}
    async with simulated(fleets, known) as nodes:
        assert await host.run(fleets.load(known, wide))
        fleets.version = "2"
        before = len(nodes.calls())
        for more in ({}, {"overrides": [override]}):
            seen = await host.look(fleets.load(unread(), wide, **more))
            assert codes(seen) == ["inventory-unread"]
            assert "it does not answer" in seen.violations[0].message
            assert not list(seen.plan.steps())
            assert not seen.is_refused
            assert await host.run(fleets.load(unread(), wide, **more)) == {}
        assert len(nodes.calls()) == before
        assert not [one for one in seen.fleet.warnings if "no longer managed" in one.message]
        # And the members that were known last are still what a shrink is compared with.
        seen = await host.look(fleets.load(inventory(i_1="127.0.0.11"), wide))
        assert "desired-shrank" in codes(seen)
        assert "i-2, i-3, i-4" in seen.violations[0].message


async def test_other_clusters_continue_and_those_after_it_wait(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    good = inventory(i_1="127.0.0.11").answers | {query("aws:vm:tag=away"): UnreadInventory("it is away")}
    known = Inventory(good, NOW)
    away = fleets.cluster("away", "away")
    async with simulated(fleets, known):
        alone = await host.look(fleets.load(known, away, fleets.cluster(policy={"max_changed": "100%"})))
        assert [one.cluster for one in alone.violations] == ["away"]
        assert not alone.is_refused
        after = await host.look(fleets.load(known, away, fleets.cluster(after=["away"])))
        assert {one.code for one in after.violations} >= {"inventory-unread", "waits-for-cluster"}


async def test_an_earlier_list_is_marked_with_its_age(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    stale = Inventory({query(): listed_before(minutes=9, failure="EC2 answers 503")}, NOW)
    async with simulated(fleets, stale):
        seen = await host.look(fleets.load(stale))
    (told,) = [one for one in seen.fleet.warnings if one.code == "inventory-stale"]
    assert "EC2 answers 503" in told.message
    (use,) = list_inventory_uses(seen.fleet, NOW)
    assert use.describe() == "1 instance of aws:vm:tag=edge (prod), by a list that is 9 min old"


def listed_before(minutes, failure=""):
    return replace(listed(i_1="127.0.0.11"), read_at=NOW - timedelta(minutes=minutes), failure=failure)


async def test_where_another_host_asks_the_inventory_the_cluster_is_left_out_with_a_warning(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    elsewhere = unread("no host configuration", is_elsewhere=True)
    seen = await host.look(fleets.load(elsewhere))
    assert not seen.violations
    assert "inventory-unread" in {one.code for one in seen.fleet.warnings}
    applying = await host.look(fleets.load(elsewhere), is_applying=True)
    assert codes(applying) == ["inventory-unread"]


async def test_an_address_that_another_instance_got_is_told_before_anything_is_sent(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    wide = fleets.cluster(policy={"max_changed": "100%", "max_shrink": "50%"})
    async with simulated(fleets, inventory(**FOUR)):
        assert await host.run(fleets.load(inventory(**FOUR), wide))
        # i-4 is gone, and i-5 has its address.
        replaced = {**FOUR, "i_5": FOUR["i_4"]}
        del replaced["i_4"]
        seen = await host.look(fleets.load(inventory(**replaced), wide))
        (told,) = [one for one in seen.plan.findings() if one.code == "address-reassigned"]
        assert told.target == "edge/i-5"
        assert f"{FOUR['i_4']}:{port}" in told.message
        assert "i-4, which is no longer listed" in told.message
        assert not seen.violations
        # Nothing that is known of i-4 counts for i-5.
        (context,) = seen.guard_contexts
        assert "i-5" not in context.node_facts
        # i-1 and i-2 have changed places: one of the two answers is wrong.
        swapped = {**FOUR, "i_1": FOUR["i_2"], "i_2": FOUR["i_1"]}
        seen = await host.look(fleets.load(inventory(**swapped), wide))
        assert codes(seen) == ["address-reassigned"] * 2
        assert await host.run(fleets.load(inventory(**swapped), wide)) == {}


async def test_a_shrink_by_the_inventory_is_held_back_like_one_of_the_fleet_file(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    wide = fleets.cluster(policy={"max_changed": "100%"})
    three = {name: address for name, address in FOUR.items() if name != "i_4"}
    async with simulated(fleets, inventory(**FOUR)):
        assert await host.run(fleets.load(inventory(**FOUR), wide))
        seen = await host.look(fleets.load(inventory(**three), wide))
        assert not seen.violations
        assert [one.message for one in seen.fleet.warnings if "no longer managed" in one.message]
        (leaving,) = list_leaving_nodes(seen.guard_contexts[0])
        assert leaving.node == "i-4"
        assert "the inventory no longer finds it" in leaving.reason
        two = {name: FOUR[name] for name in ("i_1", "i_2")}
        seen = await host.look(fleets.load(inventory(**two), wide))
        assert codes(seen) == ["desired-shrank"]
        assert "inventory" in seen.violations[0].message
        # Others in their place do not make up for them.
        others = {**two, "i_8": "127.0.0.18", "i_9": "127.0.0.19"}
        assert codes(await host.look(fleets.load(inventory(**others), wide))) == ["desired-shrank"]


async def test_the_blast_radius_counts_new_instances(tmp_path, port):
    fleets, host = Fleets(port), Host(tmp_path)
    seen_fleet = fleets.load(inventory(**FOUR), fleets.cluster(policy={"max_changed": 2}))
    async with simulated(fleets, inventory(**FOUR)):
        assert "blast-radius" in codes(await host.look(seen_fleet))
