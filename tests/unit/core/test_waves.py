"""How steps are parted into waves."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.driver import FakeNode, cluster

from reconciler.core.arguments import RawArguments
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Plan, Revision, Risk, Step, load_plan
from reconciler.core.rollout_rules import Rollout
from reconciler.core.waves import assign_waves, group_by_wave, list_step_ids_by_wave


def step(node, action="set", after=(), effect=Effect.HOT):
    return Step(
        id=f"c/{node}/{action}",
        cluster="c",
        node=node,
        action=action,
        arguments=RawArguments(),
        reason="",
        effect=effect,
        risk=Risk.LOW,
        risk_reason="",
        needs="",
        inverse=Inverse(""),
        after=tuple(after),
    )


def plan(*steps):
    return ClusterPlan("c", "fake", nodes=len(steps), unchanged=0, steps=steps)


def nodes(plan_, rollout, **domains):
    entry = cluster(
        "c",
        {
            one.node: FakeNode(name=one.node, value="1", domain=domains.get(one.node, ""))
            for one in plan_.steps
        },
    )
    place = {one.id: one.node for one in plan_.steps}
    return ["".join(place[name] for name in wave) for wave in list_step_ids_by_wave(plan_, entry, rollout)]


TEN = plan(*(step(name) for name in "abcdefghij"))


def test_a_canary_then_waves_of_one_size():
    assert nodes(TEN, Rollout(canary=1, waves="30%")) == ["a", "bcd", "efg", "hij"]


def test_the_last_size_of_a_list_holds_for_what_is_left():
    assert nodes(TEN, Rollout(waves=("1", "20%", "4"))) == ["a", "bc", "defg", "hij"]


def test_without_sizes_all_nodes_are_one_wave():
    assert nodes(TEN, Rollout()) == ["abcdefghij"]


def test_a_wave_is_never_empty():
    assert nodes(plan(step("a"), step("b")), Rollout(canary="1%", waves="1%")) == ["a", "b"]


def test_no_wave_has_nodes_of_two_domains():
    domains = dict(zip("abcdefghij", "xyxyxyxyxy", strict=True))
    assert nodes(TEN, Rollout(canary=1, waves=3, by="domain"), **domains) == ["a", "bdf", "ceg", "hj", "i"]


def test_all_steps_of_a_node_are_in_one_wave():
    both = plan(step("a"), step("b"), step("a", "restart", ["c/a/set"]), step("b", "restart", ["c/b/set"]))
    found = list_step_ids_by_wave(both, cluster("c", {"a": "1", "b": "1"}), Rollout(waves=1))
    assert found == (("c/a/set", "c/a/restart"), ("c/b/set", "c/b/restart"))


def test_steps_that_change_the_membership_are_waves_of_their_own_in_their_order():
    chain = plan(
        step("a", "stop", effect=Effect.MEMBERSHIP),
        step("a", "purge", ["c/a/stop"], Effect.MEMBERSHIP),
        step("b", "register", ["c/a/purge"], Effect.MEMBERSHIP),
        step("x"),
        step("y"),
    )
    found = list_step_ids_by_wave(chain, cluster("c", {"a": "1"}), Rollout(waves="100%"))
    assert found == (("c/a/stop",), ("c/a/purge",), ("c/b/register",), ("c/x/set", "c/y/set"))


def test_steps_with_crosswise_dependencies_run_one_by_one():
    crossed = plan(step("a"), step("b", after=["c/a/set"]), step("a", "then", ["c/b/set"]))
    found = list_step_ids_by_wave(crossed, cluster("c", {"a": "1", "b": "1"}), Rollout(waves=1))
    assert found == (("c/a/set",), ("c/b/set",), ("c/a/then",))


def test_one_wave_leaves_the_plan_as_it_is():
    assert assign_waves(TEN, cluster("c", {}), Rollout()) is TEN
    assert assign_waves(TEN, cluster("c", {}), None) is TEN
    assert group_by_wave(TEN.steps) == (TEN.steps,)


def test_waves_are_part_of_the_plans_bytes_and_survive_them():
    revision = Revision("s", "r", "r")
    whole = [
        Plan(revision, "1", (assign_waves(TEN, cluster("c", {}), one),)) for one in (None, Rollout(waves=5))
    ]
    assert whole[0].digest != whole[1].digest
    assert b"wave" not in whole[0].encode()
    assert load_plan(whole[1].plain()) == whole[1]
    assert [one.wave for one in whole[1].steps()] == [1] * 5 + [2] * 5


@st.composite
def plans(draw):
    made = []
    for number in range(draw(st.integers(1, 12))):
        node = draw(st.sampled_from("abcdef"))
        earlier = [one.id for one in made]
        after = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if made else []
        effect = draw(st.sampled_from([Effect.HOT, Effect.HOT, Effect.MEMBERSHIP]))
        made.append(step(node, f"s{number}", after, effect))
    return plan(*made)


amounts = st.sampled_from(["1", "2", "3", "10%", "50%", "100%"])
rollouts = st.builds(
    Rollout,
    canary=st.none() | amounts,
    waves=st.lists(amounts, min_size=1, max_size=3),
    by=st.sampled_from(["node", "domain"]),
)


@settings(max_examples=150, deadline=None)
@given(plans(), rollouts, st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz")))
def test_every_step_is_in_one_wave_and_after_its_dependencies(made, rollout, domains):
    entry = cluster(
        "c", {name: FakeNode(name=name, value="1", domain=domains.get(name, "")) for name in "abcdef"}
    )
    found = list_step_ids_by_wave(made, entry, rollout)
    names = [name for wave in found for name in wave]
    assert sorted(names) == sorted(one.id for one in made.steps)
    assert all(found)
    wave_of = {name: number for number, wave in enumerate(found) for name in wave}
    for one in made.steps:
        assert [name for name in one.after if wave_of[name] > wave_of[one.id]] == []
        if one.effect is Effect.MEMBERSHIP:
            assert found[wave_of[one.id]] == (one.id,)
    ordered = assign_waves(made, entry, rollout).steps
    assert {one.id: replace(one, wave=0) for one in ordered} == {one.id: one for one in made.steps}
    place = {one.id: number for number, one in enumerate(ordered)}
    assert [(one, name) for one in ordered for name in one.after if place[name] >= place[one.id]] == []
    if rollout.by == "domain":
        by_id = {one.id: one.node for one in made.steps}
        assert [wave for wave in found if len({domains.get(by_id[name], "") for name in wave}) != 1] == []
