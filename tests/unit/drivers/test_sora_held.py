"""Held nodes of a Sora cluster: nothing is sent to them or done with them, and they count as away."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from support.driver import NOON, REVISION
from support.sora_clusters import agreeing, entry, full, planned, seen, verbs

from reconciler.core.actor import Actor
from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.plan import Plan
from reconciler.core.policy import Policy
from reconciler.core.reservations import Reservation
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.modelcheck import make_setups
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.planning.model_check import check_plans
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.reserved_steps import describe_reserved, find_reservation_hold

NEW = {"initialise": True}


def holding(letters):
    until = NOON + timedelta(hours=4)
    return {
        full(letter): Reservation(
            id=letter,
            cluster="live",
            node=full(letter),
            actor=Actor("kim", why="the disk is replaced"),
            at=NOON,
            until=until,
            is_hold=True,
        )
        for letter in letters
    }


def judge_plan(cluster, answers, letters):
    """The steps of a plan with held nodes, each with why it is not sent; empty if it is."""
    held = holding(letters)
    observed = replace(seen(answers), reserved=frozenset(held))
    plan = planned(cluster, observed)
    found = {}
    for verb, step in zip(verbs(plan), plan.steps, strict=True):
        hold = find_reservation_hold(
            step,
            held,
            describe_reserved(held),
            SoraDriver(),
            entry=cluster,
            desired=SoraDesired(cluster),
            observed=observed,
            policy=Policy(),
        )
        found[verb] = hold.why if hold else ""
    return found


def test_a_cluster_is_not_initialised_of_a_held_node_wherever_it_stands():
    answers = dict.fromkeys("abc", "")
    for held in "abc":
        why = judge_plan(entry("a b c", **NEW), answers, held)["init a"]
        assert "is held until" in why, held
        assert "the disk is replaced" in why
    assert judge_plan(entry("a b c", **NEW), answers, "")["init a"] == ""


def test_a_held_node_is_not_registered_and_others_are_if_it_counts_as_away():
    answers = agreeing("a b c d", *"abcd", e="", f="")
    found = judge_plan(entry("a b c d e f"), answers, "e")
    assert "is held until" in found["register e"]
    assert found.get("register f", "") == ""


def test_a_held_node_that_leaves_is_not_purged_though_it_is_stopped():
    """Unlike a reservation, which its own stop may end."""
    answers = agreeing("a b c d e!", *"abcd", e=None)
    assert "is held until" in judge_plan(entry("a b c d"), answers, "e")["purge e"]


def test_a_held_contact_is_not_asked_to_purge():
    answers = agreeing("a b c d e!", *"abcd", e=None)
    assert judge_plan(entry("a b c d"), answers, "a") == {"purge e": ""}


def test_a_held_member_counts_as_away_in_the_guard_of_the_majority():
    cluster, answers = entry("a b c e", stop={"command": "stop"}), agreeing("a b c d e", *"abcde")
    for held, codes in ((frozenset(), set()), (frozenset({full("e")}), {"quorum-margin"})):
        observed = replace(seen(answers), reserved=held)
        plan = planned(cluster, observed)
        found = run_guards(GuardContext(plan, cluster, SoraDesired(cluster), observed), GUARDS)
        assert {one.code for one in found} == codes
    assert "4 of 5 regular nodes connected" in found[0].message or "3 of 5" in found[0].message


@pytest.mark.parametrize("held", "ae")
def test_a_plan_beside_a_held_member_is_explored_in_a_world_where_that_is_down(held):
    cluster = entry("a b c d e", modes={"b": "block_new_session"})
    observed = replace(seen(agreeing("a b c d e", *"abcde")), reserved=frozenset({full(held)}))
    desired = SoraDesired(cluster)
    plan = planned(cluster, observed)
    plan = replace(plan, steps=tuple(step for step in plan.steps if step.node != full(held)))
    (setup,) = make_setups(desired, observed, plan)
    (world,) = setup.worlds
    assert [node.up for node in world] == [letter != held for letter in "abcde"]
    context = GuardContext(plan, cluster, desired, observed)
    result = PlanResult(
        SimpleNamespace(overrides=(), cluster_inputs=()), Plan(REVISION, "1", (plan,)), (context,), ()
    )
    (checked,) = check_plans(result, {"sora": SoraDriver()}, faults=1, most=300_000)
    assert checked.explored.complete
    assert not checked.explored.broken
