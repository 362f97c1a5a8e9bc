"""When InitCluster may be sent: the table against the rule, and the message of each refusal."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from support.sora_clusters import (
    ALIVE,
    FORBIDDEN,
    UNASKED,
    cluster_memory,
    codes,
    entry,
    full,
    planned,
    seen,
    verbs,
)

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.memory import ClusterMemory
from reconciler.core.plan import Risk
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.history import PastKnowledge
from reconciler.drivers.sora.init_decision import AnswerSummary, CollapsedState, InitDecision, decide_init
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.schema import Collapsed as Word
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.guards.change_control import refuse_unproven_steps

EVERY = list(product(AnswerSummary, PastKnowledge, (False, True), CollapsedState))


@pytest.mark.parametrize(("answers", "knowledge", "initialise", "collapsed"), EVERY)
def test_the_table_is_the_rule(answers, knowledge, initialise, collapsed):
    """The rule once more, from its sentences and not from the table's lines."""
    outcome = decide_init(answers, knowledge, initialise=initialise, collapsed=collapsed)
    never = answers in {AnswerSummary.LIVING, AnswerSummary.SILENT, AnswerSummary.MISFIT}
    every_node_is_blank = answers in {AnswerSummary.ALONE, AnswerSummary.BLANK}
    no_member_is_known = knowledge is not PastKnowledge.MEMBER
    refusing_and_nothing_known = answers is AnswerSummary.UNCLEAR and knowledge is PastKnowledge.NOTHING
    on_initialise = (
        not never
        and initialise
        and ((every_node_is_blank and no_member_is_known) or refusing_and_nothing_known)
    )
    on_collapsed = not never and not on_initialise and collapsed is CollapsedState.VALID
    assert (outcome is InitDecision.INITIALISE) is on_initialise
    assert (outcome is InitDecision.COLLAPSED) is on_collapsed
    assert outcome.allowed is (on_initialise or on_collapsed)


def test_no_combination_is_left_out():
    assert len(EVERY) == len(AnswerSummary) * len(PastKnowledge) * 2 * len(CollapsedState) == 320


NEW, GONE = {"initialise": True}, {"collapsed": Word(reason="two hosts burnt down", until="2026-11-30")}
BLANK = {"d": "", "e": "", "f": ""}
WAS = cluster_memory("a", "b", "c")
NAMED = cluster_memory(named="a b c")


def case(words, answers, history, **more):
    wanted, observed = entry("d e f", **words), seen(answers, **more)
    plan = planned(wanted, observed, history=history)
    desired = SoraDesired(wanted, {}, history)
    return plan, GuardContext(plan, wanted, desired, observed)


@pytest.mark.parametrize("words", [{}, NEW, GONE, NEW | GONE])
@pytest.mark.parametrize("history", [WAS, NAMED])
@pytest.mark.parametrize("who", ["a b c", "a"])
def test_an_earlier_member_that_sees_a_living_cluster_is_joined_never_replaced(words, history, who):
    living = {one: "a b c" if one in who.split() else None for one in "abc"}
    plan, _ = case(words, BLANK | living, history)
    assert "init" not in {step.action for step in plan.steps}


@pytest.mark.parametrize(
    ("words", "history", "earlier", "expected"),
    [
        ({}, cluster_memory(), {}, ["initialise-needed"]),
        (NEW, cluster_memory(), {}, "init"),
        (NEW, NAMED, dict.fromkeys("abc", ""), "init"),
        ({}, NAMED, dict.fromkeys("abc", ""), ["initialise-needed"]),
        (NEW, NAMED, {"a": "", "b": "", "c": None}, ["earlier-node-silent c"]),
        (NEW, NAMED, {"a": "", "b": "", "c": FORBIDDEN}, ["earlier-node-silent c"]),
        (NEW, NAMED, {"a": "", "b": "", "c": "?CLUSTER-NOT-AVAILABLE"}, ["majority-lost"]),
        (NEW, NAMED, {"a": "", "b": "", "c": "?ODD"}, ["earlier-node-silent c"]),
        (NEW, WAS, {"a": "?ODD", "b": None, "c": None}, ["collapsed-needed", "majority-lost"]),
        (NEW, NAMED, {"a": "", "b": "", "c": "a! b! c"}, ["majority-lost"]),
        (GONE, NAMED, {"a": "", "b": "", "c": None}, "init"),
        (NEW, WAS, dict.fromkeys("abc", ""), ["collapsed-needed"]),
        (NEW, WAS, dict.fromkeys("abc"), ["collapsed-needed"]),
        (NEW, WAS, dict.fromkeys("abc", ALIVE), ["collapsed-needed"]),
        (NEW, WAS, dict.fromkeys("abc", UNASKED), ["collapsed-needed"]),
        (GONE, WAS, dict.fromkeys("abc"), "init"),
        (GONE, WAS, {"a": "a b! c!", "b": None, "c": None}, "init"),
        (NEW, WAS, {"a": "a b! c!", "b": None, "c": None}, ["majority-lost"]),
    ],
)
def test_all_nodes_are_others(words, history, earlier, expected):
    plan, judged = case(words, BLANK | earlier, history)
    if expected == "init":
        assert verbs(plan) == ["init d"]
        assert run_guards(judged, GUARDS) == ()
        names = {*plan.steps[0].arguments.witnesses, *plan.steps[0].arguments.elsewhere}
        assert names >= {full(one) for one in (*"def", *earlier)}
    else:
        assert (verbs(plan), codes(plan)) == ([], expected)
        assert [one for one in plan.findings if not one.remedy] == []


