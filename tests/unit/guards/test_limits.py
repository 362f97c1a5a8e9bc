"""Limits of one run, one time window and one failure domain, each at the number at which it applies."""

import pytest
from support.driver import FakeNode, cluster
from support.steps import make_step

from reconciler.core.arguments import RawArguments
from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.memory import ClusterMemory
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Risk
from reconciler.core.policy import Budget, Policy
from reconciler.guards.limits import GUARDS

RACKS = {"a1": "r1", "a2": "r1", "b1": "r2", "b2": "r2", "x": ""}


def step(node, **more):
    return make_step(node, cluster="c", action="set", **more)


def risky(node, **more):
    return step(node, risk=Risk.HIGH, **more)


def codes(*steps, **case):
    """The verdicts' codes for some steps in a cluster of five nodes."""
    return [one.code for one in violations(*steps, **case)]


def violations(*steps, policy=None, cluster_memory=None, nodes=None, racks=None):
    """The verdicts on some steps in a cluster of five nodes."""
    places = RACKS if racks is None else racks
    entry = cluster("c", {name: FakeNode(name=name, value="v", domain=rack) for name, rack in places.items()})
    count = len(places) if nodes is None else nodes
    plan = ClusterPlan("c", "fake", nodes=count, unchanged=0, steps=steps)
    case = GuardContext(
        plan, entry, None, Observed({}), policy or Policy(), cluster_memory or ClusterMemory()
    )
    return run_guards(case, GUARDS)


EVERY = [step(name) for name in RACKS]


@pytest.mark.parametrize(("limit", "refused"), [("4", True), ("5", False), ("99%", True), ("100%", False)])
def test_blast_radius(limit, refused):
    found = codes(*EVERY, policy=Policy(max_changed=limit))
    assert found == (["blast-radius"] if refused else [])


def test_blast_radius_counts_nodes_without_manual_steps():
    two = [step("a1"), step("a1", id="c/a1/again"), step("a2", is_manual=True)]
    assert codes(*two, policy=Policy(max_changed="1")) == []


def test_a_node_that_leaves_and_that_only_others_show_belongs_to_the_cluster():
    assert codes(*EVERY, step("left")) == []
    assert codes(*EVERY, step("left"), policy=Policy(max_changed="99%")) == ["blast-radius"]


@pytest.mark.parametrize(("limit", "refused"), [("1", True), ("2", False), ("39%", True), ("40%", False)])
def test_blast_radius_of_steps_of_high_risk(limit, refused):
    found = codes(risky("a1"), risky("a2"), step("b1"), policy=Policy(max_risky=limit))
    assert found == (["blast-radius-risky"] if refused else [])


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [(10, 7, False), (10, 6, True), (3, 2, False), (3, 1, True), (2, 1, False), (2, 0, True), (0, 0, False)],
)
def test_a_desired_state_that_shrinks(before, now, refused):
    found = codes(cluster_memory=ClusterMemory(nodes=before), nodes=now)
    assert found == (["desired-shrank"] if refused else [])


def test_removing_the_only_node_is_refused():
    assert codes(cluster_memory=ClusterMemory(nodes=1), nodes=0) == ["desired-shrank"]


@pytest.mark.parametrize(
    ("before", "refused"),
    [
        (set(RACKS), False),
        ({*RACKS, "gone"}, False),
        ({*RACKS, "gone", "lost", "away"}, True),
        ({"o1", "o2", "o3", "o4", "o5"}, True),
        ({"o1"}, True),
        ({"a1", "o1", "o2"}, True),
        ({"a1", "a2", "o1"}, False),
    ],
)
def test_removed_nodes_count_by_name_not_by_number(before, refused):
    """RACKS are five nodes, so that none of these has fewer nodes than before, but for one."""
    cluster_memory = ClusterMemory(nodes=len(before), names=frozenset(before))
    assert codes(cluster_memory=cluster_memory) == (["desired-shrank"] if refused else [])


def test_removed_nodes_are_named():
    cluster_memory = ClusterMemory(nodes=5, names=frozenset({"a1", "o1", "o2", "o3", "o4"}))
    entry = cluster("c", {"a1": FakeNode(name="a1", value="v")})
    plan = ClusterPlan("c", "fake", nodes=1, unchanged=0, steps=())
    (found,) = run_guards(GuardContext(plan, entry, None, Observed({}), Policy(), cluster_memory), GUARDS)
    assert "4 of 5 nodes" in found.message
    assert "(o1, o2, o3, o4)" in found.message


