"""A purge needs proof that the node is stopped: each kind of answer, and a `stopped` entry."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import pytest
from support.sora_clusters import (
    ALIVE,
    FORBIDDEN,
    UNASKED,
    agreeing,
    api,
    cluster_memory,
    codes,
    entry,
    full,
    planned,
    seen,
    verbs,
)

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora.cluster_view import merge_views
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.schema import SoraDesired, Stopped
from reconciler.drivers.sora.stop_proof import StopProof, prove_stopped

HERE, THERE = api("e"), "http://10.0.0.5:3000/"
SEEN = "a b c d e!"
REPLIES = {
    "silent": None,
    "alive": ALIVE,
    "unasked": UNASKED,
    "itself, cut off": "a! b! c! d! e",
    "another node": SEEN,
    "another node, of an older view": "a b c e!",
    "another node, which sees fewer": "a b c d! e!",
    "another node, with an error": "a b c d e%",
    "blank": "",
    "refuses": "?CLUSTER-NOT-AVAILABLE",
    "forbidden": FORBIDDEN,
}
WORD = {"stopped": (Stopped(node=full("e"), reason="the host was taken away", until="2026-11-30"),)}


def cluster_view(*replies, rows=SEEN, **more):
    places = dict(zip((HERE, THERE), replies, strict=False))
    answers = agreeing(rows, *"abcd", e=None)
    return merge_views(seen(answers, elsewhere={"e": places}, **more))


@pytest.mark.parametrize(("one", "other"), list(product(REPLIES, REPLIES)))
def test_two_addresses_of_which_each_counts(one, other):
    """The rule in plain words: everything was asked, and nothing answers but other nodes."""
    replies = {one, other}
    proof = prove_stopped(cluster_view(REPLIES[one], REPLIES[other]), full("e"), (HERE, THERE), regular=True)
    quiet = {"silent", "another node"}
    assert proof.enough(word=False) is (replies <= quiet)
    assert proof.enough(word=True) is (replies <= quiet | {"blank", "unasked"})
    assert proof.words


def test_without_a_known_address_a_stopped_entry_is_needed():
    proof = prove_stopped(cluster_view(), full("e"), (), regular=True)
    assert (proof.proof, proof.enough(word=False), proof.enough(word=True)) == (
        StopProof.UNASKED,
        False,
        True,
    )


def test_silence_at_a_guessed_address_proves_nothing_and_an_answer_there_forbids():
    assert prove_stopped(cluster_view(None), full("e"), (), regular=True).proof is StopProof.UNASKED
    assert (
        prove_stopped(cluster_view("a! b! c! d! e"), full("e"), (), regular=True).proof is StopProof.ANSWERS
    )
    assert prove_stopped(cluster_view(ALIVE), full("e"), (), regular=True).proof is StopProof.UNASKED


@pytest.mark.parametrize("word", [False, True])
def test_a_row_with_an_error_is_neither_up_nor_down(word):
    proof = prove_stopped(cluster_view(None, rows="a b c d e%"), full("e"), (HERE,), regular=True)
    assert proof.proof is StopProof.ERROR
    assert not proof.enough(word=word)
    assert "erpc,timeout" in proof.words


def test_a_node_of_unknown_kind_is_not_purged_unless_a_fleet_file_named_it_as_regular():
    rows = "a? b? c? d? e!?"
    assert (
        prove_stopped(cluster_view(None, rows=rows), full("e"), (HERE,), regular=False).proof
        is StopProof.KIND
    )
    assert (
        prove_stopped(cluster_view(None, rows=rows), full("e"), (HERE,), regular=True).proof
        is StopProof.STOPPED
    )
    assert prove_stopped(cluster_view(None), full("e"), (HERE,), regular=False).proof is StopProof.STOPPED


class TestPlan:
    """Five nodes, of which the fleet file no longer names e, and no member sees it."""

    def plan(self, here=None, *, words=None, rows=SEEN, recalled=None, history=None, day=None, odd=False):
        cluster = entry("a b c d", stop={"command": "stop"}, **(words or {}))
        if odd:  # addresses that do not follow from the names
            nodes = (one.model_copy(update={"api": f"http://h{n}:1/"}) for n, one in enumerate(cluster.nodes))
            cluster = cluster.model_copy(update={"nodes": tuple(nodes)})
        answers = agreeing(rows, *"abcd", **({} if odd else {"e": here}))
        more = {} if odd else {"elsewhere": {"e": {HERE: here}}}
        observed = seen(answers, **more, **({"day": day} if day else {}))
        known = history or cluster_memory()
        plan = planned(cluster, observed, recalled, history=known)
        case = GuardContext(plan, cluster, SoraDesired(cluster, recalled or {}, known), observed)
        return plan, {one.code for one in run_guards(case, GUARDS)}, observed

    def test_where_its_address_is_silent(self):
        plan, refused, observed = self.plan()
        assert (verbs(plan), refused) == (["purge e"], set())
        assert judge(plan.steps[0], observed).status is StepStatus.READY

    def test_it_is_stopped_first_where_it_answers(self):
        plan, _, _ = self.plan("a! b! c! d! e", history=cluster_memory("e"))
        assert verbs(plan) == ["stop e", "purge e"]

    @pytest.mark.parametrize("words", [{}, WORD])
    @pytest.mark.parametrize("reply", [ALIVE, FORBIDDEN, "?CLUSTER-NOT-AVAILABLE"])
    def test_never_while_something_answers_whatever_entry_the_file_has(self, words, reply):
        plan, _, _ = self.plan(reply, words=words)
        assert verbs(plan) == ["stop e", "purge e"]

    def test_without_an_address_nothing_is_done_and_a_finding_tells_why(self):
        plan, _, _ = self.plan(odd=True)
        assert (verbs(plan), codes(plan)) == ([], ["purge-unproven e"])
        assert "`stopped`" in plan.findings[0].remedy

    def test_without_an_address_a_stopped_entry_is_enough(self):
        plan, refused, observed = self.plan(odd=True, words=WORD)
        assert (verbs(plan), refused) == (["purge e"], set())
        assert "the host was taken away" in plan.steps[0].reason
        assert judge(plan.steps[0], observed).status is StepStatus.READY

    def test_a_stopped_entry_counts_once(self):
        plan, _, _ = self.plan(odd=True, words=WORD)
        recalled = plan.steps[0].arguments.facts_of_intent
        again, _, _ = self.plan(odd=True, words=WORD, recalled=recalled)
        assert (verbs(again), codes(again)) == ([], ["purge-unproven e"])
        assert "used" in again.findings[0].message

    def test_a_stopped_entry_has_a_last_day(self):
        assert verbs(self.plan(odd=True, words=WORD, day=date(2026, 11, 30))[0]) == ["purge e"]
        late, _, _ = self.plan(odd=True, words=WORD, day=date(2026, 12, 1))
        assert (verbs(late), codes(late)) == ([], ["purge-unproven e"])
        assert "expired" in late.findings[0].message

    def test_a_stopped_entry_is_checked_again_right_before_the_purge(self):
        plan, _, _ = self.plan(odd=True, words=WORD)
        late = seen(agreeing(SEEN, *"abcd"), day=date(2026, 12, 1))
        assert judge(plan.steps[0], late).status is StepStatus.CHANGED

    @pytest.mark.parametrize("reply", [ALIVE, UNASKED, "", "a! b! c! d! e", FORBIDDEN])
    def test_the_addresses_are_asked_again_right_before_the_purge(self, reply):
        step = self.plan()[0].steps[0]
        assert HERE in step.arguments.elsewhere[full("e")]
        now = seen(agreeing(SEEN, *"abcd", e=reply), elsewhere={"e": {HERE: reply}})
        assert judge(step, now).status is StepStatus.CHANGED

    def test_an_error_in_its_row_is_reported_and_proves_nothing(self):
        plan, _, _ = self.plan(rows="a b c d e%", words=WORD)
        assert (verbs(plan), codes(plan)) == ([], ["member-error e"])

    def test_the_guard_needs_no_planner(self):
        plan, _, _ = self.plan()
        observed = seen(agreeing(SEEN, *"abcd", e=ALIVE), elsewhere={"e": {HERE: ALIVE}})
        wanted = entry("a b c d", stop={"command": "stop"})
        case = GuardContext(plan, wanted, SoraDesired(wanted), observed)
        assert {one.code for one in run_guards(case, GUARDS)} == {"purge-alive"}
        lax = replace(case, desired=SoraDesired(entry("a b c d", **WORD)))
        assert {one.code for one in run_guards(lax, GUARDS)} == {"purge-alive"}


def test_an_error_in_the_row_of_a_desired_node_is_shown():
    plan = planned(entry("a b c"), seen(agreeing("a b c%", *"ab", c=None)))
    assert (verbs(plan), codes(plan)) == ([], ["member-error c"])
