"""Import, then plan, is empty: over Sora clusters that any walk of calls and faults may lead to."""

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_files import snapshot_of
from support.sora_executions import NAMES, REGULAR, MemoryWire, choices, entry_of, scenes, world_after

from reconciler.adopt.importer import import_live_state
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.errors import NodeError, StateError, UsageError
from reconciler.host.host import Host
from reconciler.ports.transport import Transports
from reconciler.secrets.local_resolver import LocalResolver


def import_into(files, entries, wire):
    snapshot = snapshot_of(files) if files else None
    found = asyncio.run(
        import_live_state(
            snapshot, entries, drivers=DRIVERS, transports=Transports(wire), resolver=LocalResolver(Host())
        )
    )
    return files | dict(found.after)


def begun(world, wire, name):
    entry = asyncio.run(DRIVERS["sora"].read_cluster_entry("live", [world.site.apis[name]], Transports(wire)))
    return import_into({}, [entry], wire)


def steps(files, wire):
    (cluster_input,) = load_fleet(snapshot_of(files), DRIVERS, LocalResolver(Host())).cluster_inputs
    desired = DRIVERS["sora"].desire(cluster_input)
    return (
        DRIVERS["sora"].plan(desired, asyncio.run(DRIVERS["sora"].observe(desired, Transports(wire)))).steps
    )


def written(entry):
    nodes = [
        {"name": node.name, "api": node.api} | ({"temporary": True} if node.temporary else {})
        for node in entry.nodes
    ]
    return {"fleet.json": json.dumps({"clusters": [{"name": "live", "kind": "sora", "nodes": nodes}]})}


@settings(max_examples=80, deadline=None)
@given(scenes(), choices, st.sampled_from(NAMES))
def test_an_imported_cluster_is_as_desired_after_any_history(scene, taken, asked):
    walk, names = scene
    world = world_after(walk, taken)
    wire, before = MemoryWire(world), world.state
    first = written(entry_of(names))
    for attempt in (lambda: begun(world, wire, asked), lambda: import_into(first, [], wire)):
        try:
            files = attempt()
        except (NodeError, UsageError, StateError):
            continue  # it says that it cannot know, which the next test bounds
        assert steps(files, wire) == ()
        assert import_into(files, [], wire) == files
    assert world.state == before


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, REGULAR - 1), min_size=1), st.integers(0, REGULAR - 1), choices)
def test_a_cluster_that_is_whole_is_always_imported(left, asked, taken):
    world = SoraWorld.from_entry(entry_of(NAMES), True, taken, ())
    wire = MemoryWire(world)
    files = begun(world, wire, NAMES[asked])
    assert [name for name in NAMES if name not in files["fleet.yaml"]] == []
    fewer = written(entry_of([name for number, name in enumerate(NAMES) if number in left]))
    again = import_into(fewer, [], wire)
    assert {node["name"] for node in json.loads(again["fleet.json"])["clusters"][0]["nodes"]} == set(NAMES)
    assert steps(files, wire) == steps(again, wire) == ()
