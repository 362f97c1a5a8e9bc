"""Restarts that bring a changed sora.conf in: one at a time, within the majority, proven by a new start."""

from dataclasses import replace

import pytest
from support.sora_clusters import agreeing, codes, entry, full, planned, seen, verbs

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.plan import Risk
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import Choices, MinorityListing, UndocumentedCall
from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.modelcheck import SoraModel
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.guards import host_commands
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable

RESTART = {"command": "restart-sora", "started": {"command": "sora-started"}}
OLD, NEW = "InvocationID=old", "InvocationID=new"


def outdated(*letters):
    """What the store remembers of nodes whose file was changed while they ran."""
    return {full(letter): {"outdated_start": OLD} for letter in letters}


def shown(words="a b c", answering="a b c", starts=None, **more):
    answers = agreeing(words, *answering.split(), **more.pop("others", {}))
    observed = seen(answers, **more)
    return replace(observed, starts={full(letter): text for letter, text in (starts or {}).items()})


def plan_for(cluster=None, observed=None, recalled=None):
    return planned(
        cluster or entry("a b c", restart=RESTART),
        observed or shown(starts=dict.fromkeys("abc", OLD)),
        recalled if recalled is not None else outdated("a", "b", "c"),
    )


def test_nodes_are_drained_restarted_and_set_back_one_after_the_other():
    result = plan_for()
    assert verbs(result) == [f"{verb} {letter}" for letter in "abc" for verb in ("drain", "restart", "mode")]
    for before, step in zip(result.steps, result.steps[1:], strict=False):
        assert before.id in step.after
    restart = result.steps[1]
    assert restart.risk is Risk.MEDIUM
    assert "one more failure would stop the cluster" in restart.risk_reason
    observed = shown("a b c d e", "a b c d e", dict.fromkeys("ab", OLD))
    larger = plan_for(entry("a b c d e", restart=RESTART), observed)
    assert "one node less in reserve" in larger.steps[1].risk_reason


def test_a_node_that_was_started_since_is_left_alone():
    assert verbs(plan_for(observed=shown(starts={"a": NEW, "b": OLD, "c": NEW}))) == [
        "drain b", "restart b", "mode b"
    ]  # fmt: skip


@pytest.mark.parametrize("recalled", [{}, {full("a"): {"outdated_start": ""}}])
def test_nothing_is_restarted_out_of_ignorance(recalled):
    assert not verbs(plan_for(recalled=recalled))
    assert not verbs(plan_for(observed=shown(starts={})))


def test_a_cluster_without_reserve_waits_with_its_numbers():
    observed = shown("a b c!", "a b", dict.fromkeys("ab", OLD), others={"c": None})
    result = plan_for(observed=observed)
    assert not verbs(result)
    assert "restart-waits a" in codes(result)
    (finding,) = (one for one in result.findings if one.code == "restart-waits" and full("a") in one.target)
    assert "1 of 3 regular nodes connected, majority 2" in finding.message


def test_a_node_that_somebody_may_stop_is_not_restarted_and_does_not_count_as_back():
    for letter in "abc":
        observed = replace(shown(starts=dict.fromkeys("abc", OLD)), reserved=frozenset({full(letter)}))
        result = plan_for(observed=observed)
        assert verbs(result) == []
        assert {f"restart-waits {one}" for one in "abc"} <= {*codes(result)}
        (own,) = (one for one in result.findings if one.target.endswith(full(letter)))
        assert "it is reserved" in own.message
        assert f"reconcile allow-stop {full(letter)}" in own.remedy
    five = replace(
        shown("a b c d e", "a b c d e", dict.fromkeys("abcde", OLD)), reserved=frozenset({full("b")})
    )
    recalled = outdated(*"abcde")
    assert verbs(plan_for(entry("a b c d e", restart=RESTART, drain=0), five, recalled)) == [
        f"restart {one}" for one in "acde"
    ]


def test_two_nodes_are_never_restarted():
    result = plan_for(entry("a b", restart=RESTART), shown("a b", "a b", dict.fromkeys("ab", OLD)))
    assert not verbs(result)
    assert codes(result).count("restart-waits a") == 1


def test_a_member_that_is_silent_to_this_host_keeps_the_others_running():
    observed = shown("a b c", "a b", dict.fromkeys("ab", OLD), others={"c": None})
    assert "restart a" not in verbs(plan_for(observed=observed))


def test_a_node_that_blocked_itself_is_not_restarted():
    result = plan_for(observed=shown(starts=dict.fromkeys("a", OLD), modes={"a": "block_new_connection"}))
    assert "restart a" not in verbs(result)
    assert "restart-waits a" in codes(result)


