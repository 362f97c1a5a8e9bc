"""Which reservations count: until their time is over, and after that until the node is seen back."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, FakeNode, cluster

from reconciler.core.actor import Actor
from reconciler.core.observation import (
    Absent,
    Observed,
    Present,
    Stale,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.reservations import (
    Reservation,
    StopAnswer,
    StopDecision,
    StopQuestion,
    StopReply,
    decide_one_at_a_time,
    find_reserved_nodes,
    load_stop_reply,
)
from reconciler.diagnostic import Diagnostic, Severity

UNTIL = NOON + timedelta(minutes=15)
ONE = Reservation(id="one", cluster="edge", node="a", actor=Actor("kim", why="disk"), at=NOON, until=UNTIL)
GONE = Unreachable("timed out")


def counting(answer, minutes, *reservations, members=frozenset("ab")):
    observed = Observed({"a": answer, "b": Present("new")})
    now = NOON + timedelta(minutes=minutes)
    return find_reserved_nodes(reservations or (ONE,), observed, now, members=members)


@pytest.mark.parametrize("answer", [Present("new"), Absent("empty"), GONE])
def test_until_its_time_is_over_it_counts_whatever_the_node_shows(answer):
    """The one who asked may stop it at the last moment, also a node that runs again."""
    found = counting(answer, 14.9)
    assert (found.names, found.over) == ({"a"}, ())


@pytest.mark.parametrize("answer", [Present("new"), Absent("empty"), Stale("old", "behind")])
def test_after_its_time_a_node_that_runs_ends_it(answer):
    found = counting(answer, 15)
    assert (found.names, found.over) == (set(), ("one",))


@pytest.mark.parametrize("answer", [GONE, Unauthorized("401"), Unidentified("another server answers")])
def test_after_its_time_it_counts_until_the_node_is_back(answer):
    assert counting(answer, 60 * 24 * 30).names == {"a"}


def test_a_report_from_before_the_end_does_not_show_that_the_node_is_back():
    """A node that polls was heard ten minutes ago: it may have been stopped since."""
    assert counting(Present("new", age=600), 20).names == {"a"}
    assert counting(Present("new", age=290), 20).names == set()


def test_a_clock_that_was_set_back_makes_it_longer_and_never_shorter():
    assert counting(Present("new"), -60 * 24).names == {"a"}


def test_a_node_that_left_the_fleet_is_not_waited_for_after_the_time():
    assert counting(GONE, 14, members={"b"}).names == {"a"}
    assert counting(GONE, 15, members={"b"}).over == ("one",)


def test_of_several_the_last_one_counts():
    longer = replace(ONE, id="two", until=UNTIL + timedelta(hours=1))
    found = counting(Present("new"), 30, longer, ONE)
    assert (found.nodes, found.over) == ({"a": longer}, ("one",))


def ask(observed, away=None):
    entry = cluster("edge", {name: FakeNode(name=name, value="x") for name in "abc"})
    return decide_one_at_a_time(StopQuestion("a", entry, None, Observed(observed), away=away or {}))


def test_a_product_without_a_rule_stops_one_node_at_a_time():
    well = dict.fromkeys("abc", Present("x"))
    assert ask(well).answer is StopAnswer.YES
    assert ask({**well, "a": GONE}).answer is StopAnswer.YES
    assert ask({**well, "b": GONE}).reasons == ("b does not answer (timed out)",)
    assert ask(well, {"c": "is reserved until noon"}).reasons == ("c is reserved until noon",)
    assert ask({**well, "c": Stale("x", "too old")}).answer is StopAnswer.NO
    assert ask({"a": Present("x"), "b": Present("x")}).answer is StopAnswer.NO


def test_a_reply_survives_the_socket():
    finding = Diagnostic(Severity.NOTE, "licence-differs", "unequal", "make them equal", target="edge")
    decision = StopDecision(StopAnswer.YES, ("it may",), ("2 channels",), (finding,))
    reply = StopReply(cluster="edge", node="a", decision=decision, operation="x", until=UNTIL)
    assert load_stop_reply(reply.plain()) == reply
    released = StopReply(cluster="edge", node="a", released=1)
    assert load_stop_reply(released.plain()) == released
