"""A plan's bytes are its identity: they survive storing, leave payloads out and never show a secret."""

from dataclasses import replace
from itertools import combinations

import pytest

from reconciler.core.arguments import RawArguments
from reconciler.core.diff import Change, Op
from reconciler.core.outcome import Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Payload, Plan, Revision, Risk, Step, load_plan
from reconciler.core.secret import MASK, Secret
from reconciler.diagnostic import Diagnostic, Severity

STEP = Step(
    id="edge/edge-01/upload",
    cluster="edge",
    node="edge-01",
    action="upload",
    arguments=RawArguments({"url": "http://127.0.0.1:1/", "payload": "abc", "token": Secret("hunter2")}),
    reason="roles differ",
    effect=Effect.HOT,
    risk=Risk.LOW,
    risk_reason="applies without interruption",
    needs="the setting read for this plan",
    inverse=Inverse("deliver version 1 again", "upload", {"payload": "old"}),
    changes=(Change("/a", Op.REPLACE, Secret("old-password"), Secret("hunter2", "${env:PASSWORD}")),),
)
PLAN = Plan(
    Revision("/repo", "a" * 40, "aaaaaaa", "Open the API to the office"),
    "0.1.0",
    (
        ClusterPlan(
            "edge",
            "m2",
            nodes=3,
            unchanged=2,
            steps=(STEP,),
            findings=(
                Diagnostic(Severity.WARNING, "same-version", "the version did not change", target="edge"),
            ),
            payloads={"abc": Payload({"key": Secret("hunter2")})},
        ),
    ),
)


def test_a_stored_plan_is_read_back_to_the_same_bytes():
    assert load_plan(PLAN.plain()).encode() == PLAN.encode()


def test_secrets_and_payloads_stay_out_of_the_bytes():
    text = PLAN.encode().decode()
    assert "hunter2" not in text
    assert "old-password" not in text
    assert MASK in text
    assert "${env:PASSWORD}" in text
    assert "payloads" not in text


def test_different_plans_have_different_digests():
    other = replace(PLAN, program="0.1.1")
    assert other.digest != PLAN.digest
    assert replace(PLAN).digest == PLAN.digest


def report(*states: State) -> RunReport:
    return RunReport("run", PLAN, tuple(Outcome(STEP, state) for state in states))


def test_the_exit_status_distinguishes_part_from_nothing():
    assert report().exit_status == 0
    assert report(State.DONE, State.FOUND).exit_status == 0
    assert report(State.DONE, State.FAILED).exit_status == 5
    assert report(State.DONE, State.CHANGED, State.SKIPPED).exit_status == 5
    assert report(State.UNKNOWN).exit_status == 5
    assert report(State.WAITING, State.SKIPPED).exit_status == 5
    assert report(State.CHANGED, State.SKIPPED).exit_status == 4
    assert report(State.FAILED, State.SKIPPED).exit_status == 1
    assert report(State.CHANGED, State.UNDONE).exit_status == 1
    assert report(State.UNDONE).exit_status == 1
    assert report(State.UNDONE, State.DONE).exit_status == 5


NOTHING_DONE = {State.FAILED, State.SKIPPED, State.UNDONE, State.CHANGED}


@pytest.mark.parametrize(
    "states", [*combinations(State, 1), *combinations(State, 2), *combinations(State, 3)]
)
def test_the_exit_status_of_up_to_three_outcomes(states):
    """By `--help`, 4 means that nothing was done, which an undone step disproves."""
    found = set(states)
    if found <= {State.DONE, State.FOUND}:
        wanted = 0
    elif not found <= NOTHING_DONE:
        wanted = 5
    elif State.CHANGED in found and State.UNDONE not in found:
        wanted = 4
    else:
        wanted = 1
    assert report(*states).exit_status == wanted
    assert report(*reversed(states)).exit_status == wanted
    assert report(*states).is_success is (wanted == 0)


def test_a_run_with_an_error_finding_did_not_succeed():
    lost = Diagnostic(Severity.ERROR, "feedback-unsent", "a message was not delivered")
    run_report = replace(report(State.DONE), findings=(lost,))
    assert (run_report.exit_status, run_report.is_success) == (5, False)
    assert replace(run_report, findings=(replace(lost, severity=Severity.WARNING),)).exit_status == 0