def test_a_node_that_this_host_drained_before_a_crash_is_restarted_and_set_back():
    recalled = {full("a"): {"outdated_start": OLD, "mode": "block_new_session", "drained": "normal"}}
    result = plan_for(observed=shown(starts={"a": OLD}, modes={"a": "block_new_session"}), recalled=recalled)
    assert [verb for verb in verbs(result) if verb.endswith(" a")] == ["restart a", "mode a"]


def test_a_temporary_node_registers_again():
    cluster = entry("a b c t~", restart=RESTART, drain=0)
    result = plan_for(cluster, shown("a b c t~", "a b c t", {"t": OLD}), outdated("t"))
    assert verbs(result) == ["restart t", "register t"]


def test_a_restart_is_proven_by_another_start_and_by_every_view():
    result = plan_for(entry("a b c", restart=RESTART, drain=0))
    (step,) = (one for one in result.steps if one.node == full("a"))
    assert judge(step, shown(starts={"a": OLD})).status is StepStatus.READY
    assert judge(step, shown(starts={"a": NEW})).status is StepStatus.DONE
    assert judge(step, shown(starts={})).status is StepStatus.UNKNOWN
    away = shown("a! b c", "b c", {}, others={"a": None})
    assert judge(step, away).status is StepStatus.CHANGED
    silent = shown("a! b c", "b c", {}, others={"a": "alive"})
    assert judge(step, silent).status is StepStatus.UNKNOWN
    not_yet = shown("a! b c", "b c", {"a": NEW}, others={"a": "a b c"})
    assert judge(step, not_yet).status is StepStatus.UNKNOWN
    lonely = shown("a b c!", "a b", {"a": OLD}, others={"c": None})
    assert judge(step, lonely).status is StepStatus.CHANGED


def run_all_guards(result, cluster, observed, recalled, commands):
    desired = SoraDesired(cluster, recalled)
    context = GuardContext(result, cluster, desired, observed)
    return [
        one.code for one in run_guards(replace(context, commands=commands), (*GUARDS, *host_commands.GUARDS))
    ]


def test_guards_check_commands_capacity_and_the_moment_when_the_node_is_down():
    cluster = entry("a b c", restart=RESTART)
    observed, recalled = shown(starts={"a": OLD}), outdated("a")
    result = planned(cluster, observed, recalled)
    everything = frozenset({"restart-sora", "sora-started"})
    assert not run_all_guards(result, cluster, observed, recalled, everything)
    assert run_all_guards(result, cluster, observed, recalled, frozenset({"restart-sora"})) == [
        "unknown-command"
    ]
    weaker = shown("a b c!", "a b", {"a": OLD}, others={"c": None})
    assert "quorum" in run_all_guards(result, cluster, weaker, recalled, everything)
    needy = entry("a b c", restart=RESTART, connections=900)
    limited = shown(starts={"a": OLD}, limits=dict.fromkeys("abc", 400))
    assert "capacity" in run_all_guards(
        planned(needy, limited, recalled), needy, limited, recalled, everything
    )


LITERAL = Choices(purge_cut_off=UndocumentedCall.REFUSE)


@pytest.mark.parametrize(("size", "faults"), [(3, 0), (3, 1), (3, 2), (4, 0), (4, 1), (4, 2), (5, 0), (5, 1)])
@pytest.mark.parametrize(
    "choices", [LITERAL, replace(LITERAL, list_without_majority=MinorityListing.OTHER_ERROR)]
)
def test_no_execution_of_a_rolling_restart_loses_the_majority(size, faults, choices):
    letters = "abcde"[:size]
    cluster = entry(" ".join(letters), restart=RESTART, drain=0)
    desired = SoraDesired(cluster, outdated(*letters[:2]))
    world = tuple(
        node._replace(is_outdated=number < 2) for number, node in enumerate(make_formed_state([False] * size))
    )
    model = SoraModel(desired, NodeNumbers(tuple(map(full, letters))), choices)

    def weigh(plan, observed):
        return not run_guards(GuardContext(plan, cluster, desired, observed), GUARDS)

    checker = ExecutorModel(StateTable(model, weigh, single_node=False))
    result = explore_states([checker.begin(world, faults=faults)], checker.moves)
    assert result.complete
    assert not result.broken, (result.broken, result.story)
    assert result.states > 10


def test_the_checker_finds_a_restart_that_ignores_the_majority():
    cluster = entry("a b c", restart=RESTART, drain=0)
    desired = SoraDesired(cluster, outdated("a"))
    model = SoraModel(desired, NodeNumbers(tuple(map(full, "abc"))), LITERAL)
    world = make_formed_state([False] * 3)
    outdated_world = (world[0]._replace(is_outdated=True), *world[1:])
    (step,) = (one for one in model.plan(outdated_world).steps if one.action == "restart")
    failed = machine.stop(outdated_world, 2)
    patient = replace(step, arguments=replace(step.arguments, spare=1))
    assert "loses an existing majority" in model.find_broken_invariant(
        failed, patient, model.perform(failed, patient)
    )