def test_blank_nodes_of_the_same_names_are_no_proof_that_the_cluster_is_gone():
    wanted = entry("a b c", **NEW)
    plan = planned(wanted, seen(dict.fromkeys("abc", "")), history=WAS)
    assert (verbs(plan), codes(plan)) == ([], ["collapsed-needed"])


def test_a_node_that_lives_at_its_earlier_address_forbids_an_init_at_its_new_one():
    answers = seen(dict.fromkeys("abc", ""), elsewhere={"a": {"http://10.0.0.1:3000/": "a b c"}})
    for words in (NEW, GONE, NEW | GONE):
        plan = planned(entry("a b c", **words), answers, history=NAMED)
        assert (verbs(plan), codes(plan)) == ([], ["living-elsewhere a"])
        assert "http://10.0.0.1:3000/" in plan.findings[0].message


def test_a_living_cluster_of_one_lists_only_itself_and_is_known_by_its_past():
    answers = seen({"a": "a", "b": "", "c": ""})
    assert verbs(planned(entry("a b c", **NEW), answers)) == ["init a"]
    single = cluster_memory("a", single=frozenset({full("a")}))
    assert verbs(planned(entry("a b c", **NEW | GONE), answers, history=single)) == []


def test_nodes_of_older_revisions_are_asked_and_need_not_answer():
    older = cluster_memory(named="a b c", required="")
    assert verbs(case(NEW, BLANK | dict.fromkeys("abc"), older)[0]) == ["init d"]
    assert verbs(case(NEW, BLANK | {"a": "a b! c!", "b": None, "c": None}, older)[0]) == []


def test_an_init_without_a_readable_past_is_planned_and_waits():
    plan, judged = case(NEW, BLANK, cluster_memory(unread="the clone is shallow"))
    assert verbs(plan) == ["init d"]
    assert plan.steps[0].risk is Risk.HIGH
    (found,) = run_guards(judged, GUARDS)
    assert (found.code, found.hold) == ("past-unread", True)
    assert "the clone is shallow" in found.message
    assert "--base" in found.remedy


@pytest.mark.parametrize("history", [cluster_memory(), WAS, cluster_memory("a", "b", "c", "d", "e", "f")])
@pytest.mark.parametrize(
    "answers",
    [
        {"d": "d e! f!", "e": "d! e f!", "f": "d! e! f"},
        {"d": "d e! f!", "e": "d! e f!", "f": ""},
        {"d": "d e!", "e": "d! e", "f": ""},
    ],
)
def test_a_collapsed_entry_does_not_count_while_a_majority_of_the_listed_nodes_runs(history, answers):
    """So it is after the entry was used, also by a run whose store this host does not have."""
    plan, _ = case(GONE | NEW, answers, history)
    assert (verbs(plan), codes(plan)[0]) == ([], "collapsed-apart")
    assert "wipe their data" in plan.findings[0].remedy


def test_nor_where_a_majority_of_all_known_nodes_refuses_to_list():
    lost = dict.fromkeys("def", "?CLUSTER-NOT-AVAILABLE+")
    assert codes(case(GONE, lost, cluster_memory())[0]) == ["collapsed-apart", "majority-lost"]
    two_of_six_are_left = lost | {"f": ""}
    assert verbs(case(GONE, two_of_six_are_left | dict.fromkeys("abc"), WAS)[0]) == ["init d"]
    wiped = lost | {"e": "", "f": ""}
    assert verbs(case(GONE, wiped, cluster_memory())[0]) == ["init d"]


@pytest.mark.parametrize("answer", ["?NO-MAJORITY-", "?NO-MAJORITY"])
def test_new_nodes_that_refuse_as_after_a_lost_majority_can_be_initialised(answer):
    plan, _ = case(NEW, dict.fromkeys("def", answer), cluster_memory())
    assert (verbs(plan), codes(plan)) == ([], ["majority-lost"])
    assert "add `collapsed`" in plan.findings[0].remedy
    assert verbs(case(GONE, dict.fromkeys("def", answer), cluster_memory())[0]) == ["init d"]


