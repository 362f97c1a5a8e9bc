"""The model checker over a plan that loses the majority: the shortest counterexample, as text and as JSON."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.driver import FakeDriver, World

from reconciler.cli.render.check import render_check_json, render_check_text
from reconciler.core.guard import GuardContext
from reconciler.core.plan import Plan, Revision
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora import planner
from reconciler.drivers.sora.arguments import StopArguments
from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.modelcheck import SoraModel, make_setups
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired
from reconciler.planning.model_check import check_plans
from reconciler.planning.plan_pass import PlanResult

NAMES = tuple(f"n{number}@10.0.0.{number}" for number in range(1, 5))


def plan_result(*violations, wanted=3, announced=True):
    """Four running nodes of which the fleet file names some, with or without the window announced."""
    nodes = [{"name": name, "api": f"http://{name.partition('@')[2]}:3000/"} for name in NAMES[:wanted]]
    entry = SoraCluster.model_validate(
        {"name": "live", "kind": "sora", "initialise": True, "stop": {"command": "stop"}, "nodes": nodes}
    )
    desired = SoraDesired(entry)
    observed = SoraModel(desired, NodeNumbers(NAMES)).observe(make_formed_state([False] * 4))
    plan = planner.plan(desired, observed)
    if not announced:
        plan = replace(plan, steps=tuple(map(without_window, plan.steps)))
    case = GuardContext(plan, entry, desired, observed)
    fleet = SimpleNamespace(overrides=(), cluster_inputs=())
    return PlanResult(fleet, Plan(Revision("s", "r", "r"), "1", (plan,)), (case,), violations)


def without_window(step):
    own = step.arguments
    return replace(step, arguments=replace(own, window=0)) if isinstance(own, StopArguments) else step


DRIVERS = {"sora": SoraDriver()}


def test_a_plan_without_a_spare_node_is_broken_by_one_failure_and_by_none_else():
    seen = plan_result(announced=False)
    (calm,) = check_plans(seen, DRIVERS, faults=0, most=100_000)
    assert calm.explored.complete
    assert not calm.explored.broken
    (struck,) = check_plans(seen, DRIVERS, faults=1, most=100_000)
    assert "loses an existing majority" in struck.explored.broken
    output = render_check_text([struck], 1).splitlines()
    assert output[0].startswith("live: violation after ")
    assert output[1].startswith("  1. ")
    assert len(output) == 1 + len(struck.explored.story)
    (plain,) = json.loads(render_check_json([struck], 1))["clusters"]
    assert plain["story"] == list(struck.explored.story)


def test_a_window_without_a_spare_node_that_the_plan_announces_is_no_broken_promise():
    (struck,) = check_plans(plan_result(), DRIVERS, faults=1, most=100_000)
    assert struck.explored.complete
    assert not struck.explored.broken


def test_a_dry_run_counts_a_state_of_a_large_cluster_as_several(monkeypatch):
    """A hundred nodes took gigabytes before the bound for five was reached."""
    monkeypatch.setattr("reconciler.planning.model_check.USUAL", 1)
    (bounded,) = check_plans(plan_result(), DRIVERS, faults=1, most=900, weighs=True)
    (literal,) = check_plans(plan_result(), DRIVERS, faults=1, most=900)
    assert not bounded.explored.complete
    assert bounded.explored.states < 300 < literal.explored.states


def test_a_refused_plan_is_not_explored():
    (one,) = check_plans(
        plan_result(Diagnostic(Severity.ERROR, "c", "m", "r", target="live")), DRIVERS, faults=1, most=100
    )
    assert one.explored is None
    assert "refused" in render_check_text([one], 1)


def test_a_product_without_a_model_is_reported():
    (one,) = check_plans(plan_result(), {"sora": FakeDriver(World())}, faults=1, most=100)
    assert "no model of sora" in one.reason


@pytest.mark.parametrize("side", [0, 9])
def test_the_world_that_the_answers_show_is_the_world(side):
    world = list(make_formed_state([False, False, False, True]))
    world[2] = world[2]._replace(up=side == 0)
    seen = plan_result(wanted=4)
    desired = seen.guard_contexts[0].desired
    shows = SoraModel(desired, NodeNumbers(NAMES)).observe(tuple(world))
    (stage,) = make_setups(desired, shows, seen.plan.clusters[0])
    assert stage.model.node_numbers.names == NAMES
    (shown,) = stage.worlds
    assert [(node.up, node.temporary) for node in shown] == [(node.up, node.temporary) for node in world]
