"""Each guard finds its fault in any plan, and sound plans pass all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.sora_clusters import ALIVE, agreeing, cluster_memory, codes, entry, full, planned, seen, verbs

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.memory import ClusterMemory
from reconciler.core.plan import Risk
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.planner import plan
from reconciler.drivers.sora.product import DRIVER
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.guards import limits

STOP = {"stop": {"command": "stop"}, "drain": 0}


def found(cluster, answers, change=lambda steps: steps):
    """Codes and messages of all guards for the plan, after `change` has been made to its steps."""
    observed = seen(answers)
    plan = planned(cluster, observed)
    plan = replace(plan, steps=tuple(change(plan.steps)))
    return {
        one.code: one
        for one in run_guards(GuardContext(plan, cluster, SoraDesired(cluster), observed), GUARDS)
    }


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


def test_a_stop_needs_a_reserve_unless_the_node_is_cut_off():
    five = found(entry("a b c e", **STOP), agreeing("a b c d e!", *"abcd", e=None))
    assert "3 of 5" in five["quorum-margin"].message
    assert "restore the nodes that are away" in five["quorum-margin"].remedy
    cut_off = found(entry("a b c", **STOP), agreeing("a b c d!", *"abc", d="a! b! c! d"))
    assert cut_off == {}


FOUR_TO_THREE = (entry("a b c", **STOP), agreeing("a b c d", *"abcd"))
REPLACED = (entry("a b d", **STOP), agreeing("a b c", *"abc", d=""))


@pytest.mark.parametrize(("wanted", "answers"), [FOUR_TO_THREE, REPLACED])
def test_a_live_node_of_three_or_four_is_removed_if_its_purge_follows_at_once(wanted, answers):
    steps = planned(wanted, seen(answers)).steps
    stop, purge = steps[-2:]
    assert (stop.action, purge.action, purge.after) == ("stop", "purge", (stop.id,))
    assert found(wanted, answers) == {}
    seconds = wanted.timeouts.settle + 2 * wanted.timeouts.read
    assert stop.arguments.window == seconds
    assert f"at most {seconds:g} s" in stop.risk_reason
    assert "is started again" in stop.risk_reason
    assert (stop.arguments.runs_after_stop, purge.arguments.runs_after_stop) == (False, True)


def test_a_purge_with_reserve_may_be_left_for_the_next_run():
    steps = planned(entry("a b c d", **STOP), seen(agreeing("a b c d e", *"abcde"))).steps
    assert [step.arguments.runs_after_stop for step in steps if step.action == "purge"] == [False]


def test_a_node_that_a_run_left_stopped_is_reported_and_purged_first():
    answers = agreeing("a b c d!", *"abc", d=None)
    plan = planned(entry("a b c", **STOP), seen(answers))
    assert verbs(plan) == ["purge d"]
    assert codes(plan) == ["quorum-margin d"]
    assert "3 of 4 regular nodes connected, majority 3" in plan.findings[0].message
    spare = planned(entry("a b c d", **STOP), seen(agreeing("a b c d e!", *"abcd", e=None)))
    assert (verbs(spare), codes(spare)) == (["purge e"], [])


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda steps: steps[:-1], "add a replacement regular node"),
        (lambda steps: [*steps[:-1], replace(steps[-1], wave=2)], "remove `rollout`"),
        (
            lambda steps: [*steps[:-2], replace(steps[-2], is_manual=True), steps[-1]],
            "the host's stop command",
        ),
    ],
)
def test_and_not_if_the_time_until_the_purge_may_be_long(change, remedy):
    refused = found(*FOUR_TO_THREE, change)["quorum-margin"]
    assert remedy in refused.remedy
    assert (
        '`overrides: [{guard: quorum-margin, target: live, until: 2026-11-21, reason: "why this once"}]`'
        in refused.remedy
    )


def test_a_stop_by_an_operator_has_no_window():
    stop = planned(entry("a b c"), seen(agreeing("a b c d", *"abcd"))).steps[1]
    assert (stop.action, stop.is_manual, stop.arguments.window) == ("stop", True, 0)


@pytest.mark.parametrize(
    ("wanted", "answers", "refused"),
    [
        ("a b c", agreeing("a b c t~ u~ v~", *"abctuv"), set()),
        ("a b c", agreeing("a b! c t~ u~", *"actu", b=None), set()),
        ("a b c", agreeing("a b c", *"abc", t=None, u=None, v=None), set()),  # stopped, erased, known by git
        ("a b c", agreeing("a b c d! e!", *"abc", d=None, e=None), set()),
        ("a b c f g", agreeing("a b c d! e!", *"abc", d=None, e=None, f="", g=""), set()),
        ("a b c", agreeing("a b c d e", *"abcde"), {"desired-shrank", "blast-radius-risky"}),
        (
            "a b c",
            agreeing("a b c d! e!", *"abc", d=ALIVE, e=ALIVE),
            {"desired-shrank", "blast-radius-risky"},
        ),
    ],
)
def test_temporary_and_dead_nodes_leave_in_any_number(wanted, answers, refused):
    cluster, observed = entry(wanted, **STOP), seen(answers)
    before = [one for one in answers if one not in "fg"]
    history = cluster_memory(
        *(one for one in before if one in "abcde"), named="t~ u~ v~" if "t" in before else ""
    )
    nodes = {name: replace(one, temporary=not one.regular) for name, one in history.nodes.items()}
    desired = SoraDesired(cluster, history=replace(history, nodes=nodes))
    names = frozenset(full(one) for one in before)
    case = GuardContext(
        plan(desired, observed),
        cluster,
        desired,
        observed,
        cluster_memory=ClusterMemory(nodes=len(names), names=names),
        uncounted_nodes=DRIVER.list_uncounted_nodes(desired, observed),
    )
    assert {one.code for one in run_guards(case, (*GUARDS, *limits.GUARDS))} == refused


def test_a_temporary_node_leaves_though_another_node_is_missing():
    answers = agreeing("a b c d! t~", *"abct", d=None)
    steps = planned(entry("a b c d e", **STOP), seen(answers | {"e": None})).steps
    assert [step.action for step in steps] == ["stop"]
    assert steps[0].risk is Risk.MEDIUM
    assert judge(steps[0], seen(agreeing("a b c d! t~", *"act", b=None, d=None))).status is StepStatus.READY


def test_every_violation_has_a_remedy_and_no_guard_needs_another():
    answers = agreeing("a b c d!", *"abc", d="?NO")
    for violation in against(answers, entry("a b c"), agreeing("a b c d!", *"abc", d=None)).values():
        assert violation.remedy
        assert violation.target.startswith("live")
