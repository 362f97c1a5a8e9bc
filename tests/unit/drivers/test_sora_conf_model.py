"""Every execution of a delivery of sora.conf with its restarts, explored: fit files, and unfit ones."""

import pytest
import scenes
from scenes import CONF, confs

from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.file_delivery.model import ModelFile

THREE = make_formed_state([False] * 3)
FORMER = b"cluster_relay = true\n"


def require_whole(scene, *, states=100):
    found = scene()
    assert (found.broken, found.complete) == ("", True), found.story
    assert found.states > states
    return found


@pytest.mark.parametrize("unfit", [False, True])
def test_no_execution_without_a_fault_breaks_an_invariant(unfit):
    require_whole(confs(THREE, faults=0, unfit=unfit))


def left_down(restarts):
    """A cluster in which a restart has left the first node down, with its new file and a backup."""
    file = ModelFile(CONF, backup=FORMER)
    first = THREE[0]._replace(up=False, file=file, restarts=restarts)
    return (first, *THREE[1:])


@pytest.mark.parametrize("start", [{}, {"start": {"command": "start"}}])
@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("unfit", [False, True])
def test_a_node_that_a_restart_has_left_down_is_brought_back_within_the_rules(unfit, restarts, start):
    require_whole(confs(left_down(restarts), faults=0, unfit=unfit, **start))


def test_its_former_file_comes_first_and_no_other_node_gets_the_new_one():
    world = left_down(2)
    model = scenes.conf_model(world, unfit=True, drain=0, delivers=True, choices=scenes.states.LITERAL)
    filled = tuple(node if node.file else node._replace(file=ModelFile(FORMER)) for node in world)
    plan = model.plan(filled)
    assert [step.action for step in plan.steps] == ["restore-file", "restart"]
    restored = model.perform(filled, plan.steps[0])
    assert restored[0].file.content == FORMER
    assert not restored[0].up
    back = model.perform(restored, plan.steps[1])
    assert back[0].up
    # Started with the unfit file, it would stay down, and the store would remember that.
    still = model.perform(filled, plan.steps[1])
    assert (still[0].up, still[0].restarts) == (False, 2)
