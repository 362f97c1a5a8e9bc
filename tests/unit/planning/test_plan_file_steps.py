"""Plan files of the fake product: which steps are left out, and that a forged file achieves nothing."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.driver import NOWHERE, FakeDriver, FakeNode, Wish, World, cluster, fleet
from support.rollouts import states

from reconciler.core.actor import Actor
from reconciler.core.observation import Observed
from reconciler.core.outcome import State
from reconciler.core.rollout_rules import Rollout
from reconciler.core.waves import assign_waves
from reconciler.errors import GuardRefusal, ReconcilerError, WorldChanged
from reconciler.planning.plan_file import (
    FileDigests,
    PlanFile,
    PlanOrigin,
    check_files,
    make_plan_file,
    parse_plan_file,
    prepare_plan,
    restrict_plan,
)
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.source import Snapshot
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.store.factory import open_store

MADE = datetime(2026, 11, 21, tzinfo=UTC)


class Bench:
    """A world, a store, a file made from a first look, and a second look that applies it."""

    def __init__(self, store, *clusters, **values):
        self.store, self.clusters = store, clusters
        self.world = World(values)
        self.drivers = {"fake": FakeDriver(self.world)}

    async def look(self):
        recalled = await self.store.read_memory()
        return await run_plan_pass(
            fleet(*self.clusters), drivers=self.drivers, transports=NOWHERE, recalled=recalled
        )

    async def file(self):
        made = make_plan_file(await self.look(), PlanOrigin(source="/repo"), {}, MADE, self.drivers)
        return parse_plan_file(made.encode(), "plan.json")

    async def apply(self, file):
        ready = prepare_plan(file, await self.look(), self.drivers)
        report = await run_apply_pass(ready, drivers=self.drivers, transports=NOWHERE, journal=self.store)
        return ready, report


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as opened:
        yield opened


def node(name, *after, **more):
    return FakeNode(name=name, value="new", after=after, **more)


async def test_steps_after_a_changed_node_are_left_out_and_the_others_performed(store):
    nodes = {"a": node("a"), "b": node("b", "a"), "c": node("c")}
    bench = Bench(store, cluster("edge", nodes, concurrency=3), a="old", b="old", c="old")
    file = await bench.file()
    bench.world.values["a"] = "else"
    ready, report = await bench.apply(file)
    assert states(report) == {"a": State.CHANGED, "b": State.SKIPPED, "c": State.DONE}
    assert bench.world.acts == ["c"]
    assert report.exit_status == 5
    assert [step.node for step in ready.new_plan.steps()] == ["a"]
    assert report.plan.digest == file.load_plan().digest


async def test_a_node_that_is_held_since_the_plan_is_left_out_with_that_reason(store):
    bench = Bench(store, cluster("c", {"a": node("a"), "b": node("b")}), a="old", b="old")
    file = await bench.file()
    until = datetime.now(UTC) + timedelta(hours=1)
    await store.hold(0, "c", "a", until, Actor("kim", why="the card is replaced"))
    _, report = await bench.apply(file)
    assert states(report) == {"a": "changed", "b": "done"}
    [left_out] = [one.reason for one in report.outcomes if one.step.node == "a"]
    assert left_out.startswith("nothing is sent (set): it is held until")
    assert "the card is replaced" in left_out


async def test_the_rest_of_a_plan_keeps_its_id(store):
    nodes = {"a": node("a"), "c": FakeNode(name="c", value="as it is")}
    bench = Bench(store, cluster("edge", nodes), a="old", c="as it is")
    file = await bench.file()
    bench.world.values["c"] = "else"
    ready, report = await bench.apply(file)
    (case,) = ready.guard_contexts
    left = replace(ready.plan, clusters=(case.plan,))
    assert (bench.world.acts, [one.code for one in left.findings()]) == (["a"], ["changed-since"])
    assert left.ids == report.plan.ids == file.load_plan().ids


async def test_a_step_that_somebody_else_has_done_is_found(store):
    bench = Bench(store, cluster("edge", {"a": node("a"), "b": node("b", "a")}), a="old", b="old")
    file = await bench.file()
    bench.world.values["a"] = "new"
    ready, report = await bench.apply(file)
    assert states(report) == {"a": State.FOUND, "b": State.DONE}
    assert (bench.world.acts, report.exit_status, ready.new_plan.is_empty) == (["b"], 0, True)


async def test_a_membership_is_applied_as_a_whole_or_not_at_all(store):
    nodes = {"a": node("a", membership=True), "b": node("b")}
    nodes |= {"c": FakeNode(name="c", value="as it is")}
    bench = Bench(store, cluster("live", nodes), a="old", b="old", c="as it is")
    file = await bench.file()
    bench.world.values["c"] = "else"
    ready, report = await bench.apply(file)
    assert states(report) == {"a": State.CHANGED, "b": State.CHANGED}
    assert (bench.world.acts, report.exit_status) == ([], 4)
    assert sorted(step.node for step in ready.new_plan.steps()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"a": "else", "b": "else", "c": "else"}, "a, b, c have changed since the plan was made"),
        ({"a": "else", "b": "else", "c": None}, "c answered when the plan was made, but does not answer now"),
        ({"a": "old", "b": "old", "c": "else"}, "c has changed since the plan was made"),
    ],
)
async def test_of_a_membership_the_changed_node_is_named_not_those_that_show_it(store, now, words):
    nodes = {"a": node("a", membership=True), "b": node("b"), "c": node("c")}
    bench = Bench(store, cluster("live", nodes), a="old", b="old", c="old")
    file = await bench.file()
    bench.world.values.update({name: value for name, value in now.items() if value})
    bench.world.silent.update(name for name, value in now.items() if value is None)
    ready, _ = await bench.apply(file)
    assert set(ready.stale.values()) == {f"the membership of live is planned as a whole, and {words}"}
    assert bench.world.acts == []


async def test_no_wave_follows_one_with_a_changed_node(store):
    nodes = {name: node(name) for name in "abc"}
    entry = cluster("edge", nodes, rollout=Rollout(canary=1, waves=1))
    bench = Bench(store, entry, a="old", b="old", c="old")
    file = await bench.file()
    bench.world.values["a"] = "else"
    _, report = await bench.apply(file)
    assert states(report) == {"a": State.CHANGED, "b": State.SKIPPED, "c": State.SKIPPED}
    assert [one.code for one in report.findings] == ["wave-incomplete"]


async def test_a_node_that_stopped_or_began_to_answer_is_not_changed(store):
    bench = Bench(store, cluster("edge", {"a": node("a"), "b": node("b")}), a="old", b="old")
    bench.world.silent.add("b")
    file = await bench.file()
    bench.world.silent = {"a"}
    ready, report = await bench.apply(file)
    assert states(report) == {"a": State.CHANGED}
    assert "answered when the plan was made, but does not answer now" in report.outcomes[0].reason
    assert [one.code for one in ready.new_plan.findings()] == ["changed-since"]
    assert [step.node for step in ready.new_plan.steps()] == ["b"]
    facts = await store.read_memory()
    assert facts.facts.get("edge", {}) == {}, "nobody believes that b runs the plan's revision"


async def test_guards_check_the_remaining_steps_on_fresh_answers(store):
    bench = Bench(store, cluster("edge", {"a": node("a"), "b": FakeNode(name="b", value="forbidden")}), b="x")
    file = await bench.file()
    with pytest.raises(GuardRefusal):
        await bench.apply(file)
    bench.world.values["b"] = "else"
    _, report = await bench.apply(file)
    assert states(report) == {"a": State.DONE, "b": State.CHANGED}


async def test_a_later_plan_is_limited_to_the_nodes_of_the_file(store):
    bench = Bench(store, cluster("edge", {"a": node("a"), "b": node("b")}), a="old", b="new")
    file = await bench.file()
    bench.world.values["b"] = "else"
    later = (await bench.look()).plan
    assert [step.node for step in restrict_plan(later, file.load_plan()).steps()] == ["a"]


def test_changed_added_and_removed_files_are_named():
    notes = FileDigests()
    files = SimpleNamespace(names=lambda: ("x", "y"), read=lambda path: path.encode())
    snapshot = notes.with_files(Snapshot(None, files))
    assert snapshot.files.names() == ("x", "y")
    assert snapshot.files.read("x") == b"x"
    file = PlanFile(
        made="2026-11-21T00:00:00Z",
        origin=PlanOrigin(source="/r"),
        files=dict(notes.digests),
        observed={},
        plan={},
    )
    check_files(file, notes.digests)
    snapshot.files.read("y")
    with pytest.raises(WorldChanged, match="changed since the plan was made: y"):
        check_files(file, notes.digests)


PLACES = st.lists(st.integers(0, 7), min_size=1, max_size=9)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 3), st.text(max_size=3), st.just([]), st.just({}),
    st.sampled_from(["new", "old", "a", "b", "edge", "edge/a/set", "edge/b/set", ["edge/b/set"]]),
)  # fmt: skip


def mutated(plan, places, value):
    """The same plan with one value replaced, found by walking down as the numbers say."""
    plan = copy.deepcopy(plan)
    at = plan
    for place in places:
        keys = sorted(at) if isinstance(at, dict) else range(len(at))
        key = keys[place % len(keys)]
        if not (isinstance(at[key], dict | list) and at[key]) or place == places[-1]:
            at[key] = value
            return plan
        at = at[key]
    return plan


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLACES, VALUES)
async def test_a_forged_file_does_nothing_that_is_not_planned(tmp_path_factory, places, value):
    folder = tmp_path_factory.mktemp("forged")
    with open_store(folder) as store:
        bench = Bench(store, cluster("edge", {"a": node("a"), "b": node("b", "a")}), a="old", b="old")
        file = await bench.file()
        forged = file.model_copy(update={"plan": mutated(file.plan, places, value)}).seal()
        try:
            await bench.apply(parse_plan_file(forged.encode(), "plan.json"))
        except ReconcilerError:
            assert bench.world.acts == []
        assert bench.world.acts in ([], ["a"], ["a", "b"])
        assert set(bench.world.values.values()) <= {"old", "new"}


@pytest.mark.parametrize(
    "change",
    [
        lambda steps: steps[1].update(after=[]),
        lambda steps: [step.pop("wave") for step in steps],
        lambda steps: steps.append(steps[0]),
        lambda steps: steps[0].update(arguments={**steps[0]["arguments"], "want": "evil"}),
    ],
)
async def test_neither_order_nor_waves_nor_arguments_can_be_forged(store, change):
    nodes = {"a": node("a"), "b": node("b", "a")}
    bench = Bench(store, cluster("edge", nodes, rollout=Rollout(canary=1, waves=1)), a="old", b="old")
    file = await bench.file()
    plan = copy.deepcopy(file.plan)
    change(plan["clusters"][0]["steps"])
    bench.world.fault("a", "refused")
    try:
        await bench.apply(file.model_copy(update={"plan": plan}).seal())
    except ReconcilerError:
        assert bench.world.acts == []
    assert bench.world.values == {"a": "old", "b": "old"}


async def test_a_plan_for_an_unknown_cluster_is_refused(store):
    bench = Bench(store, cluster("edge", {"a": node("a")}), a="old")
    file = await bench.file()
    plan = copy.deepcopy(file.plan)
    for part in (plan["clusters"][0], plan["clusters"][0]["steps"][0]):
        part["cluster"] = "elsewhere"
    with pytest.raises(WorldChanged, match="elsewhere, which its revision does not have"):
        await bench.apply(file.model_copy(update={"plan": plan}).seal())


@st.composite
def rollouts(draw):
    names = [f"n{number}" for number in range(draw(st.integers(1, 7)))]
    nodes = {
        name: FakeNode(
            name=name,
            value="new",
            after=tuple(draw(st.sets(st.sampled_from(names[:place]), max_size=2))) if place else (),
            membership=draw(st.booleans()),
            domain=draw(st.sampled_from(["", "a", "b"])),
        )
        for place, name in enumerate(names)
    }
    more = {"canary": draw(st.integers(1, 2))} if draw(st.booleans()) else {}
    sizes = draw(st.lists(st.sampled_from([1, 2, "30%", "50%"]), min_size=1, max_size=2))
    return cluster("e", nodes), Rollout(
        waves=sizes, **more, **({"by": "domain"} if draw(st.booleans()) else {})
    )


@given(rollouts())
def test_waves_computed_again_from_a_file_are_the_same(made):
    entry, rollout = made
    values = {one.name: "old" for one in entry.nodes}
    world = World(values)
    seen = Observed({name: world.answer(name) for name in values})
    once = assign_waves(FakeDriver(world).plan(Wish(entry), seen), entry, rollout)
    bare = replace(once, steps=tuple(replace(step, wave=0) for step in once.steps))
    assert assign_waves(bare, entry, rollout).steps == once.steps
