"""The summary of a pass."""

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


def flags(summary):
    """Its result, and whether it is settled and good."""
    settled, good = "settled" if summary.is_settled else "retried", "good" if summary.is_good else "not good"
    return summary.result, settled, good


def test_nothing_to_do_is_converged_and_good():
    pass_summary = summarise_plan_pass(plan(), ALL)
    assert flags(pass_summary) == (PassResult.CONVERGED, "settled", "good")
    assert pass_summary.pending == 0


def test_pending_steps_of_a_dry_run_are_drift():
    pass_summary = summarise_plan_pass(plan("a", "b"), ALL)
    assert flags(pass_summary) == (PassResult.DRIFT, "settled", "not good")
    assert pass_summary.pending == 2


def test_stalled_nodes_wait_for_the_interval_and_are_not_good():
    stalled = Diagnostic(Severity.ERROR, "node-stalled", "a is stalled", "see why", target="edge/a")
    pass_summary = summarise_plan_pass(replace(plan(), findings=(stalled,)), ALL)
    assert flags(pass_summary) == (PassResult.STALLED, "settled", "not good")
    assert pass_summary.message == "a is stalled"
    later = replace(stalled, code="retry-later")
    pass_summary = summarise_plan_pass(replace(plan(), findings=(stalled, later)), ALL)
    assert flags(pass_summary) == (PassResult.INCOMPLETE, "retried", "not good")


def test_a_refusal_has_a_reason_and_waits_for_the_interval():
    pass_summary = summarise_plan_pass(
        plan("a"),
        ALL,
        [Diagnostic(Severity.ERROR, "quorum", "would lose the majority", "wait", target="live")],
    )
    assert flags(pass_summary) == (PassResult.REFUSED, "settled", "not good")
    assert (pass_summary.message, pass_summary.pending) == ("live: would lose the majority", 1)


@pytest.mark.parametrize("answer", [Unreachable("timeout"), Unauthorized("401"), Stale(1, "minority")])
def test_a_node_without_an_answer_leaves_the_cluster_unsettled(answer):
    pass_summary = summarise_plan_pass(plan(), Observed({"b": answer, "a": Present(1)}))
    assert flags(pass_summary) == (PassResult.INCOMPLETE, "retried", "not good")
    assert pass_summary.unread_nodes == ("b",)


def test_an_error_in_the_plan_is_not_converged():
    split = Diagnostic(Severity.ERROR, "split", "the views disagree", target="live")
    minor = Diagnostic(Severity.WARNING, "restart", "a field waits for a restart", target="edge/a")
    assert summarise_plan_pass(replace(plan(), findings=(minor,)), ALL).result is PassResult.CONVERGED
    pass_summary = summarise_plan_pass(replace(plan(), findings=(minor, split)), ALL)
    assert flags(pass_summary) == (PassResult.INCOMPLETE, "retried", "not good")
    assert pass_summary.message == "live: the views disagree"


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
def test_the_states_of_the_steps_decide_the_result(states, result):
    pass_summary = summarise_apply_pass(plan(*states), ALL, report(**states))
    assert pass_summary.result is result
    assert pass_summary.pending == sum(state not in {State.DONE, State.FOUND} for state in states.values())
    assert not pass_summary.is_settled  # the next pass observes again, soon


def test_the_message_names_each_open_step_once():
    pass_summary = summarise_apply_pass(plan("a", "b"), ALL, report(b=State.FAILED, a=State.DONE))
    assert pass_summary.message == "edge/b/upload: failed it is"


def test_a_node_whose_secret_is_missing_makes_the_cluster_invalid_until_it_is_there():
    missing = Diagnostic(
        Severity.ERROR, "secret-unavailable", "a: nothing is sent", "write it", target="edge/a"
    )
    pass_summary = summarise_plan_pass(replace(plan(), findings=(missing,)), ALL)
    assert flags(pass_summary) == (PassResult.INVALID, "retried", "not good")
    assert pass_summary.message == "a: nothing is sent"
    applied = summarise_apply_pass(replace(plan("b"), findings=(missing,)), ALL, report(b=State.DONE))
    assert flags(applied) == (PassResult.PARTIAL, "retried", "not good")
    assert "a: nothing is sent" in applied.message


def test_a_secret_that_is_only_not_compared_leaves_a_converged_cluster_good():
    unseen = Diagnostic(
        Severity.WARNING, "secret-unavailable", "/a: not compared", "provide it", target="edge"
    )
    assert flags(summarise_plan_pass(replace(plan(), findings=(unseen,)), ALL))[0] is PassResult.CONVERGED
    applied = summarise_apply_pass(replace(plan("b"), findings=(unseen,)), ALL, report(b=State.DONE))
    assert applied.result is PassResult.APPLIED


def test_a_cluster_that_left_the_fleet_file_does_not_refuse_the_others():
    gone = Diagnostic(
        Severity.ERROR, "cluster-vanished", "it is gone", "put it back", target="west", hold=True
    )
    pass_summary = summarise_plan_pass(plan(), ALL, [gone])
    assert flags(pass_summary) == (PassResult.CONVERGED, "settled", "good")
    assert (pass_summary.violations, pass_summary.message) == ((gone,), "west: it is gone")
    own = replace(gone, code="frozen", target="edge")
    assert summarise_plan_pass(plan(), ALL, [gone, own]).result is PassResult.REFUSED
    assert summarise_plan_pass(plan(), ALL, [replace(gone, hold=False)]).result is PassResult.REFUSED
