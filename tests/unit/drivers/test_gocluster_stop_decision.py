"""Whether a Go node may be stopped: by the views of all others, and never by what nobody shows."""

from dataclasses import replace

import pytest
from support.gocluster import changed, desired, entry, observe, seen, views

from reconciler.core.observation import Liveness, Observed, Unreachable
from reconciler.core.reservations import StopAnswer, StopQuestion
from reconciler.drivers.gocluster import planner
from reconciler.drivers.gocluster.product import DRIVER


def ask(count, node="node1", *, down=(), away=(), observed=None, **more):
    wanted = seen(desired(entry(count, **more)))
    busy = dict.fromkeys(away, "is reserved until noon")
    shown = observed or observe(wanted, views(count, away=down))
    return DRIVER.decide_stop(StopQuestion(node, wanted.entry, wanted, shown, away=busy))


@pytest.mark.parametrize(
    ("count", "down", "away", "answer"),
    [
        (2, (), (), StopAnswer.YES),
        (3, (), (), StopAnswer.YES),
        (3, (), ("node2",), StopAnswer.NO),
        (3, ("node2",), (), StopAnswer.NO),
        (3, ("node1",), ("node2",), StopAnswer.YES),
        (4, (), (), StopAnswer.YES),
        (4, (), ("node4",), StopAnswer.NO),
        (5, (), ("node2",), StopAnswer.YES),
        (5, (), ("node2", "node3"), StopAnswer.NO),
        (5, ("node2",), ("node3",), StopAnswer.NO),
    ],
)
def test_every_other_node_keeps_its_quorum_or_it_is_refused(count, down, away, answer):
    assert ask(count, down=down, away=away).answer is answer


def test_a_refusal_has_the_numbers_and_the_reservation():
    reasons = ask(3, away=("node2",)).reasons
    assert any("peers" in reason for reason in reasons)
    assert "node2 is reserved until noon" in reasons


def test_an_agreement_shows_what_is_left():
    decision = ask(5)
    assert "node2" in decision.facts[0]
    assert "node1:" not in decision.facts[0]


def test_a_node_that_answers_something_else_makes_it_unknown():
    wanted = desired(entry(3))
    shown = observe(wanted, views(3))
    alive = Unreachable("it answers 500", Liveness.ALIVE)
    broken = replace(shown, nodes={**shown.nodes, "node2": alive})
    decision = ask(3, observed=broken)
    assert decision.answer is StopAnswer.UNKNOWN
    assert "node2" in decision.reasons[0]


def test_nothing_is_known_without_reading():
    decision = ask(3, observe=False)
    assert decision.answer is StopAnswer.UNKNOWN
    assert "observe: true" in decision.reasons[0]


def make_restart():
    before, after = desired(), seen(desired(entry(settings={"ping_interval": "6s"})))
    plan = planner.plan(after, changed(before, after, views(3)))
    return {step.action: step for step in plan.steps}


def test_the_way_back_of_a_restart_is_one_from_the_start_that_is_shown_now():
    step, shown = make_restart()["restart"], Observed({}, starts={"node3": "another start"})
    again, payloads = DRIVER.undo_part(step, Observed({}), {}, shown)
    assert (again.action, again.node, payloads) == ("restart", step.node, {})
    assert again.arguments.started == "another start"
    assert again.arguments.again
    assert not again.arguments.intent_facts, "the former file is not the one that it was restarted for"
    assert not step.arguments.again


def test_only_restarts_have_a_way_back_of_a_part():
    assert DRIVER.undo_part(make_restart()["switch-file"], Observed({}), {}, Observed({})) is None
