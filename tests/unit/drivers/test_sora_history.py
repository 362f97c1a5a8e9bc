"""Who was in a cluster before: out of earlier fleet files and the store's facts."""

from __future__ import annotations

import pytest

from reconciler.core.prior_revisions import PriorCluster, PriorRevisions
from reconciler.drivers.sora.cluster_view import format_api_address
from reconciler.drivers.sora.history import (
    PastKnowledge,
    learn_members,
    make_forgetting_facts,
    make_init_facts,
    make_member_facts,
    merge_past,
)

HERE, OTHER = "/srv/fleet", "https://git.example.com/fleet.git"
A, B, C, D = (f"n{number}@10.0.0.{number}" for number in range(1, 5))


def at(name):
    return f"http://{name.partition('@')[2]}:3000/"


def history(current=(A,), clusters=(), recalled=None, source=HERE, unread=""):
    prior = PriorRevisions(tuple(clusters), unread)
    return merge_past(current, prior, recalled or {}, source, address=format_api_address)


def cluster(*names, revision="0123", **more):
    return PriorCluster({name: {"name": name, "api": at(name)} for name in names}, revision, **more)


def test_nothing_is_known_of_a_first_run():
    assert history().knowledge is PastKnowledge.NOTHING


def test_nodes_of_a_commit_that_nobody_applied_are_named_only():
    found = history(clusters=[cluster(B, C)])
    assert found.knowledge is PastKnowledge.NAMED
    assert (found.nodes[B].addresses, found.nodes[B].required, found.nodes[B].member) == (
        (at(B),),
        True,
        False,
    )


def test_nodes_of_the_applied_revision_are_members_once_the_cluster_was_seen():
    applied = cluster(B, C, is_applied=True)
    assert (
        history(clusters=[applied]).knowledge is PastKnowledge.NAMED
    )  # a run may have ended before the init
    seen = history(clusters=[applied], recalled={B: make_member_facts(HERE, [at(B)])})
    assert seen.knowledge is PastKnowledge.MEMBER
    assert seen.nodes[C].member


@pytest.mark.parametrize("facts", [make_member_facts(HERE, [at(B)]), make_init_facts(HERE, at(B))])
def test_the_store_knows_members_and_their_addresses(facts):
    found = history(recalled={B: facts})
    assert (found.knowledge, found.nodes[B].addresses) == (PastKnowledge.MEMBER, (at(B),))


@pytest.mark.parametrize("fact", ["initialised", "collapsed", "revision"])
def test_an_older_store_knows_that_there_was_a_cluster(fact):
    assert history(recalled={B: {fact: "2026-11-01"}}).knowledge is PastKnowledge.MEMBER


def test_another_fleet_with_a_cluster_of_the_same_name_is_another_cluster():
    facts = {B: {**make_member_facts(OTHER, [at(B)]), "revision": "f00"}}
    assert history(recalled=facts).knowledge is PastKnowledge.NOTHING


def test_another_spelling_of_the_source_is_the_same_cluster_where_a_node_is_shared():
    facts = {name: make_member_facts(OTHER, [at(name)]) for name in (B, C)}
    found = history(current=(A, B), recalled=facts)
    assert found.knowledge is PastKnowledge.MEMBER
    assert found.nodes[C].addresses == (at(C),)
    assert history(current=(A,), clusters=[cluster(C)], recalled=facts).knowledge is PastKnowledge.MEMBER


def test_a_past_that_cannot_be_read_is_not_taken_for_none():
    assert history(unread="the clone is shallow").knowledge is PastKnowledge.UNREAD
    known = history(unread="the clone is shallow", recalled={B: make_member_facts(HERE, [])})
    assert known.knowledge is PastKnowledge.MEMBER


def test_every_address_ever_known_is_kept():
    moved = PriorCluster({B: {"api": "http://10.9.9.9:3000"}}, "0123")
    found = history(
        clusters=[moved, cluster(B, is_older=True)], recalled={B: make_member_facts(HERE, ["http://b:1/"])}
    )
    assert found.nodes[B].addresses == ("http://10.0.0.2:3000/", "http://10.9.9.9:3000/", "http://b:1/")


@pytest.mark.parametrize(
    "api",
    [None, 7, "", "ftp://h/", "http://u:p@h/", "http://0.0.0.0/", "http://h:99999/", "http://h/?q", [], {}],
)
def test_what_is_no_api_address_is_never_asked(api):
    odd = PriorCluster({B: {"api": api}}, "0123")
    assert history(clusters=[odd]).nodes[B].addresses == ()


def test_a_temporary_node_need_not_answer():
    odd = PriorCluster({B: {"api": at(B), "temporary": True}, C: {"api": at(C)}}, "0123")
    found = history(clusters=[odd])
    assert (found.nodes[B].required, found.nodes[C].required) == (False, True)
    assert found.single == {C}


class TestLearnt:
    def test_members_with_their_addresses_and_only_what_is_new(self):
        first = learn_members(HERE, {A: [at(A)], B: []}, {})
        assert first == {A: make_member_facts(HERE, [at(A)]), B: make_member_facts(HERE, [])}
        assert learn_members(HERE, {A: [at(A)], B: []}, first) == {}
        moved = learn_members(HERE, {A: ["http://h:1/"], B: []}, first)
        assert list(moved) == [A]
        both = history(current=(), recalled={A: {**first[A], **moved[A]}})
        assert both.nodes[A].addresses == (at(A), "http://h:1/")

    def test_nodes_that_left_are_forgotten_and_those_of_another_fleet_are_not(self):
        known = {C: {**make_member_facts(HERE, [at(C)]), "revision": "f00", "mode": "normal"}}
        known |= {D: {**make_member_facts(OTHER, [at(D)]), "revision": "f00"}}
        assert learn_members(HERE, {A: []}, known | {A: make_member_facts(HERE, [])}) == {
            C: dict.fromkeys([*make_member_facts(HERE, [at(C)]), "revision"], "")
        }
        assert make_forgetting_facts(HERE, known[D]) == {}
