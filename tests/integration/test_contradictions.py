"""Addresses that contradict each other stop their cluster before anything is sent, with both facts told."""

import pytest
from support.simulated_nodes import m2_cluster, setting, sora_cluster

from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation


def told(seen):
    return [(one.code, one.target) for one in seen.violations if one.code != "lock-out"]


async def test_one_node_by_its_name_and_by_its_address_is_refused(host):
    port = find_free_addresses(1)[0].port
    nodes = {"edge-01": f"127.0.0.1:{port}", "edge-02": f"localhost:{port}"}
    first = host.fleet("/srv/f", m2_cluster("edge", {"edge-01": nodes["edge-01"]}))
    async with Simulation(first, DRIVERS) as nodes_up:
        fleet = host.fleet("/srv/f", m2_cluster("edge", nodes))
        seen = await host.look(fleet)
        assert told(seen) == [("one-address-twice", "edge/edge-02")]
        message = next(one.message for one in seen.violations if one.code == "one-address-twice")
        assert f"edge-01 at http://127.0.0.1:{port}" in message
        assert f"edge-02 at http://localhost:{port}" in message
        assert seen.refused_clusters == {"edge"}
        assert await host.run(fleet) == {}
        assert not nodes_up.calls(changes=True)


async def test_one_node_in_two_clusters_is_refused_in_both_also_where_one_is_looked_at_alone(host):
    port = find_free_addresses(1)[0].port
    clusters = (
        m2_cluster("east", {"e1": f"127.0.0.1:{port}"}),
        m2_cluster("west", {"w1": f"localhost:{port}"}),
    )
    fleet = host.fleet("/srv/f", *clusters)
    assert told(await host.look(fleet)) == [
        ("one-address-twice", "east/e1"),
        ("one-address-twice", "west/w1"),
    ]
    assert told(await host.look(fleet, only="west")) == [("one-address-twice", "west/w1")]


async def test_nodes_that_are_told_apart_by_port_are_no_contradiction(host):
    first, second = find_free_addresses(2)
    nodes = {"a": f"127.0.0.1:{first.port}", "b": f"localhost:{second.port}"}
    assert told(await host.look(host.fleet("/srv/f", m2_cluster("edge", nodes)))) == []


@pytest.fixture
async def shared(host):
    """A fleet that has written to its node, and the node."""
    address = str(find_free_addresses(1)[0])
    fleet = host.fleet("/srv/first", m2_cluster("edge", {"edge-01": address}), s_json=setting("first"))
    async with Simulation(fleet, DRIVERS) as simulation:
        assert await host.run(fleet) == {"edge-01": "done"}
        yield address, simulation


async def test_a_second_fleet_at_the_same_address_leaves_its_cluster_and_does_the_others(host, shared):
    address, simulation = shared
    second = host.fleet("/srv/second", m2_cluster("other", {"node": address}), s_json=setting("second"))
    seen = await host.look(second)
    assert told(seen) == [("another-fleet", "other/node")]
    assert "/srv/first" in seen.violations[0].message
    assert "/srv/second" in seen.violations[0].message
    assert await host.run(second) == {}
    assert simulation.world("edge").state("edge-01").running["meta"]["version"] == "first"


async def test_a_fleet_that_found_its_content_in_place_holds_the_address_as_well(host):
    address = str(find_free_addresses(1)[0])
    first = host.fleet("/srv/first", m2_cluster("edge", {"edge-01": address}), s_json=setting("first"))
    async with Simulation(first, DRIVERS, converged=True):
        assert await host.run(first) == {}
        second = host.fleet("/srv/second", m2_cluster("edge", {"node": address}), s_json=setting("second"))
        assert told(await host.look(second)) == [("another-fleet", "edge/node")]


async def test_a_first_fleet_that_names_a_node_no_more_gives_it_up(host, shared):
    address, _ = shared
    elsewhere = str(find_free_addresses(1)[0])
    smaller = host.fleet("/srv/first", m2_cluster("edge", {"edge-01": elsewhere}))
    await host.run(smaller)
    second = host.fleet("/srv/second", m2_cluster("other", {"node": address}), s_json=setting("second"))
    assert await host.run(second) == {"node": "done"}
    assert told(await host.look(host.fleet("/srv/first", m2_cluster("edge", {"edge-01": address})))) == [
        ("another-fleet", "edge/edge-01")
    ]


@pytest.mark.parametrize("source", ["/srv/first", "file:///srv//first", "/srv//first"])
async def test_a_folder_and_the_same_folder_of_a_repository_are_one_fleet(host, shared, source):
    address, _ = shared
    assert told(await host.look(host.fleet(source, m2_cluster("edge", {"edge-01": address})))) == []


def sora_nodes(places):
    return {f"n{number}@10.0.0.{number}": f"http://{place}/" for number, place in enumerate(places, 1)}


async def test_two_sora_nodes_with_swapped_addresses_stop_their_cluster(host):
    places = find_free_addresses(3)
    right = sora_nodes(places)
    swapped = dict(
        zip(right, [right["n2@10.0.0.2"], right["n1@10.0.0.1"], right["n3@10.0.0.3"]], strict=True)
    )
    blocked = sora_cluster("it", swapped)
    blocked["nodes"][0]["mode"] = "block_new_session"
    async with Simulation(
        host.fleet("/srv/f", sora_cluster("it", right)), DRIVERS, converged=True
    ) as simulation:
        fleet = host.fleet("/srv/f", blocked)
        seen = await host.look(fleet)
        assert told(seen) == [
            ("addresses-swapped", "it/n1@10.0.0.1"),
            ("addresses-swapped", "it/n2@10.0.0.2"),
        ]
        assert str(places[0]) in seen.violations[0].message
        assert str(places[1]) in seen.violations[0].message
        assert await host.run(fleet) == {}
        assert not simulation.calls(changes=True)


async def test_an_external_url_that_only_differs_is_no_contradiction(host):
    places = find_free_addresses(3)
    right = sora_nodes(places)
    async with Simulation(
        host.fleet("/srv/f", sora_cluster("it", right)), DRIVERS, converged=True
    ) as simulation:
        site = simulation.world("it").site
        site.apis = {name: f"https://node{number}.example.com/api" for number, name in enumerate(site.apis)}
        assert told(await host.look(host.fleet("/srv/f", sora_cluster("it", right)))) == []
