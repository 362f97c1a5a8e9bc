"""Whether an M2 node may be stopped: what it alone serves, the limits of the policy, failure domains."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON
from support.guard_cases import edge
from support.m2_wire import setting

from reconciler.core.actor import Actor
from reconciler.core.guard import run_guards
from reconciler.core.observation import Present, Unreachable
from reconciler.core.plan import Effect, Risk
from reconciler.core.policy import Policy
from reconciler.core.reservations import Reservation, ReservedNodes, StopAnswer, StopQuestion
from reconciler.drivers.m2.product import DRIVER

NODES = tuple(f"n{number}" for number in range(1, 8))


def ask(case, node="n1", *, away="", silent="", policy=None):
    nodes = {**case.observed.nodes, **{name: Unreachable("timed out") for name in silent.split()}}
    reserved = dict.fromkeys(away.split(), "is reserved until noon")
    observed = replace(case.observed, nodes=nodes)
    question = StopQuestion(node, case.entry, case.desired, observed, policy or Policy(), reserved)
    return DRIVER.decide_stop(question)


def test_others_serve_the_same():
    found = ask(edge(nodes=NODES))
    assert found.answer is StopAnswer.YES
    assert found.reasons[0].startswith("6 of 6 other nodes serve ")


@pytest.mark.parametrize(
    ("away", "silent", "answer"),
    [
        ("n2", "", StopAnswer.YES),
        ("", "n2", StopAnswer.YES),
        ("n2 n3", "", StopAnswer.NO),
        ("n2", "n3", StopAnswer.NO),
        ("", "n2 n3", StopAnswer.NO),
    ],
)
def test_no_more_nodes_are_away_than_the_policy_allows(away, silent, answer):
    """A third of seven nodes is two."""
    found = ask(edge(nodes=NODES), away=away, silent=silent)
    assert found.answer is answer
    if answer is StopAnswer.NO:
        assert found.reasons[0] == "3 of 7 nodes would be away, policy.max_risky allows 2"


def test_one_node_of_a_small_cluster_may_be_stopped_but_no_second_one():
    assert ask(edge()).answer is StopAnswer.YES
    assert ask(edge(), away="n2").answer is StopAnswer.NO
    assert ask(edge(), away="n2", policy=Policy(max_risky="2")).answer is StopAnswer.YES


def test_the_last_node_that_serves_a_hosting_stays():
    assert ask(edge(nodes=("n1",))).reasons[0].startswith("no other available node serves ")
    case = edge(nodes=("n1", "n2"))
    policy = Policy(max_risky="100%")
    assert ask(case, policy=policy).answer is StopAnswer.YES
    assert ask(case, silent="n2", policy=policy).answer is StopAnswer.NO
    other = edge(setting(hosting=[{"name": "other.example.com"}]), setting(hosting=[]))
    nodes = {**case.observed.nodes, "n2": other.observed.nodes["n2"]}
    found = ask(replace(case, observed=replace(case.observed, nodes=nodes)), policy=policy)
    assert found.reasons[0].startswith("no other available node serves ")


def test_nodes_of_two_failure_domains_are_not_away_together():
    case = edge(nodes=NODES, domain=("seoul", "seoul", "busan", "busan", "busan", "busan", "busan"))
    assert ask(case, away="n2").answer is StopAnswer.YES
    found = ask(case, away="n3")
    assert "nodes of 2 failure domains would be away at once (busan, seoul), the limit is 1" in found.reasons
    assert ask(case, away="n3", policy=Policy(max_domains="2")).answer is StopAnswer.YES


def reserved(node):
    until = NOON + timedelta(hours=1)
    one = Reservation(id="x", cluster="edge", node=node, actor=Actor("kim"), at=NOON, until=until)
    return ReservedNodes({node: one})


def test_an_interruption_beside_a_reserved_node_is_refused_and_a_harmless_change_is_not():
    case = edge(policy=Policy(max_risky="1"))
    steps = tuple(step for step in case.plan.steps if step.node == "n1")
    for change, codes in (
        ({"effect": Effect.RESTART}, {"node-reserved"}),
        ({"risk": Risk.HIGH}, {"node-reserved"}),
        ({"effect": Effect.HOT, "risk": Risk.LOW}, set()),
    ):
        plan = replace(case.plan, steps=tuple(replace(step, **change) for step in steps))
        own = replace(case, plan=plan, reserved=reserved("n2"))
        found = [one for one in run_guards(own, DRIVER.guards) if one.code == "node-reserved"]
        assert {one.code for one in found} == codes
        assert all(one.hold and "must stay available" in one.message for one in found)
        assert not [
            one
            for one in run_guards(replace(own, reserved=ReservedNodes()), DRIVER.guards)
            if one.code == "node-reserved"
        ]


def test_a_hosting_that_is_off_or_disabled_is_not_served():
    off = [{"name": "a.example", "listen": "off"}, {"name": "b.example", "enable": False}]
    case = edge(setting(hosting=off), setting(hosting=off), nodes=("n1",))
    assert ask(case).reasons[0] == "it serves no hosting"
    assert isinstance(case.observed.nodes["n1"], Present)
