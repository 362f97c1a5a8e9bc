"""Oracles of simulated clusters: what a change did, by the nodes' own state."""

import json
from types import SimpleNamespace

import pytest

from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.drivers.sora.simulator.oracle import MAJORITY, PURGE_STOPPED, SiteState
from reconciler.drivers.sora.simulator.simulator import SIMULATOR
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.errors import UsageError
from reconciler.ports.simulator import NodeRequest
from reconciler.simulation.products import find_simulator

NAMES = [f"n{number}@s{number}.example.com" for number in range(4)]
PURGE = "Sora_20220629.PurgeClusterNode"
REGISTER = "Sora_20211215.RegisterClusterNode"
INIT = "Sora_20221221.InitCluster"
MODE = "Sora_20211215.ChangeMode"
QUIET = ("", "")


def entry(**more):
    nodes = [{"name": name, "api": f"http://127.0.0.1:{3000 + one}/"} for one, name in enumerate(NAMES)]
    return SoraCluster.model_validate({"name": "live", "kind": "sora", "nodes": nodes, **more})


@pytest.fixture
def world():
    return SoraWorld.from_entry(entry(), converged=True, outside=[NAMES[3]])


@pytest.fixture
def seen(world):
    return SIMULATOR.oracle(SimpleNamespace(entry=entry(), documents={}), world)


def request(target, **argument):
    return NodeRequest("POST", "/", {"x-sora-target": target}, json.dumps(argument).encode(), "127.0.0.1")


def ask(seen, world, node, target, **argument):
    """Performs a change; gives the states on both sides of it."""
    before = seen.state()
    world.answer(node, target, "POST", json.dumps(argument).encode())
    return before, seen.state()


def test_a_registration_is_repeated_once_the_node_is_in_the_cluster(seen, world):
    asked = request(REGISTER, contact_node_name=NAMES[0])
    states = ask(seen, world, NAMES[3], REGISTER, contact_node_name=NAMES[0])
    assert not seen.is_repetition(NAMES[3], asked, *states)
    assert seen.is_repetition(
        NAMES[3], asked, *ask(seen, world, NAMES[3], REGISTER, contact_node_name=NAMES[0])
    )
    assert seen.find_broken_invariant(NAMES[3], asked, *states) == QUIET


def test_an_initialisation_of_a_live_cluster_is_repeated(seen, world):
    states = ask(seen, world, NAMES[0], INIT, node_name_list=NAMES[:3])
    assert seen.is_repetition(NAMES[0], request(INIT, node_name_list=NAMES[:3]), *states)


def test_a_mode_is_repeated_where_the_node_is_in_it(seen, world):
    blocked, normal = "block_new_session", "normal"
    states = ask(seen, world, NAMES[0], MODE, mode=blocked)
    assert not seen.is_repetition(NAMES[0], request(MODE, mode=blocked), *states)
    assert seen.is_repetition(NAMES[0], request(MODE, mode=normal), *states)


def test_a_purge_is_about_its_target_and_wrong_while_that_runs(seen):
    asked = request(PURGE, target_node_name=NAMES[2])
    assert seen.find_affected_node(NAMES[0], asked) == NAMES[2]
    formed = make_formed_state([False] * 4, outside=8)
    without = machine.stop(formed, 2)
    running, stopped, gone = map(SiteState, (formed, without, machine.purge(without, 0, 2)))
    assert seen.find_broken_invariant(NAMES[0], asked, running, gone)[0] == PURGE_STOPPED
    assert seen.find_broken_invariant(NAMES[0], asked, stopped, gone) == QUIET
    assert seen.find_broken_invariant(NAMES[0], asked, running, running) == QUIET
    assert not seen.is_repetition(NAMES[0], asked, stopped, gone)
    assert seen.is_repetition(NAMES[0], asked, gone, gone)


def test_a_majority_that_was_there_is_missed(seen):
    formed = make_formed_state([False] * 4, outside=8)
    whole, lost = SiteState(formed), SiteState(machine.stop(machine.stop(formed, 0), 1))
    assert seen.find_broken_invariant(NAMES[0], request(MODE, mode="normal"), whole, lost)[0] == MAJORITY
    assert seen.find_broken_invariant(NAMES[0], request(MODE, mode="normal"), lost, lost) == QUIET


def test_what_is_not_as_desired_is_named(seen, world):
    assert seen.list_differences() == [f"{NAMES[3]} is not a member of live"]
    ask(seen, world, NAMES[3], REGISTER, contact_node_name=NAMES[0])
    assert seen.list_differences() == []
    world.isolate(NAMES[1])
    assert seen.list_differences() == [f"{NAMES[1]} is not connected to the others of live"]


def test_a_kind_without_a_simulator_is_refused():
    with pytest.raises(UsageError, match="x: there is no simulator for kind 'none'"):
        find_simulator("none", "x", DRIVERS)
