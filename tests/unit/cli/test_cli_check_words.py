"""The model checker over a plan that loses the majority: the shortest story, in words and as JSON."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support_driver import FakeDriver, World

from reconciler.cli.render.check import render_json, render_text
from reconciler.core.guard import Case
from reconciler.core.plan import Plan, Revision
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora import planner
from reconciler.drivers.sora.arguments import Stop
from reconciler.drivers.sora.cluster import formed
from reconciler.drivers.sora.membership import Roster
from reconciler.drivers.sora.modelcheck import SoraPlay, stages
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired
from reconciler.planning.model_check import check
from reconciler.planning.plan_pass import Survey

NAMES = tuple(f"n{number}@10.0.0.{number}" for number in range(1, 5))


def survey(*violations, wanted=3, announced=True):
    """Four running nodes of which the fleet file names some, with or without the window announced."""
    nodes = [{"name": name, "api": f"http://{name.partition('@')[2]}:3000/"} for name in NAMES[:wanted]]
    entry = SoraCluster.model_validate(
        {"name": "live", "kind": "sora", "initialise": True, "stop": {"command": "stop"}, "nodes": nodes}
    )
    desired = SoraDesired(entry)
    observed = SoraPlay(desired, Roster(NAMES)).observed(formed([False] * 4))
    plan = planner.plan(desired, observed)
    if not announced:
        plan = replace(plan, steps=tuple(map(without_window, plan.steps)))
    case = Case(plan, entry, desired, observed)
    fleet = SimpleNamespace(overrides=())
    return Survey(fleet, Plan(Revision("s", "r", "r"), "1", (plan,)), (case,), violations)


def without_window(step):
    own = step.arguments
    return replace(step, arguments=replace(own, window=0)) if isinstance(own, Stop) else step


DRIVERS = {"sora": SoraDriver()}


def test_a_plan_without_a_spare_node_is_broken_by_one_failure_and_by_none_else():
    seen = survey(announced=False)
    (calm,) = check(seen, DRIVERS, faults=0, most=100_000)
    assert calm.explored.complete
    assert not calm.explored.broken
    (struck,) = check(seen, DRIVERS, faults=1, most=100_000)
    assert "loses a majority" in struck.explored.broken
    told = render_text([struck], 1).splitlines()
    assert told[0].startswith("live: broken after ")
    assert told[1].startswith("  1. ")
    assert len(told) == 1 + len(struck.explored.story)
    (plain,) = json.loads(render_json([struck], 1))["clusters"]
    assert plain["story"] == list(struck.explored.story)


def test_a_window_without_a_spare_node_that_the_plan_announces_is_no_broken_promise():
    (struck,) = check(survey(), DRIVERS, faults=1, most=100_000)
    assert struck.explored.complete
    assert not struck.explored.broken


def test_beside_a_plan_a_state_of_a_large_cluster_counts_for_several(monkeypatch):
    """A hundred nodes took gigabytes before the bound for five was reached."""
    monkeypatch.setattr("reconciler.planning.model_check.USUAL", 1)
    (bounded,) = check(survey(), DRIVERS, faults=1, most=900, weighs=True)
    (literal,) = check(survey(), DRIVERS, faults=1, most=900)
    assert not bounded.explored.complete
    assert bounded.explored.states < 300 < literal.explored.states


def test_a_refused_plan_is_not_explored():
    (one,) = check(
        survey(Diagnostic(Severity.ERROR, "c", "m", "r", target="live")), DRIVERS, faults=1, most=100
    )
    assert one.explored is None
    assert "refused" in render_text([one], 1)


def test_a_product_without_a_model_is_said():
    (one,) = check(survey(), {"sora": FakeDriver(World())}, faults=1, most=100)
    assert "no model of sora" in one.reason


@pytest.mark.parametrize("side", [0, 9])
def test_the_world_that_the_answers_show_is_the_world(side):
    world = list(formed([False, False, False, True]))
    world[2] = world[2]._replace(up=side == 0)
    seen = survey(wanted=4)
    desired = seen.cases[0].desired
    shows = SoraPlay(desired, Roster(NAMES)).observed(tuple(world))
    (stage,) = stages(desired, shows, seen.plan.clusters[0])
    assert stage.play.roster.names == NAMES
    (shown,) = stage.worlds
    assert [(node.up, node.temporary) for node in shown] == [(node.up, node.temporary) for node in world]