MUTE = "?ODD"


@pytest.mark.parametrize(
    ("words", "history", "answers", "needed"),
    [
        # New nodes, and a cluster that lost its majority, look alike: both answers are those of one node.
        (NEW, cluster_memory(), dict.fromkeys("def", MUTE), True),
        (NEW, cluster_memory(), {"d": MUTE, "e": "", "f": ""}, True),
        (NEW, cluster_memory(), dict.fromkeys("def", "?ODD-"), False),
        (NEW, cluster_memory(), BLANK, False),
        # A cluster of one, or none.
        (NEW, cluster_memory(), {"d": "d", "e": "", "f": ""}, True),
        (NEW, cluster_memory(), {"d": "d-", "e": "", "f": ""}, False),
        # The entry may have founded a cluster of exactly these before, which the state does not know.
        (GONE, cluster_memory(), dict.fromkeys("def", MUTE), True),
        (GONE, WAS, dict.fromkeys("def", MUTE) | dict.fromkeys("abc"), True),
        (GONE, cluster_memory(), dict.fromkeys("def", "?CLUSTER-NOT-AVAILABLE"), True),
        # Of five, two are left, which refuse to list; the third is new.
        (GONE, cluster_memory(*"abcde"), {"d": "?OFF+", "e": "?OFF+", "f": ""} | dict.fromkeys("abc"), False),
        (GONE, cluster_memory(*"abcde"), {"d": MUTE, "e": MUTE, "f": ""} | dict.fromkeys("abc"), False),
        (GONE, cluster_memory(), {"d": "?OFF+", "e": MUTE, "f": ""}, True),
        (GONE, cluster_memory(), {"d": "a! b! d", "e": "", "f": ""}, False),
        # The nodes of the revision before are not reached: the entry may have founded their cluster.
        (GONE, NAMED, BLANK | dict.fromkeys("abc"), True),
        (GONE, WAS, BLANK | dict.fromkeys("abc"), False),
        (GONE, NAMED, {"d": "a! b! c! d", "e": "", "f": ""} | dict.fromkeys("abc"), False),
        (GONE, NAMED, BLANK | dict.fromkeys("abc", ""), False),
    ],
)
def test_an_init_needs_an_approval_if_the_answers_leave_open_whether_a_cluster_exists(
    words, history, answers, needed
):
    plan, judged = case(words, answers, history)
    (step,) = plan.steps
    assert (verbs(plan), bool(step.arguments.doubt)) == (["init d"], needed)
    assert run_guards(judged, GUARDS) == ()
    assert [one.code for one in refuse_unproven_steps(judged)] == ["proof-missing"] * needed
    approved = replace(judged, digest="d1", cluster_memory=ClusterMemory(approved=frozenset({"d1"})))
    assert list(refuse_unproven_steps(approved)) == []
    assert judge(step, judged.observed).status is StepStatus.READY


def test_a_cluster_of_one_whose_statistics_show_it_is_never_initialised_again():
    for words in (NEW, GONE | NEW):
        plan, _ = case(words, {"d": "d+", "e": "", "f": ""}, cluster_memory())
        assert verbs(plan) == []
        waits = [one for one in plan.findings if one.code == "register-waits"]
        assert len(waits) == 2
        assert [one for one in waits if "RegisterClusterNode" not in one.remedy] == []


def test_an_init_that_was_planned_on_proof_is_not_sent_without_it():
    plan, judged = case(NEW, dict.fromkeys("def", "?ODD-"), cluster_memory())
    (step,) = plan.steps
    mute = seen(dict.fromkeys("def", MUTE))
    assert judge(step, mute).status is StepStatus.CHANGED
    (found,) = run_guards(replace(judged, observed=mute), GUARDS)
    assert found.code == "double-init"


def test_a_node_that_is_reached_again_before_the_call_stops_it():
    plan, _ = case(
        GONE, {"d": "a! b! d", "e": "", "f": "", "a": None, "b": None}, cluster_memory("a", "b", "d")
    )
    (step,) = plan.steps
    (ready,) = {judge(step, seen({"d": "a! b! d", "e": "", "f": "", "a": None, "b": None})).status}
    assert ready is StepStatus.READY
    back = {"d": "a! b! d", "e": "", "f": "", "a": "a b! d!", "b": None}
    assert judge(step, seen(back)).status is StepStatus.CHANGED


def test_an_initialise_entry_may_stay():
    plan = planned(
        entry("a b c", **NEW), seen(dict.fromkeys("abc", "a b c")), history=cluster_memory("a", "b", "c")
    )
    assert verbs(plan) == codes(plan) == []


def test_every_refusal_has_its_own_code():
    from reconciler.drivers.sora.init_evidence import _FINDINGS  # noqa: PLC0415

    assert set(_FINDINGS) == {one for one in InitDecision if not one.allowed}
