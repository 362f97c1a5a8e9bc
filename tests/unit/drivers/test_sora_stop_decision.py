"""Whether a Sora node may be stopped, what is left on it, where that goes, and what its licences show."""

from dataclasses import replace

import pytest
from support.sora_clusters import agreeing, entry, full, seen

from reconciler.core.file_state import FileState
from reconciler.core.observation import Present
from reconciler.core.reservations import StopAnswer, StopQuestion
from reconciler.drivers.sora.cluster_view import view_cluster
from reconciler.drivers.sora.licences import find_licence_facts
from reconciler.drivers.sora.load_estimate import Carrier, Reading, describe_load, estimate_load, raise_limits
from reconciler.drivers.sora.schema import ConfTarget, SoraDesired
from reconciler.drivers.sora.stop_decision import decide_stop

THREE, FIVE = agreeing("a b c", *"abc"), agreeing("a b c d e", *"abcde")


def ask(cluster, answers, node="a", away="", *, confs=None, change=None, **more):
    observed = seen(answers, **more)
    if change:
        nodes = {
            name: replace(answer, value=change(name[0], answer.value))
            for name, answer in observed.nodes.items()
        }
        observed = replace(observed, nodes=nodes)
    desired = SoraDesired(entry(cluster) if isinstance(cluster, str) else cluster, confs=confs or {})
    busy = {full(letter): "is reserved until noon" for letter in away}
    question = StopQuestion(full(node), desired.entry, desired, observed, away=busy)
    return decide_stop(question)


@pytest.mark.parametrize(
    ("cluster", "answers", "node", "away", "answer"),
    [
        ("a b c", THREE, "a", "", StopAnswer.YES),
        ("a b c", THREE, "a", "b", StopAnswer.NO),
        ("a b c d e", FIVE, "a", "b", StopAnswer.YES),
        ("a b c d e", FIVE, "a", "bc", StopAnswer.NO),
        ("a b c", agreeing("a b c!", *"ab", c=None), "a", "", StopAnswer.NO),
        ("a b c", agreeing("a b c!", *"ab", c=None), "c", "", StopAnswer.YES),
        ("a b", agreeing("a b", *"ab"), "a", "", StopAnswer.NO),
        ("a b c d", agreeing("a b c d", *"abcd"), "a", "", StopAnswer.YES),
        ("a b c d", agreeing("a b c d", *"abcd"), "a", "d", StopAnswer.NO),
        ("a b c t~", agreeing("a b c t~", *"abct"), "t", "a", StopAnswer.YES),
        ("a b c t~", agreeing("a b c t~", *"abct"), "a", "t", StopAnswer.YES),
    ],
)
def test_the_majority_holds_with_all_reserved_nodes_away(cluster, answers, node, away, answer):
    assert ask(cluster, answers, node, away).answer is answer


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"a": None, "b": None, "c": None}, "no node that sees a majority answers"),
        (agreeing("a b c", *"ab", c=None), "c@c.example.com is in the cluster but does not answer this host"),
        ({"a": "a b c!", "b": "a b c", "c": "a b c"}, "the nodes disagree whether c@c.example.com"),
        ({"a": "a b c", "b": "a b c d", "c": "a b c"}, "the nodes disagree about the members"),
    ],
)
def test_answers_that_do_not_tell_are_no_yes_and_no_no(answers, reason):
    found = ask("a b c", answers)
    assert found.answer is StopAnswer.UNKNOWN
    assert reason in found.reasons[0]


def test_a_reserved_node_that_is_silent_or_seen_differently_raises_no_doubt():
    """It is being stopped at this moment: it counts as away, so nothing has to be known of it."""
    for answers in (
        agreeing("a b c d e", *"abcd", e=None),
        {**agreeing("a b c d e", *"abc"), "d": "a b c d e!", "e": None},
    ):
        assert ask("a b c d e", answers, away="e").answer is StopAnswer.YES


