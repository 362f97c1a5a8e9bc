"""The model checker explores every execution of a plan, and finds what a missing guard would allow."""

from dataclasses import replace

import pytest

from reconciler.core.guard import GuardContext, run_guards
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import Choices, UndocumentedCall
from reconciler.drivers.sora.cluster_state import make_formed_state, make_fresh_state
from reconciler.drivers.sora.guards import GUARDS, refuse_missing_reserve
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.modelcheck import SoraModel
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable

NAMES = [f"n{number}@10.0.0.{number}" for number in range(1, 8)]


LITERAL = Choices(purge_cut_off=UndocumentedCall.REFUSE)
"""A running node is never purged, cut off or not, as documented."""


def entry(*numbers: int, temporary: tuple[int, ...] = ()) -> SoraCluster:
    nodes = [
        {
            "name": NAMES[number - 1],
            "api": f"http://10.0.0.{number}:3000/",
            "temporary": number in temporary,
        }
        for number in numbers
    ]
    return SoraCluster.model_validate(
        {
            "name": "live",
            "kind": "sora",
            "stop": {"command": "stop"},
            "drain": 0,
            "nodes": nodes,
            "initialise": True,
        }
    )


def explored(world, desired: SoraCluster, *, faults: int = 1, guards=GUARDS, choices=LITERAL):
    node_numbers = NodeNumbers(tuple(NAMES[: len(world)]))
    wanted = SoraDesired(desired)

    def weigh(plan, observed):
        return not run_guards(GuardContext(plan, desired, wanted, observed), guards)

    model = ExecutorModel(StateTable(SoraModel(wanted, node_numbers, choices), weigh, single_node=False))
    return explore_states([model.begin(world, faults=faults)], model.moves)


@pytest.mark.parametrize("faults", [0, 1, 2])
def test_growing_a_cluster_holds(faults):
    result = explored(make_formed_state([False] * 4, outside=0b1000), entry(1, 2, 3, 4), faults=faults)
    assert result.complete
    assert not result.broken
    assert result.states > 10


@pytest.mark.parametrize("faults", [1, 2])
def test_initialising_a_cluster_holds(faults):
    result = explored(make_fresh_state([False] * 3), entry(1, 2, 3), faults=faults)
    assert result.complete
    assert not result.broken


def test_replacing_a_dead_node_of_three_holds():
    world = machine.stop(make_formed_state([False] * 4, outside=0b1000), 2)
    result = explored(world, entry(1, 2, 4))
    assert result.complete
    assert not result.broken


def test_without_the_guard_of_the_reserve_the_checker_finds_a_counterexample():
    """Four of five to three: one failure between the last reading and the stop would lose the majority."""
    lax = tuple(guard for guard in GUARDS if guard is not refuse_missing_reserve)
    result = explored(machine.stop(make_formed_state([False] * 5), 4), entry(1, 2, 3, 5), guards=lax)
    assert "loses an existing majority" in result.broken
    assert any("fails" in sentence for sentence in result.story), result.story


@pytest.mark.parametrize("wanted", [(1, 2, 3), (2, 3, 4)])
def test_four_to_three_holds(wanted):
    result = explored(make_formed_state([False] * 4), entry(*wanted), faults=2)
    assert result.complete
    assert not result.broken


def test_a_stop_that_announces_no_window_keeps_the_reserve():
    """Only the announced window is an exception."""
    world = make_formed_state([False] * 4)
    model = SoraModel(SoraDesired(entry(1, 2, 3)), NodeNumbers(tuple(NAMES[:4])), LITERAL)
    stop = next(step for step in model.plan(world).steps if step.action == "stop")
    failed = machine.stop(world, 0)
    assert not model.find_broken_invariant(failed, stop, machine.stop(failed, 3))
    silent = replace(stop, arguments=replace(stop.arguments, window=0))
    assert "loses an existing majority" in model.find_broken_invariant(
        failed, silent, machine.stop(failed, 3)
    )


def test_five_to_four_keeps_the_reserve():
    result = explored(make_formed_state([False] * 5), entry(1, 2, 3, 4), faults=2)
    assert result.complete
    assert not result.broken