def test_a_confirmation_that_all_earlier_nodes_are_lost_allows_the_removal():
    cluster_memory = ClusterMemory(nodes=3, names=frozenset({"o1", "o2", "o3"}))
    assert codes(step("a1"), cluster_memory=cluster_memory) == ["desired-shrank"]
    assert codes(step("a1", arguments=RawArguments({"anew": True})), cluster_memory=cluster_memory) == []


def test_a_budget_counts_each_node_once_over_its_window():
    budget = Policy(budget=Budget(nodes="2", hours=24))
    yesterday = ClusterMemory(recent_changes=(("a1", 23.0), ("a1", 2.0), ("b2", 25.0)))
    assert codes(step("a1"), step("a2"), policy=budget, cluster_memory=yesterday) == []
    assert codes(step("a2"), step("b1"), policy=budget, cluster_memory=yesterday) == ["budget"]
    assert (
        codes(
            policy=budget,
            cluster_memory=ClusterMemory(recent_changes=(("a1", 1.0), ("a2", 1.0), ("b1", 1.0))),
        )
        == []
    )


def test_a_change_dated_later_than_now_counts_and_is_named():
    budget = Policy(budget=Budget(nodes="1", hours=1))
    ahead = ClusterMemory(recent_changes=(("a1", -47.5),))
    (found,) = violations(step("a2"), policy=budget, cluster_memory=ahead)
    assert "1 was changed in the last hour (1 of them dated later than now: the clock" in found.message


ALL = Policy(max_risky="100%")


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ([risky("a1"), risky("a2")], False),
        ([risky("a1"), risky("b1")], True),
        ([risky("a1"), step("b1")], False),
        ([risky("a1"), risky("x")], False),
        ([risky("a1", wave=1), risky("b1", wave=2)], False),
        ([risky("a1", wave=1), risky("b1", wave=1)], True),
        ([risky("a1"), risky("b1", after=("c/a1/set",))], False),
        ([step("x"), risky("a1", after=("c/x/set",)), risky("b1", after=("c/x/set",))], True),
    ],
)
def test_steps_of_high_risk_keep_to_one_domain_at_a_time(steps, refused):
    assert codes(*steps, policy=ALL) == (["failure-domain"] if refused else [])


@pytest.mark.parametrize(("limit", "refused"), [("1", True), ("2", False), ("50%", True), ("100%", False)])
def test_a_policy_may_limit_the_domains_of_any_change(limit, refused):
    found = codes(*EVERY, policy=Policy(max_domains=limit))
    assert found == (["failure-domain"] if refused else [])
    assert codes(risky("a1"), risky("b1"), policy=Policy(max_risky="100%", max_domains="2")) == []


@pytest.mark.parametrize(("limit", "refused"), [("1", True), ("2", False), ("50%", True), ("100%", False)])
def test_steps_of_high_risk_change_only_a_share_of_one_domain(limit, refused):
    policy = Policy(max_risky="100%", max_of_domain=limit)
    assert codes(risky("a1"), risky("a2"), policy=policy) == (["failure-domain-share"] if refused else [])
    assert codes(risky("a1", wave=1), risky("b1", wave=2), policy=policy) == []
    assert codes(step("a1"), step("a2"), policy=policy) == []


@pytest.mark.parametrize("by_node", [True, False])
def test_a_remedy_names_only_where_a_run_may_be_restricted_to_a_node(by_node):
    entry = cluster("c", {name: FakeNode(name=name, value="v", domain=rack) for name, rack in RACKS.items()})
    steps = tuple(risky(name) for name in RACKS)
    policy = Policy(max_changed=1, max_risky=1, max_of_domain=1)
    case = GuardContext(
        ClusterPlan("c", "fake", nodes=5, unchanged=0, steps=steps),
        entry,
        None,
        Observed({}),
        policy,
        can_select_node=by_node,
    )
    found = run_guards(case, GUARDS)
    limits = {"blast-radius", "blast-radius-risky", "failure-domain", "failure-domain-share"}
    assert {one.code for one in found} >= limits
    assert all(("--only" in one.remedy) is by_node for one in found if "apply in parts" in one.remedy)
    assert sum("apply in parts" in one.remedy for one in found) >= 4
