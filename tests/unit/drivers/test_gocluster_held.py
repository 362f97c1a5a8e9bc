"""Held nodes of a Go cluster: no other node is restarted or stopped, and the held one is left alone."""

from dataclasses import replace

import pytest
from support.gocluster import COMMANDS, changed, desired, entry, guarded, seen, views

from reconciler.core.guard import run_guards
from reconciler.core.observation import Observed
from reconciler.core.step_status import StepStatus
from reconciler.drivers.gocluster import modelcheck, planner
from reconciler.drivers.gocluster.guards import GUARDS
from reconciler.drivers.gocluster.product import DRIVER


def change_settings(count, held=""):
    before = desired(entry(count, **COMMANDS))
    wanted = seen(desired(entry(count, settings={"ping_interval": "6s"}, **COMMANDS)))
    reserved = frozenset({held}) if held else frozenset()
    return wanted, changed(before, wanted, views(count), reserved=reserved)


@pytest.mark.parametrize("count", [3, 5, 7])
def test_no_node_is_restarted_while_a_member_is_held_and_each_one_says_why(count):
    held = f"node{count}"
    plan = planner.plan(*change_settings(count, held))
    assert plan.steps == ()
    waits = [one for one in plan.findings if one.code == "mesh-restart-waits"]
    assert len(waits) == count
    assert all(f"{held} counts as away: it is reserved or held" in one.message for one in waits)
    assert planner.plan(*change_settings(count)).steps


def test_a_node_that_leaves_is_not_stopped_while_a_member_is_held():
    before, after = desired(entry(4, **COMMANDS)), desired(entry(3, **COMMANDS))
    wanted = replace(after, recalled=seen(before).recalled)
    free = changed(before, wanted, views(4))
    held = replace(free, reserved=frozenset({"node1"}))
    assert "stop" in {step.action for step in planner.plan(wanted, free).steps}
    assert {step.action for step in planner.plan(wanted, held).steps}.isdisjoint({"stop", "restart"})


def test_a_restart_that_was_planned_before_a_hold_is_judged_with_it():
    wanted, observed = change_settings(5)
    plan = planner.plan(wanted, observed)
    step = next(one for one in plan.steps if one.action == "restart" and one.node != "node5")
    later: Observed = replace(observed, reserved=frozenset({"node5"}))
    assert DRIVER.judge(step, observed).status is StepStatus.READY
    verdict = DRIVER.judge(step, later)
    assert verdict.status is StepStatus.CHANGED
    assert "node5 counts as away" in verdict.reason


def test_the_guard_of_the_quorum_counts_a_held_member_as_away():
    wanted, observed = change_settings(3)
    plan = planner.plan(wanted, observed)
    assert run_guards(guarded(wanted, observed, plan), GUARDS) == ()
    held = replace(observed, reserved=frozenset({"node3"}))
    assert run_guards(guarded(wanted, held, plan), GUARDS)


def test_a_world_with_a_held_member_has_it_down():
    wanted, observed = change_settings(4)
    plan = planner.plan(wanted, observed)
    held = replace(observed, reserved=frozenset({"node4"}))
    (setup,) = modelcheck.make_setups(wanted, held, plan)
    for world in setup.worlds:
        assert [node.up for node in world.nodes] == [True, True, True, False]
