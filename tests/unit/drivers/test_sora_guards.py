"""Each guard finds its fault in a plan, whoever made the plan; and sound plans pass all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sora_kit import agreeing, entry, full, planned, seen

from reconciler.core.guard import Case, verdicts
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.schema import SoraDesired

STOP = {"stop": {"command": "stop"}, "drain": 0}


def found(cluster, answers, change=lambda steps: steps):
    """Codes and messages of all guards for the plan, after `change` has been made to its steps."""
    observed = seen(answers)
    plan = planned(cluster, observed)
    plan = replace(plan, steps=tuple(change(plan.steps)))
    return {one.code: one for one in verdicts(Case(plan, cluster, SoraDesired(cluster), observed), GUARDS)}


def against(answers, cluster, other):
    """What the guards say when a plan made from other answers meets these."""
    steps = planned(cluster, seen(other)).steps
    return found(cluster, answers, lambda _: steps)


@pytest.mark.parametrize(
    ("cluster", "answers"),
    [
        (entry("a b c", initialise=True), {"a": "", "b": "", "c": ""}),
        (entry("a b c d e"), agreeing("a b c", *"abc", d="", e="")),
        (entry("a b d"), agreeing("a b c!", "a", "b", d="", c=None)),
        (entry("a b c e"), agreeing("a b c d!", *"abc", e="", d=None)),
        (entry("a b c t~"), agreeing("a b c u~", *"abcu", t="")),
        (entry("a b c d", **STOP), agreeing("a b c d e", *"abcde")),
    ],
)
def test_sound_plans_pass(cluster, answers):
    assert planned(cluster, seen(answers)).steps
    assert found(cluster, answers) == {}


def test_quorum_refuses_a_stop_that_would_lose_it_with_numbers():
    healthy, weak = agreeing("a b c d e", *"abcde"), agreeing("a b c! d! e", *"abe", c=None, d=None)
    violation = against(weak, entry("a b c d", **STOP), healthy)["quorum"]
    assert violation.target == f"live/{full('e')}"
    assert "2 of 5 regular nodes would be connected, at least 3 are needed" in violation.message
    assert violation.remedy


def test_quorum_refuses_a_registration_that_might_fail_halfway():
    healthy, weak = agreeing("a b c", *"abc", d=""), agreeing("a b c!", *"ab", c=None, d="")
    violation = against(weak, entry("a b c d"), healthy)["quorum"]
    assert "2 of 4" in violation.message


def test_membership_refuses_two_changes_at_once():
    def at_once(steps):
        return [replace(step, after=()) for step in steps]

    answers = agreeing("a b c", *"abc", d="", e="")
    assert "does not wait" in found(entry("a b c d e"), answers, at_once)["membership"].message


def test_membership_refuses_a_step_that_expects_others_than_it_would_find():
    found_then = agreeing("a b c x", *"abcx", d="")
    planned_from = agreeing("a b c", *"abc", d="")
    assert "expects" in against(found_then, entry("a b c d x"), planned_from)["membership"].message


def test_membership_refuses_what_the_cluster_itself_would_refuse():
    planned_from = agreeing("a b c d!", *"abc", d=None)
    found_then = agreeing("a b c! d!", *"ab", c=None, d=None)
    violation = against(found_then, entry("a b c"), planned_from)
    assert "membership" not in found(entry("a b c"), planned_from)
    assert set(violation) <= {"membership", "purge-alive"}


@pytest.mark.parametrize(
    ("cluster", "members", "refused"),
    [
        ("a b", "a b c", True),
        ("a", "a b c", True),
        ("a", "a b", True),
        ("a b", "a b", False),
        ("a b c", "a b c d", False),
        ("a b c d", "a b", False),
    ],
)
def test_a_cluster_is_not_shrunk_below_three(cluster, members, refused):
    answers = dict.fromkeys(members.split(), members) | {
        one: "" for one in cluster.split() if one not in members.split()
    }
    violations = found(entry(cluster, **STOP), answers)
    assert ("cluster-size" in violations) is refused
    if refused:
        assert "three" in violations["cluster-size"].remedy


def test_two_to_one_is_explained():
    message = found(entry("a", **STOP), agreeing("a b", "a", "b"))["cluster-size"].message
    assert "two nodes cannot become one" in message


def test_purge_of_what_runs_is_refused():
    stopped, running = agreeing("a b c d!", *"abc", d=None), agreeing("a b c d", *"abcd")
    assert "purge-alive" in against(running, entry("a b c"), stopped)
    assert "purge-alive" in against(agreeing("a b c d!", *"abc", d="?NO"), entry("a b c"), stopped)


def test_purge_that_does_not_wait_for_its_stop_is_refused():
    def hasty(steps):
        return [replace(step, after=()) if step.action == "purge" else step for step in steps]

    answers = agreeing("a b c d e", *"abcde")
    assert "purge-alive" in found(entry("a b c d", **STOP), answers, hasty)
    assert "purge-alive" in found(
        entry("a b c d", **STOP), answers, lambda steps: [one for one in steps if one.action != "stop"]
    )


@pytest.mark.parametrize(
    "answers",
    [
        agreeing("a b c", *"abc"),
        {"a": "a b! c!", "b": "", "c": ""},
        {"a": "", "b": "", "c": None},
        {"a": "?CLUSTER-NOT-AVAILABLE", "b": "", "c": ""},
    ],
)
def test_init_of_what_may_be_a_cluster_is_refused(answers):
    assert "double-init" in against(answers, entry("a b c", initialise=True), {"a": "", "b": "", "c": ""})


def test_init_twice_or_of_others_than_the_fleet_file_names_is_refused():
    blank = {"a": "", "b": "", "c": ""}
    twice = found(
        entry("a b c", initialise=True), blank, lambda steps: [*steps, replace(steps[0], id="live/x/init")]
    )
    assert "double-init" in twice
    others = [replace(planned(entry("a b", initialise=True), seen(blank)).steps[0])]
    assert "double-init" in found(entry("a b c", initialise=True), blank, lambda _: others)


def test_a_stop_needs_one_node_to_spare_unless_the_node_is_cut_off_anyway():
    four = found(entry("a b c", **STOP), agreeing("a b c d", *"abcd"))
    assert "3 of 4" in four["quorum-margin"].message
    cut_off = found(entry("a b c", **STOP), agreeing("a b c d!", *"abc", d="a! b! c! d"))
    assert cut_off == {}


def test_every_violation_has_a_remedy_and_no_guard_needs_another():
    answers = agreeing("a b c d!", *"abc", d="?NO")
    for violation in against(answers, entry("a b c"), agreeing("a b c d!", *"abc", d=None)).values():
        assert violation.remedy
        assert violation.target.startswith("live")
