"""A refused cluster does not refuse the others, unless all or nothing is asked for."""

from dataclasses import replace

import pytest
from support.driver import World, cluster
from support.rollouts import Bench, states

from reconciler.core.policy import Policy
from reconciler.core.selection import Selection
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import GuardRefusal, UsageError
from reconciler.planning.plan_summary import PlanSummary
from reconciler.ports.driver import Capabilities
from reconciler.store.factory import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield store


def wanted():
    return (
        cluster("alpha", dict.fromkeys(("a1", "a2"), "new"), settle=0.01),
        cluster("beta", dict.fromkeys(("b1", "b2"), "new"), settle=0.01),
    )


TIGHT = {"alpha": Policy(max_changed="1")}


@pytest.fixture
def bench(store):
    return Bench(store, World(dict.fromkeys(("a1", "a2", "b1", "b2"), "old")))


async def test_the_other_clusters_are_applied_and_the_history_has_the_refusal(bench, store):
    result = await bench.plan_result(*wanted(), policies=TIGHT)
    assert (result.is_refused, result.refused_clusters) == (False, {"alpha"})
    assert PlanSummary.of(result).refused_clusters == ("alpha",)
    report = await bench.apply(result)
    assert states(report) == {"b1": "done", "b2": "done"}
    assert bench.world.values == {"a1": "old", "a2": "old", "b1": "new", "b2": "new"}
    applied, refused = await store.runs()
    assert (applied.exit_status, refused.exit_status) == (0, 3)
    assert "2 of 2 nodes would be changed" in refused.note
    record = await store.run(refused.id)
    assert [one.cluster for one in record.plan.clusters] == ["alpha"]


async def test_all_or_nothing_refuses_the_whole_plan(bench):
    result = replace(await bench.plan_result(*wanted(), policies=TIGHT), all_or_nothing=True)
    assert result.is_refused
    with pytest.raises(GuardRefusal):
        await bench.apply(result)
    assert bench.world.acts == []


async def test_a_verdict_on_the_whole_fleet_refuses_all_of_it(bench):
    result = await bench.plan_result(*wanted())
    verdict = Diagnostic(Severity.ERROR, "verdict", "the fleet is wrong", "correct it", target="gamma")
    result = replace(result, violations=(verdict,))
    assert result.is_refused
    with pytest.raises(GuardRefusal):
        await bench.apply(result)
    assert bench.world.acts == []


async def test_if_nothing_else_is_to_do_the_run_is_refused(bench):
    bench.world.values |= {"b1": "new", "b2": "new"}
    with pytest.raises(GuardRefusal, match="2 of 2 nodes would be changed"):
        await bench.run(*wanted(), policies=TIGHT)


async def test_a_skipped_node_is_neither_read_nor_changed(bench):
    result = await bench.plan_result(*wanted(), only=Selection(skip=("a1", "beta")))
    assert [step.id for step in result.plan.steps()] == ["alpha/a2/set"]
    assert result.chosen == {"alpha": {"a2"}}
    await bench.apply(result)
    assert bench.world.values == {"a1": "old", "a2": "new", "b1": "old", "b2": "old"}
    memory = await bench.store.read_memory()
    assert memory.get_cluster_memory("alpha").nodes == 0, "members are recorded by passes of all nodes"


async def test_a_node_of_a_cluster_that_is_planned_as_a_whole_cannot_be_left_out(bench):
    bench.driver.capabilities = Capabilities()
    with pytest.raises(
        UsageError, match="a1 cannot be left out: a fake cluster is planned as a whole"
    ) as caught:
        await bench.plan_result(*wanted(), only=Selection(skip=("a1",)))
    assert "`reconcile hold a1`" in caught.value.remedy
