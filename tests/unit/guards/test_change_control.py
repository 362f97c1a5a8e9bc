"""Guards of time and of operators, each at the moment when its result changes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from support.driver import NOON, REVISION, cluster
from support.steps import make_step

from reconciler.core.arguments import RawArguments
from reconciler.core.change_windows import Freeze, Suspend, Window
from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.memory import ClusterMemory, Suspension
from reconciler.core.observation import Observed
from reconciler.core.pins import LeftRevision, Pin, PinEffect, PinState
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Plan, Risk, compute_plan_id
from reconciler.core.policy import ChangeRules, Policy
from reconciler.core.rollout_rules import Gates, Rollout
from reconciler.guards.change_control import GUARDS, find_change_holds

STEP = make_step(cluster="c", action="set")
NIGHTS = (Window(cron="0 2 * * *", duration="1h"),)
HOLIDAYS = Freeze.model_validate({"from": "2026-11-20", "until": "2026-11-22", "reason": "holidays"})


def case(*steps, change_rules=None, cluster_memory=None, policy=None, at=NOON):
    plan = ClusterPlan("c", "fake", nodes=1, unchanged=0, steps=steps or (STEP,))
    return GuardContext(
        plan,
        cluster("c", {"a": "1"}),
        None,
        Observed({}),
        policy or Policy(),
        cluster_memory or ClusterMemory(),
        change_rules or ChangeRules(),
        REVISION,
        at,
        compute_plan_id(plan, REVISION, "1"),
    )


def codes(one):
    return [violation.code for violation in run_guards(one, GUARDS)]


def test_without_change_rules_there_is_no_hold():
    assert codes(case()) == []


def test_outside_its_windows_a_cluster_is_not_changed_and_the_next_one_is_named():
    (found,) = run_guards(case(change_rules=ChangeRules(windows=NIGHTS)), GUARDS)
    assert found.code == "outside-window"
    assert found.message == "c: no change window is open; the next one opens at 2026-11-22 02:00 UTC"
    assert (
        codes(case(change_rules=ChangeRules(windows=NIGHTS), at=datetime(2026, 11, 21, 2, 30, tzinfo=UTC)))
        == []
    )


def test_a_change_that_a_killed_run_left_with_nodes_stopped_waits_for_no_window_but_for_people():
    resumed = replace(STEP, arguments=RawArguments({"resumes": True}))
    rules = ChangeRules(windows=NIGHTS)
    assert codes(case(resumed, change_rules=rules)) == []
    held = case(resumed, change_rules=replace(rules, freezes=(HOLIDAYS,)))
    assert codes(held) == ["frozen"]


def test_an_outage_needs_an_approval_each_time():
    away = case(replace(STEP, arguments=RawArguments({"outage": "all nodes are stopped"})))
    (found,) = run_guards(away, GUARDS)
    assert found.code == "approval-needed"
    assert "all nodes are stopped" in found.message
    assert codes(replace(away, cluster_memory=ClusterMemory(approved=frozenset({away.digest})))) == []


def test_a_freeze_names_its_reason_and_its_end():
    (found,) = run_guards(case(change_rules=ChangeRules(freezes=(HOLIDAYS,))), GUARDS)
    assert (found.code, found.message) == (
        "frozen",
        "c: changes are frozen until 2026-11-23 00:00 UTC: holidays",
    )
    assert (
        codes(case(change_rules=ChangeRules(freezes=(HOLIDAYS,)), at=datetime(2026, 11, 23, tzinfo=UTC)))
        == []
    )


def test_suspensions_name_the_actor_and_the_remedy():
    fleetwide = Suspension("", "a storm", "kim", NOON)
    own = Suspension("c", "looking at it", "", NOON)
    cluster_memory, change_rules = (
        ClusterMemory(suspended=(fleetwide, own)),
        ChangeRules(suspend=Suspend(reason="moving house")),
    )
    found = run_guards(case(cluster_memory=cluster_memory, change_rules=change_rules), GUARDS)
    assert {one.code for one in found} == {"suspended"}
    assert [one.message for one in found] == [
        "c: kim suspended changes of the whole fleet at 2026-11-21 12:00 UTC: a storm",
        "c: somebody suspended changes of this cluster at 2026-11-21 12:00 UTC: looking at it",
        "c: the fleet file suspends changes: moving house",
    ]
    assert [one.remedy for one in found][:2] == [
        "to continue, run `reconcile resume`",
        "to continue, run `reconcile resume c`",
    ]


def test_only_the_rejected_revision_is_refused():
    assert codes(case(cluster_memory=ClusterMemory(rejected={REVISION.id: "wave 1 failed"}))) == [
        "revision-rejected"
    ]
    assert codes(case(cluster_memory=ClusterMemory(rejected={"another": "wave 1 failed"}))) == []


PINNED = Pin("c", replace(REVISION, id="1" * 40, short="1"), (LeftRevision(REVISION.id),), "kim", "", NOON)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (None, ["rolled-back"]),
        (PinState(PINNED, PinEffect.HOLDS, PINNED.revision), []),
        (PinState(PINNED, PinEffect.HOLDS, obstacle="it is gone"), ["rolled-back"]),
        (PinState(PINNED, PinEffect.ENDS), []),
        (PinState(replace(PINNED, by="lee"), PinEffect.ENDS), ["rolled-back"]),
    ],
    ids=["begun after the plan", "for the pinned revision", "obstacle", "ends", "another one"],
)
def test_nothing_is_sent_to_a_pinned_cluster_that_is_not_planned_for_its_revision(state, found):
    pinned = case(cluster_memory=ClusterMemory(pin=PINNED))
    assert codes(replace(pinned, pin=state)) == found
    at_the_pinned_revision = codes(replace(pinned, pin=state, revision=PINNED.revision))
    assert at_the_pinned_revision == (found if state and state.pin == PINNED else [])
    for one in run_guards(replace(pinned, pin=state), GUARDS):
        assert one.hold, "other clusters go on"


@pytest.mark.parametrize(
    ("mark", "step"),
    [
        ("high", replace(STEP, risk=Risk.HIGH)),
        ("restart", replace(STEP, effect=Effect.RESTART)),
        ("membership", replace(STEP, effect=Effect.MEMBERSHIP)),
        ("point-of-no-return", replace(STEP, inverse=Inverse("Point of no return: gone"))),
    ],
)
def test_a_marked_step_needs_an_approval_of_exactly_its_plan(mark, step):
    policy = Policy(approve=(mark,))
    assert codes(case(policy=policy)) == []
    waiting = case(step, policy=policy)
    (found,) = run_guards(waiting, GUARDS)
    assert found.code == "approval-needed"
    assert waiting.digest[:12] in found.message
    assert waiting.digest in found.remedy
    assert codes(replace(waiting, cluster_memory=ClusterMemory(approved=frozenset({waiting.digest})))) == []
    other = case(replace(step, reason="another"), policy=policy)
    assert codes(replace(other, cluster_memory=ClusterMemory(approved=frozenset({waiting.digest})))) == [
        "approval-needed"
    ]


def test_the_id_of_a_plan_does_not_depend_on_other_clusters_nor_on_who_read_the_revision_where():
    one = case()
    elsewhere = replace(REVISION, source="/ci/clone", signer="kim", signed="ssh")
    other = replace(one.plan, cluster="other")
    assert Plan(elsewhere, "1", (one.plan, other)).ids["c"] == one.digest
    assert Plan(replace(REVISION, id="0" * 40), "1", (one.plan,)).ids["c"] != one.digest


def test_without_steps_nothing_is_refused_but_holds_are_still_reported():
    held = case(
        change_rules=ChangeRules(windows=NIGHTS, freezes=(HOLIDAYS,), suspend=Suspend(reason="moving house")),
        cluster_memory=ClusterMemory(rejected={REVISION.id: "wave 1 failed"}),
    )
    idle = replace(held, plan=replace(held.plan, steps=()))
    assert codes(idle) == []
    expected = ["outside-window", "frozen", "suspended", "revision-rejected"]
    assert [violation.code for violation in find_change_holds(idle)] == expected


def test_without_a_time_guards_of_time_find_nothing():
    assert codes(case(change_rules=ChangeRules(windows=NIGHTS, freezes=(HOLIDAYS,)), at=None)) == []


def test_a_cluster_fills_its_rollout_from_the_fleets_and_replaces_its_windows():
    fleet = ChangeRules(
        Rollout(canary=1, waves="25%", soak="5m", on_failure="return", gates=Gates(read_back=False)),
        NIGHTS,
        (HOLIDAYS,),
    )
    own = Freeze.model_validate({"from": "2026-12-01", "until": "2026-12-02", "reason": "audit"})
    entry = cluster("c", {}, rollout=Rollout(waves=("50%",), canary=None), windows=(), freeze=(own,))
    found = fleet.of(entry)
    assert found.rollout == Rollout(
        canary=None, waves="50%", soak=300, on_failure="return", gates=Gates(read_back=False)
    )
    assert found.windows == ()
    assert found.freezes == (HOLIDAYS, own)
    assert fleet.of(cluster("c", {})) == fleet
    assert ChangeRules().of(entry).rollout == entry.rollout