def test_a_node_that_is_stopped_already_or_in_no_cluster_may_be_stopped():
    stopped = ask("a b c", agreeing("a b c!", *"ab", c=None), "c")
    assert "it is stopped already" in stopped.reasons[0]
    outside = ask("a b c d", {**THREE, "d": ""}, "d")
    assert (outside.answer, "not in the cluster" in outside.reasons[0]) == (StopAnswer.YES, True)
    assert ask("a b c d", {**THREE, "d": "d e f"}, "d").answer is StopAnswer.UNKNOWN


def test_the_connections_that_are_needed_are_kept_after_one_more_failure():
    four, limits = agreeing("a b c d", *"abcd"), dict.fromkeys("abcd", 100)
    enough = entry("a b c d", connections=200)
    assert ask(enough, four, limits=limits).answer is StopAnswer.YES
    short = ask(entry("a b c d", connections=201), four, limits=limits)
    assert short.answer is StopAnswer.NO
    assert "the licences allow 200 connections, but 201 are needed" in short.reasons[0]
    unknown = ask(enough, four, limits=dict.fromkeys("abc", 100))
    assert "unknown licence" in unknown.reasons[0]


def test_a_reserved_temporary_node_carries_no_connections():
    five = agreeing("a b c s~ t~", *"abcst")
    cluster = entry("a b c s~ t~", connections=300)
    limits = dict.fromkeys("abcst", 100)
    assert ask(cluster, five, limits=limits).answer is StopAnswer.YES
    assert ask(cluster, five, away="t", limits=limits).answer is StopAnswer.NO


def test_what_is_left_on_the_node_is_told_with_both_readings_of_where_it_goes():
    def load(letter, view):
        return replace(view, channels=3, connections={"a": 10, "b": 60, "c": 20}[letter])

    found = ask("a b c", THREE, limits=dict.fromkeys("abc", 100), change=load)
    assert "it owns 3 channels" in found.facts
    (where,) = [fact for fact in found.facts if "connections go to" in fact]
    assert "c@c.example.com +10 (30 of 150) if new channels go to the node with the most room" in where
    assert "b@b.example.com +10 (70 of 150) if, word for word, to the one with the least room" in where


def test_without_affinity_each_connection_stays_where_its_client_arrives():
    confs = {full("a"): ConfTarget({"cluster_relay": True, "default_cluster_affinity": False})}
    found = ask("a b c", THREE, confs=confs, change=lambda _, view: replace(view, connections=5))
    assert any("without affinity, each stays on the node that it reaches" in fact for fact in found.facts)


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        (b"default_cluster_affinity = false\n", True),
        (b"cluster_relay = false\ndefault_cluster_affinity = false\n", False),
        (b"cluster_relay = true\n", False),
        (b"no line of it\n", True),
        (None, True),
    ],
)
def test_relay_and_affinity_are_those_of_the_whole_file_of_the_node(content, stays):
    """Only one key is committed; relay is on by default, and may be off in a line that is not ours."""
    cluster = entry("a b c", conf={"source": "sora.conf", "file": "sora-conf"})
    confs = {full("a"): ConfTarget({"default_cluster_affinity": False})}
    observed = seen(THREE, limits=dict.fromkeys("abc", 100))
    nodes = {
        name: replace(answer, value=replace(answer.value, connections=5))
        for name, answer in observed.nodes.items()
    }
    files = {full("a"): {"sora-conf": Present(FileState(content))}}
    question = StopQuestion(
        full("a"), cluster, SoraDesired(cluster, confs=confs), replace(observed, nodes=nodes, files=files)
    )
    facts = " ".join(decide_stop(question).facts)
    assert ("each stays on the node that it reaches" in facts) is stays
    assert ("connections go to" in facts) is not stays
    assert "but with relay" not in facts


def test_without_a_managed_file_the_estimate_says_what_it_does_not_know():
    found = ask(
        "a b c", THREE, limits=dict.fromkeys("abc", 100), change=lambda _, view: replace(view, connections=5)
    )
    assert any("but with relay and without affinity" in fact for fact in found.facts)


