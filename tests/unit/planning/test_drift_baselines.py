"""What is remembered of nodes that were found as desired, so that drift is told from a commit later."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, NOWHERE, FakeDriver, Set, World, cluster, fleet

from reconciler.core.actor import Actor
from reconciler.core.drift import BASELINE, SINCE
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.outcome import Outcome, State
from reconciler.core.policy import ChangeRules
from reconciler.core.reservations import Reservation
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.applied_facts import collect_baselines, collect_cluster_facts
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.driver import Capabilities

NODES = {"a": "new", "b": "new"}


class DependentDriver(FakeDriver):
    """Nodes that depend on each other."""

    capabilities = Capabilities(single_node=False)


class Repair(Set):
    """Brings back what failed by itself."""

    is_repair = True


class RepairingDriver(DependentDriver):
    """Its nodes with the value "failed" are repaired."""

    def plan(self, desired, observed):
        plan = super().plan(desired, observed)
        steps = [
            replace(step, arguments=Repair(**step.arguments.plain()))
            if step.arguments.before == "failed"
            else step
            for step in plan.steps
        ]
        return replace(plan, steps=tuple(steps))


async def look(driver_type=FakeDriver, facts=None, silent=(), rules=None, **values):
    world = World({"a": "new", "b": "new", **values}, silent=set(silent))
    memory = FleetMemory(at=NOON, facts={"edge": facts or {}})
    return await run_plan_pass(
        fleet(cluster("edge", NODES), change_rules=rules),
        drivers={"fake": driver_type(world)},
        transports=NOWHERE,
        recalled=memory,
    )


def known(facts):
    """Nodes with a baseline, and those whose baseline is forgotten."""
    own = {node: facts.get(node, {}).get(BASELINE) for node in "ab"}
    return {node for node, base in own.items() if base}, {node for node, base in own.items() if base == ""}


def facts_of(seen, *outcomes):
    return collect_cluster_facts(seen, outcomes)["edge"].facts


@pytest.mark.parametrize("driver_type", [FakeDriver, DependentDriver])
async def test_a_cluster_that_is_as_desired_is_remembered(driver_type):
    assert known(facts_of(await look(driver_type))) == ({"a", "b"}, set())
    assert known(collect_baselines(await look(driver_type))["edge"]) == ({"a", "b"}, set())


async def test_where_nodes_depend_on_each_other_a_change_of_one_forgets_all_until_the_whole_is_as_desired():
    for driver_type, expected in (
        (FakeDriver, ({"a", "b"}, set())),
        (DependentDriver, (set(), {"a", "b"})),
    ):
        seen = await look(driver_type, a="old")
        (step,) = seen.plan.steps()
        assert known(facts_of(seen, Outcome(step, State.DONE, "it holds new", sent=True))) == expected
    seen = await look(DependentDriver, a="old")
    assert known(facts_of(seen)) == (set(), set()), "nothing was sent: what was known stays"
    assert collect_baselines(seen) == {}
    assert known(collect_baselines(await look(FakeDriver, a="old"))["edge"]) == ({"b"}, set())


async def test_an_unread_node_hides_no_other_one():
    assert known(facts_of(await look(DependentDriver, silent="b"))) == ({"a"}, set())


async def test_a_reading_after_a_run_stores_only_what_is_new_and_nothing_of_a_refused_cluster():
    seen = await look()
    again = await look(facts=collect_baselines(seen)["edge"])
    assert collect_baselines(again) == {}
    refusal = Diagnostic(Severity.ERROR, "older-revision", "it is older", target="edge")
    assert collect_baselines(replace(seen, violations=(refusal,))) == {}


async def test_since_when_a_node_has_drifted_stays_while_it_is_only_seen():
    facts = collect_baselines(await look(DependentDriver))["edge"]
    seen = await look(DependentDriver, facts=facts, a="by hand")
    assert facts_of(seen)["a"] == {SINCE: "2026-11-21T12:00:00.000Z"}


async def test_what_failed_by_itself_is_no_drift_and_is_repaired_where_drift_is_only_reported():
    facts = collect_baselines(await look(RepairingDriver))["edge"]
    for keeps in (False, True):
        rules = ChangeRules(keeps_drift=keeps)
        seen = await look(RepairingDriver, facts=facts, rules=rules, a="failed")
        assert [step.node for step in seen.plan.steps()] == ["a"]
        assert seen.guard_contexts[0].drift == {}
        seen = await look(RepairingDriver, facts=facts, rules=rules, a="failed", b="by hand")
        assert [step.node for step in seen.plan.steps()] == ["a"] if keeps else ["a", "b"]
        assert set(seen.guard_contexts[0].drift) == {"b"}


async def test_drift_that_is_only_reported_stays_so_while_steps_of_other_nodes_are_withheld():
    facts = {"a": collect_baselines(await look())["edge"]["a"]}
    held = Reservation(
        id="1",
        cluster="edge",
        node="b",
        actor=Actor("kim", why="a card"),
        at=NOON,
        until=NOON + timedelta(hours=1),
        is_hold=True,
    )
    memory = FleetMemory(
        at=NOON, facts={"edge": facts}, cluster_memory={"edge": ClusterMemory(reservations=(held,))}
    )
    seen = await run_plan_pass(
        fleet(cluster("edge", NODES), change_rules=ChangeRules(keeps_drift=True)),
        drivers={"fake": FakeDriver(World({"a": "by hand", "b": "old"}))},
        transports=NOWHERE,
        recalled=memory,
    )
    assert seen.plan.is_empty
    assert {(one.code, one.target) for one in seen.plan.findings()} == {
        ("drift", "edge/a"),
        ("node-held", "edge/b"),
    }
    assert known(facts_of(seen)) == (set(), set()), "what it shows now is not what is desired"
    assert facts_of(seen)["a"].keys() == {SINCE}
