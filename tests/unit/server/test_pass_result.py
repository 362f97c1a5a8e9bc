"""How a pass is summed up."""

from dataclasses import replace

import pytest
from support.steps import make_step

from reconciler.core.observation import Absent, Observed, Present, Stale, Unauthorized, Unreachable
from reconciler.core.outcome import Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Plan, Revision
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.server.pass_result import PassResult, summarise_apply_pass, summarise_plan_pass

ALL = Observed({"a": Present(1), "b": Absent("404")})
REVISION = Revision(source="s", id="1" * 40, short="1111111")


def step(name):
    return make_step(name)


def plan(*names):
    return ClusterPlan(
        cluster="edge", kind="m2", nodes=2, unchanged=0, steps=tuple(step(name) for name in names)
    )


def report(**states):
    outcomes = tuple(Outcome(step(name), state, reason=f"{state} it is") for name, state in states.items())
    return RunReport(run="r1", plan=Plan(REVISION, "test", (plan(*states),)), outcomes=outcomes)


def test_nothing_to_do_is_converged_and_good():
    pass_summary = summarise_plan_pass(plan(), ALL)
    assert (pass_summary.result, pass_summary.is_settled, pass_summary.is_good, pass_summary.pending) == (
        PassResult.CONVERGED,
        True,
        True,
        0,
    )


def test_pending_steps_of_a_look_are_drift():
    pass_summary = summarise_plan_pass(plan("a", "b"), ALL)
    assert (pass_summary.result, pass_summary.is_settled, pass_summary.is_good, pass_summary.pending) == (
        PassResult.DRIFT,
        True,
        False,
        2,
    )


def test_nodes_that_nothing_is_sent_to_any_more_wait_for_the_interval_and_are_not_good():
    stalled = Diagnostic(Severity.ERROR, "node-stalled", "a is stalled", "see why", target="edge/a")
    pass_summary = summarise_plan_pass(replace(plan(), findings=(stalled,)), ALL)
    assert (pass_summary.result, pass_summary.is_settled, pass_summary.is_good, pass_summary.message) == (
        PassResult.STALLED,
        True,
        False,
        "a is stalled",
    )
    later = replace(stalled, code="retry-later")
    pass_summary = summarise_plan_pass(replace(plan(), findings=(stalled, later)), ALL)
    assert (pass_summary.result, pass_summary.is_settled) == (PassResult.INCOMPLETE, False), (
        "the next try is waited for"
    )


def test_a_refusal_says_why_and_waits_for_the_interval():
    pass_summary = summarise_plan_pass(
        plan("a"),
        ALL,
        [Diagnostic(Severity.ERROR, "quorum", "would lose the majority", "wait", target="live")],
    )
    assert (pass_summary.result, pass_summary.is_settled, pass_summary.message) == (
        PassResult.REFUSED,
        True,
        "would lose the majority",
    )
    assert pass_summary.pending == 1


@pytest.mark.parametrize("answer", [Unreachable("timeout"), Unauthorized("401"), Stale(1, "minority")])
def test_a_node_that_was_not_heard_leaves_the_cluster_unsettled(answer):
    pass_summary = summarise_plan_pass(plan(), Observed({"b": answer, "a": Present(1)}))
    assert pass_summary.result is PassResult.INCOMPLETE
    assert pass_summary.unheard_nodes == ("b",)
    assert not pass_summary.is_settled
    assert not pass_summary.is_good


def test_what_cannot_be_judged_is_not_called_converged():
    split = Diagnostic(Severity.ERROR, "split", "the views disagree", target="live")
    minor = Diagnostic(Severity.WARNING, "restart", "a field waits for a restart", target="edge/a")
    assert summarise_plan_pass(replace(plan(), findings=(minor,)), ALL).result is PassResult.CONVERGED
    pass_summary = summarise_plan_pass(replace(plan(), findings=(minor, split)), ALL)
    assert (pass_summary.result, pass_summary.message, pass_summary.is_good, pass_summary.is_settled) == (
        PassResult.INCOMPLETE,
        "the views disagree",
        False,
        False,
    )


@pytest.mark.parametrize(
    ("states", "result"),
    [
        ({"a": State.DONE, "b": State.FOUND}, PassResult.APPLIED),
        ({"a": State.DONE, "b": State.FAILED}, PassResult.PARTIAL),
        ({"a": State.FAILED, "b": State.SKIPPED}, PassResult.FAILED),
        ({"a": State.UNKNOWN}, PassResult.PARTIAL),
        ({"a": State.DONE, "b": State.CHANGED}, PassResult.CHANGED),
        ({"a": State.DONE, "b": State.WAITING}, PassResult.WAITING),
        ({"a": State.WAITING, "b": State.SKIPPED}, PassResult.WAITING),
        ({"a": State.DONE, "b": State.SKIPPED}, PassResult.STOPPED),
    ],
)
def test_the_end_of_a_run_in_one_word(states, result):
    pass_summary = summarise_apply_pass(plan(*states), ALL, report(**states))
    assert pass_summary.result is result
    assert pass_summary.pending == sum(state not in {State.DONE, State.FOUND} for state in states.values())
    assert not pass_summary.is_settled  # the next pass looks once more, soon


def test_the_words_name_each_open_step_once():
    pass_summary = summarise_apply_pass(plan("a", "b"), ALL, report(b=State.FAILED, a=State.DONE))
    assert pass_summary.message == "edge/b/upload: failed it is"
