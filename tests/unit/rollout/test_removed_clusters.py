"""Clusters that the fleet file no longer names: reported, and forgotten with an override."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, NOWHERE, FakeDriver, World, cluster, fleet

from reconciler.core.policy import Override
from reconciler.errors import GuardRefusal
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.store.factory import open_store

ALPHA, BETA = cluster("alpha", {"a1": "new"}), cluster("beta", {"b1": "new"})


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, clock=lambda: NOON) as opened:
        yield opened


def override(days=1, target="beta"):
    until = NOON.date() + timedelta(days=days)
    return Override(guard="cluster-vanished", target=target, until=until, reason="it is taken down")


async def look(store, *clusters, **more):
    only = more.pop("only", "")
    driver = FakeDriver(World({"a1": "old", "b1": "old"}))
    drivers = {"fake": driver}
    recalled = await store.read_memory()
    seen = await run_plan_pass(
        fleet(*clusters, **more), drivers=drivers, transports=NOWHERE, recalled=recalled, only=only
    )
    return seen, drivers


async def make(store, *clusters, **more):
    seen, drivers = await look(store, *clusters, **more)
    return await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store)


def codes(seen):
    return [(one.code, one.target) for one in seen.violations]


async def test_a_removed_cluster_is_reported_and_holds_only_itself(store):
    await make(store, ALPHA, BETA)
    seen, drivers = await look(store, ALPHA)
    assert codes(seen) == [("cluster-vanished", "beta")]
    assert "/repo with 1 node;" in seen.violations[0].message
    report = await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store)
    assert [outcome.step.id for outcome in report.outcomes] == ["alpha/a1/set"]
    assert [line.exit_status for line in await store.runs(2)] == [0, 3]
    assert codes((await look(store, ALPHA))[0]) == [("cluster-vanished", "beta")]


async def test_with_all_or_nothing_a_removed_cluster_holds_the_others_too(store):
    await make(store, ALPHA, BETA)
    seen, drivers = await look(store, ALPHA)
    seen = replace(seen, all_or_nothing=True)
    assert seen.is_refused
    with pytest.raises(GuardRefusal):
        await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store)


async def test_an_override_allows_the_removal_permanently(store):
    await make(store, ALPHA, BETA)
    assert codes((await look(store, ALPHA, overrides=(override(-1),)))[0]) == [("cluster-vanished", "beta")]
    assert codes((await look(store, ALPHA, overrides=(override(target="alpha"),)))[0]) != []
    await make(store, ALPHA, overrides=(override(),))
    assert codes((await look(store, ALPHA))[0]) == []


async def test_a_run_of_one_cluster_does_not_check_for_removed_clusters(store):
    await make(store, ALPHA, BETA)
    seen, _ = await look(store, ALPHA, only="alpha")
    assert codes(seen) == []


async def test_a_pass_of_watch_over_one_cluster_knows_the_others_of_its_file(store):
    """A watch runs one pass for each cluster of the whole fleet."""
    await make(store, ALPHA, BETA)
    whole = fleet(ALPHA, BETA)
    part = replace(whole, cluster_inputs=whole.cluster_inputs[:1])
    drivers = {"fake": FakeDriver(World({"a1": "old"}))}
    seen = await run_plan_pass(part, drivers=drivers, transports=NOWHERE, recalled=await store.read_memory())
    assert codes(seen) == []


async def test_a_pass_of_watch_refuses_and_allows_removals_too(store):
    await make(store, ALPHA, BETA, cluster("gamma", {"c1": "new"}))
    whole = fleet(ALPHA, BETA)
    drivers = {"fake": FakeDriver(World({"a1": "new"}))}

    async def look_at_alpha(**more):
        part = replace(whole, cluster_inputs=whole.cluster_inputs[:1], **more)
        return await run_plan_pass(
            part, drivers=drivers, transports=NOWHERE, recalled=await store.read_memory()
        )

    assert codes(await look_at_alpha()) == [("cluster-vanished", "gamma")]
    seen = await look_at_alpha(overrides=(override(target="gamma"),))
    await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store)
    assert codes(await look_at_alpha()) == []


async def test_an_expired_override_is_reported(store):
    seen, _ = await look(store, ALPHA, overrides=(override(-1), override(0)))
    assert [(one.code, one.pointer) for one in seen.fleet.warnings] == [
        ("expired-override", "/overrides/0/until")
    ]
