"""Held nodes of a Sora cluster: nothing is sent to them or done with them, and they count as away."""

from dataclasses import replace
from datetime import timedelta

from support.driver import NOON
from support.sora_clusters import agreeing, entry, full, planned, seen, verbs

from reconciler.core.actor import Actor
from reconciler.core.policy import Policy
from reconciler.core.reservations import Reservation
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraDesired
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
