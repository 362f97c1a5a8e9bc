"""A rejection holds for the content, and `retry` lifts it; of a stalled node, it allows another attempt."""

from dataclasses import replace

import pytest
from support.driver import REVISION, World, cluster
from support.rollouts import Bench, states

from reconciler.core.actor import Actor
from reconciler.errors import GuardRefusal
from reconciler.store.factory import open_store

KIM = Actor("kim", why="the switch was replaced")
README = replace(REVISION, id="1" * 40, short="1111111")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield store


@pytest.fixture
def bench(store):
    return Bench(store, World(dict.fromkeys("abc", "old")))


METRICS = {"metrics": [{"name": "errors_total", "compare": "value", "ignore": 1}]}


def hall(value="new", gates=None):
    wanted = dict.fromkeys("abc", value)
    return cluster("hall", wanted, settle=0.01, rollout={"waves": [1], "gates": gates or {}})


async def fail(bench):
    bench.driver.errors = {"a": 9.0, "b": 1.0, "c": 1.0}
    report = await bench.run(hall(gates=METRICS))
    assert states(report) == {"a": "done", "b": "skipped", "c": "skipped"}
    bench.driver.errors = {}


async def test_a_commit_that_changes_nothing_for_the_cluster_does_not_lift_a_rejection(bench):
    await fail(bench)
    result = await bench.plan_result(hall(), revision=README)
    (violation,) = result.violations
    assert violation.code == "revision-rejected"
    assert "revision 1111111 gives it rejected content: revision" in violation.message
    assert "`reconcile retry hall`" in violation.remedy
    with pytest.raises(GuardRefusal):
        await bench.apply(result)


async def test_a_fix_is_applied_and_going_back_to_the_rejected_content_is_not(bench):
    await fail(bench)
    fix = replace(README, id="2" * 40, short="2222222")
    assert set(states(await bench.run(hall("fixed"), revision=fix)).values()) == {"done"}
    result = await bench.plan_result(hall(), revision=replace(fix, id="3" * 40, short="3333333"))
    assert [one.code for one in result.violations] == ["revision-rejected"]


@pytest.mark.parametrize("revision", [REVISION, README])
async def test_a_retry_lifts_a_rejection_and_is_in_the_history(bench, store, revision):
    await fail(bench)
    found = await store.retry("hall", "", KIM)
    assert [one for one in found if "revision" in one] == [f"revision {REVISION.short} of hall"]
    assert states(await bench.run(hall(), revision=revision)) == {"b": "done", "c": "done"}
    assert (await store.list_past_orders())[0].kind == "retry"


async def test_a_retry_of_a_node_allows_another_attempt_at_it_alone(bench, store):
    bench.world.fault("a", "refused", "refused")
    bench.world.fault("b", "refused", "refused")
    wanted = cluster("hall", dict.fromkeys("abc", "new"), settle=0.01)
    assert states(await bench.run(wanted)) == {"a": "failed", "b": "failed", "c": "done"}
    before = {one.target for one in (await bench.plan_result(wanted)).plan.findings()}
    assert before == {"hall/a", "hall/b"}
    assert await store.retry("hall", "a", KIM) == ("hall/a",)
    after = await bench.plan_result(wanted)
    assert [step.node for step in after.plan.steps()] == ["a"]
    assert {one.target for one in after.plan.findings()} == {"hall/b"}
