"""A renamed cluster keeps its history, and no cluster loses or gets one by its name alone."""

import pytest
from support.driver import NOON, NOWHERE, REVISION, FakeDriver, World, cluster, fleet

from reconciler.core.actor import Actor
from reconciler.core.cluster_renames import (
    apply_renames,
    find_left_behind,
    find_refused_renames,
    find_renames,
    has_past,
)
from reconciler.core.outcome import State
from reconciler.core.rollout_rules import RolloutProgress
from reconciler.errors import ClusterBusy, GuardRefusal
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

EDGE, CORE = cluster("edge", {"a": "new"}), cluster("core", {"a": "new"}, renamed_from="edge")
CHANGED = cluster("core", {"a": "newer"}, renamed_from="edge")
WHO = Actor(user="ann")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, clock=lambda: NOON) as opened:
        yield opened.select_fleet(1)


@pytest.fixture
def world():
    return World({"a": "old", "b": "old"})


async def look(store, world, *clusters, **more):
    memory = await store.read_memory()
    memory = apply_renames(memory, find_renames(memory, clusters))
    drivers = {"fake": FakeDriver(world)}
    return await run_plan_pass(fleet(*clusters, **more), drivers=drivers, transports=NOWHERE, recalled=memory)


async def make(store, world, *clusters, **more):
    seen = await look(store, world, *clusters, **more)
    return await run_apply_pass(seen, drivers={"fake": FakeDriver(world)}, transports=NOWHERE, journal=store)


def codes(seen):
    return [(one.code, one.target) for one in seen.violations]


async def test_a_rename_moves_the_whole_memory_and_sends_nothing(store, world):
    await make(store, world, EDGE)
    await store.reject("edge", REVISION, "too slow", ends_rollout=False)
    await store.store_progress("edge", RolloutProgress("print", 1, 1, wave=("edge/a/set",)))
    await store.claim_places({"192.0.2.1:80": ("edge", "a")}, ())
    await store.suspend("edge", "a storm", WHO)
    before = (await store.read_memory()).cluster_memory["edge"]
    seen = await look(store, world, CHANGED)
    assert set(codes(seen)) == {("suspended", "core"), ("revision-rejected", "core")}
    assert (await look(store, world, CORE)).plan.is_empty
    await store.resume("edge", WHO)
    await store.rename_cluster("edge", "core", WHO)
    memory = await store.read_memory()
    core = memory.cluster_memory["core"]
    assert "edge" not in memory.cluster_memory
    for name in (
        "nodes",
        "names",
        "applied",
        "shown_revisions",
        "rejected",
        "recent_changes",
        "kind",
        "source",
    ):
        assert getattr(core, name) == getattr(before, name), name
    assert (core.recent_changes[0][0], core.kind, core.former_names) == ("a", "fake", ("edge",))
    assert core.progress.wave == ("core/a/set",)
    assert memory.claims["192.0.2.1:80"].cluster == "core"
    assert [(act.kind, act.cluster, act.actor.why) for act in await store.list_past_orders(1)] == [
        ("rename", "core", "renamed from edge")
    ]
    assert world.acts == ["a"]


async def test_a_pass_moves_the_history_once_and_the_entry_may_stay(store, world):
    await make(store, world, EDGE)
    for _ in range(2):
        report = await make(store, world, CORE)
        assert (report.exit_status, world.acts) == (0, ["a"])
    assert [act.kind for act in await store.list_past_orders()] == ["rename"]
    assert codes(await look(store, world, cluster("core", {"a": "new"}))) == []


async def test_a_suspension_moves_and_stays_for_another_fleets_cluster_of_that_name(store, world):
    await make(store, world, EDGE)
    await make(store.select_fleet(2), world, EDGE)
    await store.suspend("edge", "a storm", WHO)
    await store.rename_cluster("edge", "core", WHO)
    assert [one.cluster for one in (await store.orders()).suspensions] == ["core", "edge"]
    assert (await store.select_fleet(2).read_memory()).cluster_memory["edge"].suspended


async def test_a_refused_revision_renames_nothing(store, world):
    await make(store, world, EDGE)
    await store.suspend("edge", "a storm", WHO)
    with pytest.raises(GuardRefusal):
        await make(store, world, CHANGED)
    await store.resume("edge", WHO)
    assert codes(await look(store, world, EDGE)) == []
    assert (await store.read_memory()).cluster_memory["edge"].former_names == ()


async def test_a_revision_from_before_the_rename_finds_the_history(store, world):
    await make(store, world, EDGE)
    await make(store, world, CORE)
    seen = await look(store, world, EDGE)
    assert (codes(seen), dict(seen.renames)) == ([], {"edge": "core"})
    other = cluster("edge", {"b": "old"})
    assert codes(await look(store, world, other)) == [("cluster-vanished", "core")]


async def test_an_open_step_is_settled_under_the_new_name(store, world):
    world.fault("a", "blind")
    await make(store, world, cluster("edge", {"a": "new"}, settle=0.0))
    world.silent.clear()
    await store.rename_cluster("edge", "core", WHO)
    (settled,) = await settle_open_runs(store, {"fake": FakeDriver(world)}, NOWHERE)
    assert (settled.step.cluster, settled.step.id, settled.state) == ("core", "edge/a/set", State.DONE)


async def test_a_run_that_still_holds_the_former_name_is_waited_for(store, world):
    await make(store, world, EDGE)
    async with store.lock("edge"):
        with pytest.raises(ClusterBusy):
            await make(store, world, CORE)
    assert has_past((await store.read_memory()).cluster_memory["edge"])


async def test_a_cluster_with_a_history_takes_over_no_other_one(store, world):
    await make(store, world, EDGE, cluster("core", {"b": "old"}))
    both = cluster("core", {"a": "new", "b": "old"}, renamed_from="edge")
    seen = await look(store, world, both)
    assert codes(seen) == [("rename-unclear", "core"), ("cluster-vanished", "edge")]
    await store.rename_cluster("edge", "core", WHO)
    assert "edge" in (await store.read_memory()).cluster_memory


async def test_a_cluster_of_another_kind_takes_over_no_history(store, world):
    await make(store, world, EDGE)
    memory, other = await store.read_memory(), CORE.model_copy(update={"kind": "other"})
    assert find_renames(memory, [other]) == {}
    assert "edge has the kind fake" in find_refused_renames(memory, [other])["core"].message


async def test_another_fleets_cluster_is_not_taken(store, world):
    await make(store.select_fleet(2), world, EDGE)
    assert (await look(store, world, CORE)).renames == {}


async def test_a_new_cluster_on_the_nodes_of_a_removed_one_is_on_hold(store, world):
    await make(store, world, EDGE)
    await store.claim_places({"192.0.2.1:80": ("edge", "a")}, ())
    memory, places = await store.read_memory(), {"core": {"x": ("192.0.2.1:80",)}}
    found = find_left_behind(memory, places)["core"]
    assert (found.hold, found.target) == (True, "core")
    assert "add `renamed_from: edge` to core" in found.remedy
    assert find_left_behind(memory, {**places, "edge": {}}) == {}
    await store.forget_members("edge")
    assert find_left_behind(await store.read_memory(), places) == {}