def test_a_no_names_the_members_that_are_away():
    found = ask("a b c", agreeing("a b c!", *"ab", c=None))
    assert "c@c.example.com is away" in found.reasons


def test_connections_that_a_node_does_not_show_give_no_estimate():
    def load(letter, view):
        return replace(view, connections=5 if letter == "a" else None)

    found = ask("a b c", THREE, limits=dict.fromkeys("abc", 100), change=load)
    assert any("where its 5 connections go is not known" in fact for fact in found.facts)


@pytest.mark.parametrize(
    ("reading", "added"),
    [(Reading.MOST_SPARE, {"x": 7, "y": 3}), (Reading.LEAST_SPARE, {"y": 6, "x": 4})],
)
def test_connections_are_spread_one_by_one(reading, added):
    """x has 10 left, y has 6: most spare fills x down to y's room first; least spare fills y up first."""
    carriers = [Carrier("x", 20, 10), Carrier("y", 10, 4), Carrier("full", 5, 5)]
    assert estimate_load(carriers, 10, reading).added == added


def test_what_finds_no_room_is_told():
    carriers = [Carrier("x", 5, 4), Carrier("y", 5, 9)]
    assert describe_load(carriers, 4) == "its 4 connections go to x +1 (5 of 5), 3 find no room"
    assert estimate_load(carriers, 10**12, Reading.MOST_SPARE).refused < 10**6


def test_limits_are_raised_as_documented_and_only_then():
    equal = [Carrier("x", 100, 0), Carrier("y", 100, 0)]
    assert [one.limit for one in raise_limits(equal, 100)] == [150, 150]
    assert [one.limit for one in raise_limits([*equal, Carrier("t", 100, 0)], 100)] == [134, 134, 134]
    assert [one.limit for one in raise_limits(equal, 50)] == [100, 100]


def licence_facts(change, words="a b c", confs=None, answering="abc"):
    observed = seen(agreeing(words, *answering))
    nodes = {}
    for name, answer in observed.nodes.items():
        rows = tuple(row.model_copy(update=change(row.node_name[0])) for row in answer.value.rows)
        nodes[name] = replace(answer, value=replace(answer.value, rows=rows))
    observed = replace(observed, nodes=nodes)
    desired = SoraDesired(entry(words), confs=confs or {})
    return {one.code: one.message for one in find_licence_facts(desired, view_cluster(desired, observed))}


def licence(nodes=10, connections=500, serial="ABCDEF-SRA-E001-203801-N10-500"):
    return {
        "license_max_nodes": nodes,
        "license_max_connections": connections,
        "license_serial_code": serial,
        "license_type": "Experimental",
    }


def test_equal_licences_are_not_mentioned():
    """The number in the serial code differs from node to node in the documents' own samples."""
    numbers = {"a": 1, "b": 2, "c": 3}
    assert licence_facts(lambda one: licence(serial=f"ABC-SRA-E00{numbers[one]}-203801-N10-500")) == {}
    assert licence_facts(lambda one: {}) == {}


def test_licence_facts_are_told():
    found = licence_facts(lambda one: licence(nodes=2 if one == "b" else 10))
    assert "3 members, and the licence of b@b.example.com allows 2" in found["licence-nodes"]
    assert "licence-differs" in found
    found = licence_facts(lambda one: licence(serial="OTHER-1" if one == "c" else "ABC-1"))
    assert set(found) == {"licence-differs"}
    assert "serial OTHER-1" in found["licence-differs"]


def test_features_without_their_licence_are_told():
    confs = {full("a"): ConfTarget({"cluster_relay": True})}
    assert "licence-feature" not in licence_facts(lambda one: licence(nodes=None))
    found = licence_facts(lambda one: licence(nodes=None), confs=confs)
    assert "`cluster_relay` needs the licence" in found["licence-feature"]
    found = licence_facts(lambda one: licence(nodes=None), "a b c t~", answering="abct")
    assert "a temporary node needs the licence" in found["licence-feature"]
    assert "licence-feature" not in licence_facts(lambda one: licence(), confs=confs)
