"""Simulated nodes that start and go down: whoever breaks off leaves none of them in between."""

import asyncio

import pytest
from support.memory_files import fleet_of

from reconciler.drivers.collab.simulator.simulator import SIMULATOR
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.simulation.simulated_node import follow_world, kill_node, start_node

NODE = "collab-01-server-1"


async def is_listening(address):
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionError:
        return False
    writer.close()
    return True


@pytest.fixture
async def place():
    fleet = fleet_of(SIMULATOR.sample_fleet(find_free_addresses(5), same_port=False))
    async with Simulation(fleet, DRIVERS, converged=True) as simulation:
        yield simulation._places[NODE]


@pytest.mark.parametrize("steps", range(6))
async def test_a_start_that_is_broken_off_is_completed(place, steps):
    # A connection that is open makes the listener wait while it closes.
    _, writer = await asyncio.open_connection(place.address.host, place.address.port)
    starting = asyncio.ensure_future(start_node(place))
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    writer.close()
    assert place.is_up
    assert await is_listening(place.address)


@pytest.mark.parametrize("steps", range(4))
async def test_a_node_that_is_killed_while_it_starts_is_down(place, steps):
    starting = asyncio.ensure_future(start_node(place))
    for _ in range(steps):
        await asyncio.sleep(0)
    await asyncio.gather(kill_node(place), starting)
    assert await is_listening(place.address) is place.is_up


async def test_several_may_start_it_at_once(place):
    await asyncio.gather(*(start_node(place) for _ in range(4)), *(follow_world(place) for _ in range(4)))
    assert place.is_up
    assert await is_listening(place.address)
