"""Import, then plan, is empty: over fleets of M2 nodes that agree, nearly agree, and drift apart."""

import asyncio
import copy

from hypothesis import given, settings
from hypothesis import strategies as st
from support.m2_wire import BASE, WorldWire, world
from support.memory_files import snapshot_of

from reconciler.adopt.importer import import_live_state
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import SecretError
from reconciler.ports.transport import Transports

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([1.5, "x", "${env:NOT_ONE}", "$${"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def settings_of_a_node(draw):
    document = copy.deepcopy(BASE)
    management = document["env"]["management"]
    management["cluster"]["balance"]["mode"] = draw(st.sampled_from(["rr", "hash"]))
    if draw(st.booleans()):
        document["custom"] = draw(VALUES)
    if draw(st.booleans()):
        document["hosting"] = [
            {"name": name, "listen": draw(st.sampled_from(["*:80", "off"]))}
            for name in draw(st.lists(st.sampled_from(["a.x", "b.x", "c.x"]), unique=True))
        ]
    keys = draw(st.lists(st.sampled_from(["hunter2hunter2", "correct horse"]), max_size=2))
    management["server"] = {
        "connection": [
            {"name": f"c{number}", "type": "awssdk3", "info": {"accessKeyId": "id", "secretAccessKey": key}}
            for number, key in enumerate(keys)
        ]
    }
    return document


FLEETS = st.lists(settings_of_a_node(), min_size=1, max_size=4)


class Known:
    """A vault of environment variables."""

    def __init__(self, named):
        self.named = named

    def resolve(self, scheme, name):
        if name not in self.named:
            raise SecretError(f"{name} is not set")
        return self.named[name]


def wire_of(documents):
    nodes = tuple(f"edge-{number:02}" for number in range(1, len(documents) + 1))
    served = world(nodes=nodes)
    for node, document in zip(nodes, documents, strict=True):
        served._nodes[node] = world(document, nodes=(node,)).state(node)
    return WorldWire(served)


def addresses(documents):
    return [f"edge-{number:02}.example.com" for number in range(1, len(documents) + 1)]


async def planned(files, wire, resolver):
    (cluster_input,) = load_fleet(snapshot_of(files), DRIVERS, resolver).cluster_inputs
    desired = DRIVERS["m2"].desire(cluster_input)
    return DRIVERS["m2"].plan(desired, await DRIVERS["m2"].observe(desired, Transports(wire))).steps


async def imported(documents, drifted):
    wire = wire_of(documents)
    entry = await DRIVERS["m2"].read_cluster_entry("edge", addresses(documents), Transports(wire))
    first = await import_live_state(
        None, [entry], drivers=DRIVERS, transports=Transports(wire), resolver=Known({})
    )
    files, resolver = dict(first.after), Known(dict(first.secrets))
    assert [
        (secret, text) for secret in first.secrets.values() for text in files.values() if secret in text
    ] == []
    assert await planned(files, wire, resolver) == ()
    again = await import_live_state(
        snapshot_of(files), [], drivers=DRIVERS, transports=Transports(wire), resolver=resolver
    )
    assert again.after == {}

    wire = wire_of(drifted[: len(documents)] + documents[len(drifted) :])
    second = await import_live_state(
        snapshot_of(files), [], drivers=DRIVERS, transports=Transports(wire), resolver=resolver
    )
    files |= second.after
    resolver = Known({**first.secrets, **second.secrets})
    assert await planned(files, wire, resolver) == ()
    assert not wire.writes()


def without_secrets(documents):
    for document in documents:
        document["env"]["management"]["server"]["connection"] = []
    return documents


@settings(max_examples=60, deadline=None)
@given(FLEETS, FLEETS)
def test_import_then_plan_is_empty_and_again_after_drift(documents, drifted):
    asyncio.run(imported(documents, without_secrets(drifted)))
