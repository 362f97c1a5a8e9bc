"""Nodes are written to at the addresses that their own fleet file names, whatever this host remembers."""

from support.simulated_nodes import m2_cluster, setting, sora_cluster

from reconciler.core.observation import Unreachable
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation


def version(simulation, cluster, node):
    return simulation.world(cluster).state(node).running["meta"]["version"]


async def test_another_fleet_with_a_cluster_of_the_same_name_does_not_reach_the_first_ones_nodes(host):
    port = find_free_addresses(1)[0].port
    first = host.fleet("/srv/first", m2_cluster("edge", {"edge-01": "127.0.0.1"}), s_json=at_port(port, "A"))
    async with Simulation(first, DRIVERS) as simulation:
        assert await host.run(first) == {"edge-01": "done"}
        second = host.fleet("/srv/second", m2_cluster("edge", {"edge-01": "127.0.0.2"}))
        assert await host.run(second) == {}
        assert isinstance((await host.look(second)).guard_contexts[0].observed.nodes["edge-01"], Unreachable)
        assert version(simulation, "edge", "edge-01") == "A"


async def test_a_node_that_moves_to_another_host_is_not_written_at_the_old_one(host):
    port = find_free_addresses(1)[0].port
    before = host.fleet("/srv/fleet", m2_cluster("edge", {"edge-01": "127.0.0.1"}), s_json=at_port(port, "A"))
    async with Simulation(before, DRIVERS) as simulation:
        assert await host.run(before) == {"edge-01": "done"}
        after = host.fleet("/srv/fleet", m2_cluster("edge", {"edge-01": "127.0.0.2"}), s_json=setting("B"))
        assert await host.run(after) == {}
        assert version(simulation, "edge", "edge-01") == "A"


async def test_a_remembered_port_finds_a_node_of_the_same_fleet_on_the_same_host(host):
    port, other = (place.port for place in find_free_addresses(2))
    cluster = m2_cluster("edge", {"edge-01": "127.0.0.1"})
    before = host.fleet("/srv/fleet", cluster, s_json=at_port(port, "A"))
    async with Simulation(
        before, DRIVERS
    ) as simulation:  # the simulated node keeps listening at its first port
        assert await host.run(before) == {"edge-01": "done"}
        assert await host.run(host.fleet("/srv/fleet", cluster, s_json=at_port(other, "B"))) == {
            "edge-01": "done"
        }
        assert version(simulation, "edge", "edge-01") == "B"


async def test_another_fleet_does_not_learn_a_port_that_was_remembered(host):
    port, other = (place.port for place in find_free_addresses(2))
    cluster = m2_cluster("edge", {"edge-01": "127.0.0.1"})
    first = host.fleet("/srv/first", cluster, s_json=at_port(port, "A"))
    async with Simulation(first, DRIVERS) as simulation:
        assert await host.run(first) == {"edge-01": "done"}
        assert await host.run(host.fleet("/srv/second", cluster, s_json=at_port(other, "B"))) == {}
        assert version(simulation, "edge", "edge-01") == "A"


async def test_a_mode_that_one_fleet_set_is_nothing_that_another_fleet_set(host):
    places = find_free_addresses(3)
    nodes = {f"n{number}@10.0.0.{number}": f"http://{place}/" for number, place in enumerate(places, 1)}
    blocked = sora_cluster("it", nodes)
    blocked["nodes"][0]["mode"] = "block_new_connection"
    normal = sora_cluster("it", nodes)
    normal["nodes"][0]["mode"] = "normal"
    async with Simulation(host.fleet("/srv/first", sora_cluster("it", nodes)), DRIVERS, converged=True):
        assert await host.run(host.fleet("/srv/first", blocked)) == {"n1@10.0.0.1": "done"}
        seen = await host.look(host.fleet("/srv/second", normal))
        assert [finding.code for finding in seen.plan.findings()] == ["node-blocked-itself"]
        assert await host.run(host.fleet("/srv/first", normal)) == {"n1@10.0.0.1": "done"}


def at_port(port, version):
    document = setting(version)
    document["env"]["management"]["api"]["port"] = port
    return document
